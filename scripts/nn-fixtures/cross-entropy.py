"""Writes src/testing/fixtures/nn-cross-entropy.json: PyTorch's cross_entropy and mse_loss, and their gradients, in float64.

Run `python3 scripts/nn-fixtures/cross-entropy.py` (needs torch, Debian's python3-torch); the same every time.
"""

import json
from pathlib import Path

import torch

TARGET = Path(__file__).parents[2] / "src" / "testing" / "fixtures" / "nn-cross-entropy.json"
IGNORED = -100


def numbers(tensor):
    return [float(f"{x:.14g}") for x in tensor.flatten().tolist()]


def entropy(rows, classes, smoothing, ignored=(), scale=1.0, lowest=()):
    """The gradient is that of 3 times the loss. Of each row in `lowest` a class that is not its target is -inf, written as null."""
    logits = (torch.randn(rows, classes, dtype=torch.float64) * scale * 8).round() / 8
    targets = torch.randint(classes, [rows])
    for row in lowest:
        logits[row, (targets[row] + 1) % classes] = -torch.inf
    for row in ignored:
        targets[row] = IGNORED
    logits.requires_grad_()
    loss = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, label_smoothing=smoothing)
    (3 * loss).backward()
    right = (logits.argmax(dim=1) == targets) & (targets != IGNORED)
    return {
        "options": {"rows": rows, "classes": classes, "labelSmoothing": smoothing},
        "logits": [None if x == -torch.inf else x for x in logits.flatten().tolist()],
        "targets": [2**32 - 1 if t == IGNORED else t for t in targets.tolist()],
        "loss": loss.item(),
        "counts": [int((targets != IGNORED).sum()), int(right.sum())],
        "dLogits": numbers(logits.grad),
    }


def squares(size):
    x, y = ((torch.randn(size, dtype=torch.float64) * 8).round() / 8 for _ in range(2))
    x.requires_grad_()
    y.requires_grad_()
    loss = torch.nn.functional.mse_loss(x, y)
    (3 * loss).backward()
    return {"size": size, "x": numbers(x), "y": numbers(y), "loss": loss.item(), "dX": numbers(x.grad), "dY": numbers(y.grad)}


def main():
    torch.manual_seed(1)
    entropies = [
        entropy(7, 10, 0.0),
        entropy(6, 10, 0.1, ignored=[0, 4]),
        entropy(5, 33, 0.1),
        entropy(3, 64, 0.0, scale=20.0),
        entropy(4, 1, 0.2),
        entropy(1, 2, 1.0),
        entropy(3, 5, 0.0, lowest=[0, 2]),
    ]
    TARGET.write_text(json.dumps({"crossEntropy": entropies, "meanSquaredError": [squares(size) for size in [1, 7, 12]]}) + "\n")


main()
