"""Writes src/testing/fixtures/nn-embedding.json: PyTorch's embedding and the gradient of its table, in float64.

Run `python3 scripts/nn-fixtures/embedding.py` (needs torch, Debian's python3-torch); the same every time.
"""

import json
from pathlib import Path

import torch

TARGET = Path(__file__).parents[2] / "src" / "testing" / "fixtures" / "nn-embedding.json"


def case(tokens, count, width):
    table, gradient = ((torch.randn(size, width, dtype=torch.float64) * 8).round() / 8 for size in (count, tokens))
    indices = torch.randint(count, [tokens])
    table.requires_grad_()
    out = torch.nn.functional.embedding(indices, table)
    out.backward(gradient)
    tensors = {"table": table, "out": out, "dOut": gradient, "dTable": table.grad}
    return {
        "options": {"tokens": tokens, "count": count, "width": width},
        "indices": indices.tolist(),
        **{name: tensor.flatten().tolist() for name, tensor in tensors.items()},
    }


def main():
    torch.manual_seed(1)
    TARGET.write_text(json.dumps([case(*sizes) for sizes in [(1, 1, 1), (9, 4, 3), (40, 7, 4), (5, 60, 2)]]) + "\n")


main()
