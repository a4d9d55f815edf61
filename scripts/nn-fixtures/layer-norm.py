"""Writes src/testing/fixtures/nn-layer-norm.json: layer norm and RMS norm, and their gradients, in float64.

RMS norm is written out: torch 1.13 has none.
Run `python3 scripts/nn-fixtures/layer-norm.py` (needs torch, Debian's python3-torch); the same every time.
"""

import json
from pathlib import Path

import torch
from torch.nn import functional

TARGET = Path(__file__).parent.parent.parent / "src" / "testing" / "fixtures" / "nn-layer-norm.json"
torch.manual_seed(1)


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def rms_norm(x, weight, epsilon):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + epsilon) * weight


def case(kind, rows, width, epsilon, bias, shift=0):
    spec = {"kind": kind, "rows": rows, "width": width, "epsilon": epsilon, "bias": bias}
    inputs = {"x": numbers(rows, width) + shift, "weight": 1 + numbers(width) / 4, **({"bias": numbers(width)} if bias else {})}
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    if kind == "layer":
        out = functional.layer_norm(leaves["x"], (width,), leaves["weight"], leaves.get("bias"), epsilon)
    else:
        out = rms_norm(leaves["x"], leaves["weight"], epsilon)
    d_out = numbers(rows, width)
    gradients = torch.autograd.grad(out, list(leaves.values()), d_out)
    return {
        "spec": spec,
        "given": {name: value.flatten().tolist() for name, value in inputs.items()},
        "dOut": d_out.flatten().tolist(),
        "out": out.detach().flatten().tolist(),
        "gradients": {name: value.flatten().tolist() for name, value in zip(leaves, gradients)},
    }


CASES = [
    case("layer", 3, 8, 1e-5, True),
    case("layer", 2, 1, 1e-5, True),
    case("layer", 5, 13, 1e-3, False),
    case("layer", 2, 20, 1e-6, True, shift=10),
    case("rms", 3, 8, 1e-5, False),
    case("rms", 4, 7, 1e-2, False, shift=2),
]
TARGET.write_text(json.dumps(CASES) + "\n")
