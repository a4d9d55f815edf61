"""Writes src/testing/fixtures/nn-reductions.json: sums of columns in float64.

Run `python3 scripts/nn-fixtures/reductions.py` (needs torch, Debian's python3-torch); the same every time.
"""

import json
from pathlib import Path

import torch

TARGET = Path(__file__).parent.parent.parent / "src" / "testing" / "fixtures" / "nn-reductions.json"
torch.manual_seed(1)


def case(rows, columns):
    x = torch.randn(rows, columns, dtype=torch.float64)
    return {"rows": rows, "columns": columns, "x": x.flatten().tolist(), "out": x.sum(0).tolist()}


TARGET.write_text(json.dumps([case(*shape) for shape in [(1, 1), (1, 5), (7, 3), (40, 8)]]) + "\n")
