"""Writes src/testing/fixtures/nn-safetensors.json: files in the format safetensors, by a writer of its own from the description of the format, with
what they hold.

Run `python3 scripts/nn-fixtures/safetensors.py` (needs nothing but Python); the same every time.
"""

import base64
import json
import math
import struct
from pathlib import Path

TARGET = Path(__file__).parent.parent.parent / "src" / "testing" / "fixtures" / "nn-safetensors.json"
FORMATS = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U64": "Q", "U32": "I", "U16": "H", "U8": "B", "BOOL": "?"}


def packed(dtype, numbers):
    if dtype == "BF16":  # the upper half of a float32
        return b"".join(struct.pack("<f", number)[2:] for number in numbers)
    return struct.pack(f"<{len(numbers)}{FORMATS[dtype]}", *numbers)


def make(tensors, metadata=None, pad=8, ascii_only=True, **style):
    """A file of (name, dtype, shape, numbers) in this order, with the header filled up to a multiple of `pad`."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, shape, numbers in tensors:
        assert math.prod(shape) == len(numbers)
        part = packed(dtype, numbers)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    if style.pop("backwards", False):
        header = dict(reversed(header.items()))
    text = json.dumps(header, ensure_ascii=ascii_only, **style).encode()
    text += b" " * (-len(text) % pad)
    return struct.pack("<Q", len(text)) + text + data


def entry(what, tensors, metadata=None, **style):
    expected = [{"name": name, "dtype": dtype, "shape": shape, "numbers": [str(n) for n in numbers]} for name, dtype, shape, numbers in tensors]
    return {"what": what, "file": base64.b64encode(make(tensors, metadata, **style)).decode(), "tensors": expected, "metadata": metadata or {}}


EACH = [
    ("u64", "U64", [2], [0, 2**64 - 1]),
    ("i64", "I64", [2], [-(2**63), 2**63 - 1]),
    ("f64", "F64", [3], [0.1, -1e300, 5e-324]),
    ("f32", "F32", [2, 2], [0.5, -1.25, 2.0**-149, 2.0**127]),
    ("u32", "U32", [1], [2**32 - 1]),
    ("i32", "I32", [2], [-(2**31), 7]),
    ("bf16", "BF16", [4], [1.0, -2.5, 2.0**-133, 2.0**100]),
    ("f16", "F16", [4], [1.0, -65504.0, 2.0**-24, 0.333251953125]),
    ("u16", "U16", [2], [0, 65535]),
    ("i16", "I16", [1], [-32768]),
    ("i8", "I8", [3], [-128, 0, 127]),
    ("u8", "U8", [2], [255, 1]),
    ("bool", "BOOL", [3], [1, 0, 1]),
]
PLAIN = [("a.weight", "F32", [2, 1, 2], [1.0, 2.0, 3.0, 4.0]), ("a.bias", "F32", [2], [5.0, 6.0])]
ODD = [("flag", "BOOL", [1], [1]), ("x", "F32", [2], [1.5, -2.0]), ("y", "F64", [1], [0.1]), ("z", "BF16", [3], [1.0, 2.0, -3.0]), ("h", "F16", [1], [0.25])]
NAMES = ['quo"te', "back\\slash", "line\nbreak", "\u00e4\u00f6\u20ac", "\U0001f600 pair", "tab\tnul\x00", "", "__proto__", "7", "__metadata", "constructor"]


def main():
    cases = [
        entry("no tensors", []),
        entry("no tensors, metadata", [], {"format": "pt"}),
        entry("every dtype", EACH, {"format": "pt"}, separators=(",", ":")),
        entry("two tensors", PLAIN),
        entry("header in another order than the bytes", PLAIN, {"a": "b"}, backwards=True),
        entry("header that is not filled up", PLAIN, pad=1),
        entry("header with white space", PLAIN, {"key": "value"}, indent="\t"),
        entry("bytes that are not aligned", ODD, pad=1),
        entry("a scalar and empty tensors", [("e", "F32", [0], []), ("s", "F32", [], [7.0]), ("f", "I8", [3, 0, 2], []), ("t", "U8", [1, 1], [9])]),
        entry("names with escapes", [(name, "I8", [1], [i]) for i, name in enumerate(NAMES)], {name: name for name in NAMES}),
        entry("names in UTF-8", [(name, "I8", [1], [i]) for i, name in enumerate(NAMES)], {name: name for name in NAMES}, ascii_only=False),
    ]
    TARGET.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
