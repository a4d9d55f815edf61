"""Writes src/testing/fixtures/nn-dropout.json: random words by pcg4d of Jarzynski and Olano (JCGT 9(3), 2020), in Python's integers, and a mask of them.

Run `python3 scripts/nn-fixtures/dropout.py`; the same every time.
"""

import json
from pathlib import Path

TARGET = Path(__file__).parents[2] / "src" / "testing" / "fixtures" / "nn-dropout.json"
WORD = 2**32


def pcg4d(*counter):
    """The listing of the paper, line by line."""
    x, y, z, w = ((v * 1664525 + 1013904223) % WORD for v in counter)
    for shift in [True, False]:
        x = (x + y * w) % WORD
        y = (y + z * x) % WORD
        z = (z + x * y) % WORD
        w = (w + y * z) % WORD
        if shift:
            x, y, z, w = (v ^ (v >> 16) for v in (x, y, z, w))
    return [x, y, z, w]


def mask(size, rate, site, low, high, step):
    seed = low ^ (high * 0x9E3779B9 % WORD)
    words = [word for quad in range((size + 3) // 4) for word in pcg4d(seed, step, site, quad)]
    return [int(word >= round(rate * WORD)) for word in words[:size]]


def main():
    counters = [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [1, 2, 3, 4],
        [WORD - 1, WORD - 1, WORD - 1, WORD - 1],
        [2**31, 2**16, 12345, 987654321],
        [3141592653, 2718281828, 1414213562, 1732050807],
    ]
    options = [(37, 0.3, 5, 1234, 0, 7), (24, 0.9, 2**32 - 1, 2**32 - 1, 77, 2**32 - 1), (9, 0.0, 0, 0, 0, 0)]
    names = ["size", "rate", "site", "low", "high", "step"]
    text = {
        "words": [{"counter": counter, "words": pcg4d(*counter)} for counter in counters],
        "masks": [{**dict(zip(names, each)), "mask": mask(*each)} for each in options],
    }
    TARGET.write_text(json.dumps(text) + "\n")


main()
