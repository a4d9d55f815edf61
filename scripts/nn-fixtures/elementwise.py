"""Writes src/testing/fixtures/nn-elementwise.json: sums, products and activations, and their gradients, in float64.

Run `python3 scripts/nn-fixtures/elementwise.py` (needs torch, Debian's python3-torch); the same every time.
"""

import json
from pathlib import Path

import torch
from torch.nn import functional

TARGET = Path(__file__).parent.parent.parent / "src" / "testing" / "fixtures" / "nn-elementwise.json"
torch.manual_seed(1)


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def case(spec, inputs, function):
    """What `function` gives of the inputs, and the gradients of the sum of dOut times that."""
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    out = function(**leaves)
    d_out = numbers(*out.shape)
    gradients = torch.autograd.grad(out, list(leaves.values()), d_out)
    return {
        "spec": spec,
        "given": {name: x.flatten().tolist() for name, x in inputs.items()},
        "dOut": d_out.flatten().tolist(),
        "out": out.detach().flatten().tolist(),
        "gradients": {name: x.flatten().tolist() for name, x in zip(leaves, gradients)},
    }


cases = []
for rows, period in [(1, 1), (1, 7), (5, 3), (3, 8)]:
    size = rows * period
    for operation, function in [("add", torch.add), ("multiply", torch.mul)]:
        inputs = {"x": numbers(rows, period), "y": numbers(period)}
        cases.append(case({"operation": operation, "size": size, "period": period}, inputs, lambda x, y: function(x, y)))
ACTIVATIONS = {"relu": functional.relu, "gelu": functional.gelu, "gelu-tanh": lambda x: functional.gelu(x, approximate="tanh")}
for kind, function in ACTIVATIONS.items():
    x = torch.cat([3 * numbers(20), torch.tensor([-6.0, -5, -2.5, -1, -0.1, 0.1, 1, 2.5, 5], dtype=torch.float64)])
    cases.append(case({"operation": "activation", "size": len(x), "kind": kind}, {"x": x}, lambda x: function(x)))
TARGET.write_text(json.dumps(cases) + "\n")
