"""Writes src/cpu/fixtures/fft.json: small transforms by scipy, which the tests compare with.

Run `python3 scripts/make-fixtures.py` (needs numpy and scipy); the same every time.
"""

import json
from pathlib import Path

import numpy
import scipy.fft

TARGET = Path(__file__).parent.parent / "src" / "cpu" / "fixtures" / "fft.json"
NORMS = ["backward", "ortho", "forward"]
TRANSFORMS = {"forward": scipy.fft.fft, "inverse": scipy.fft.ifft}
EVERY = [(direction, norm) for direction in TRANSFORMS for norm in NORMS]
# The long ones would make the file large, so they come with one norm a direction.
CASES = {length: EVERY for length in [1, 2, 3, 5, 7, 16, 30]} | {
    49: [("forward", "backward"), ("inverse", "ortho")],
    105: [("forward", "ortho"), ("inverse", "backward")],
    210: [("forward", "forward"), ("inverse", "backward")],
}


def interleave(x):
    return numpy.stack([x.real, x.imag], axis=-1).ravel().tolist()


def main():
    generator = numpy.random.default_rng(1)
    lines = []
    for length, combinations in CASES.items():
        # Multiples of 1/8 are exact in float32 and short in print.
        parts = generator.integers(-24, 25, size=(2, length)) / 8
        x = parts[0] + 1j * parts[1]
        results = [
            {"direction": direction, "norm": norm, "out": interleave(TRANSFORMS[direction](x, norm=norm))}
            for direction, norm in combinations
        ]
        case = {"length": length, "x": interleave(x), "results": results}
        lines.append(json.dumps(case, separators=(",", ":")))
    TARGET.write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
