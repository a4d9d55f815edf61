"""Writes src/testing/fixtures/nn-matmul.json: matrix products, what follows them, heads, and gradients, in float64.

Run `python3 scripts/nn-fixtures/matmul.py` (needs torch, Debian's python3-torch); the same every time. Tensors are flat, as they are stored.
"""

import json
from pathlib import Path

import torch

TARGET = Path(__file__).parent.parent.parent / "src" / "testing" / "fixtures" / "nn-matmul.json"
torch.manual_seed(1)
ACTIVATIONS = {
    "none": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu-tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
}


def numbers(*shape):
    """Few digits, so that the file is small."""
    return torch.randint(-99, 100, shape).to(torch.float64) / 64


def to_heads(x, length, heads):
    rows, columns = x.shape[-2:]
    return x.reshape(rows // length, length, heads, columns // heads).transpose(1, 2)


def case(m, n, k, batch=1, transposeA=False, transposeB=False, bias=False, residual=False, activation="none", heads=None):
    def stored(name, rows, columns, transposed):
        """The tensor as it is stored, and the matrix that it is."""
        shape = (columns, rows) if transposed else (rows, columns)
        x = numbers(batch, *shape)
        if heads and heads["of"] == name:
            x = to_heads(x, heads["length"], heads["heads"]).contiguous()
        x.requires_grad_()
        matrix = x.transpose(1, 2).reshape(batch, *shape) if heads and heads["of"] == name else x
        return x, matrix.transpose(1, 2) if transposed else matrix

    a, a_matrix = stored("a", m, k, transposeA)
    b, b_matrix = stored("b", k, n, transposeB)
    inputs = {"a": a, "b": b}
    out = a_matrix @ b_matrix
    if bias:
        inputs["bias"] = numbers(n).requires_grad_()
        out = out + inputs["bias"]
    out = ACTIVATIONS[activation](out)
    if heads and heads["of"] == "out":
        out = to_heads(out, heads["length"], heads["heads"])
    if residual:
        inputs["residual"] = numbers(*out.shape).requires_grad_()
        out = out + inputs["residual"]
    d_out = numbers(*out.shape)
    out.backward(d_out)
    flat = lambda x: x.detach().flatten().tolist()
    spec = {"m": m, "n": n, "k": k, "batch": batch, "transposeA": transposeA, "transposeB": transposeB}
    spec |= {"bias": bias, "residual": residual, "activation": activation}
    return {
        "spec": spec | ({"heads": heads} if heads else {}),
        "inputs": {name: flat(x) for name, x in inputs.items()},
        "out": flat(out),
        "dOut": flat(d_out),
        "gradients": {name: flat(x.grad) for name, x in inputs.items()} if activation == "none" else {},
    }


cases = [case(3, 4, 5, 2, a, b, bias=True, residual=True) for a in (False, True) for b in (False, True)]
cases += [case(5, 3, 2, bias=True, residual=True, activation=name) for name in ACTIVATIONS]
for of in ("a", "b", "out"):
    for a in (False, True):
        for b in (False, True):
            # All sizes are whole sequences and heads.
            cases.append(case(6, 6, 6, 1, a, b, bias=True, residual=of == "out", heads={"of": of, "length": 3, "heads": 2}))
cases.append(case(1, 1, 1))
cases.append(case(70, 2, 3))
TARGET.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
