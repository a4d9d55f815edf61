"""Writes src/testing/fixtures/nn-mean-over-tokens.json: means over the tokens of sequences, and their gradients, in float64.

Run `python3 scripts/nn-fixtures/mean-over-tokens.py` (needs torch, Debian's python3-torch); the same every time.
"""

import json
from pathlib import Path

import torch

TARGET = Path(__file__).parent.parent.parent / "src" / "testing" / "fixtures" / "nn-mean-over-tokens.json"
torch.manual_seed(1)


def case(batch, length, width, lengths=None):
    x = torch.randn(batch, length, width, dtype=torch.float64, requires_grad=True)
    counts = lengths or [length] * batch
    out = torch.stack([x[b, :n].mean(0) if n > 0 else torch.zeros(width, dtype=torch.float64) for b, n in enumerate(counts)])
    d_out = torch.randn(batch, width, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(out, [x], d_out)
    return {
        "spec": {"batch": batch, "length": length, "width": width, "variableLengths": lengths is not None},
        "lengths": lengths or [],
        "x": x.detach().flatten().tolist(),
        "dOut": d_out.flatten().tolist(),
        "out": out.detach().flatten().tolist(),
        "dX": gradient.flatten().tolist(),
    }


CASES = [case(1, 1, 1), case(2, 5, 3), case(3, 6, 4, [0, 6, 2]), case(2, 7, 5, [1, 7])]
TARGET.write_text(json.dumps(CASES) + "\n")
