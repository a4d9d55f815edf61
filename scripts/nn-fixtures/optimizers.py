"""Writes src/testing/fixtures/nn-optimizers.json: PyTorch's AdamW and SGD over 20 steps, clipped by the norm of all gradients or not, and an
exponential moving average of what they step through, in float64.

Parameters and gradients are random multiples of 1/64; what comes out has all its digits.
Run `python3 scripts/nn-fixtures/optimizers.py` (needs torch, Debian's python3-torch); the same every time.
"""

import json
from pathlib import Path

import torch

TARGET = Path(__file__).parent.parent.parent / "src" / "testing" / "fixtures" / "nn-optimizers.json"
SIZE, STEPS = 23, 20
GROUPS = [{"end": 5, "weightDecay": 0.0, "rateFactor": 1.0}, {"end": 14, "weightDecay": 0.1, "rateFactor": 0.5}, {"end": SIZE, "weightDecay": 0.3, "rateFactor": 3.0}]
ADAM_W = {"optimizer": "adamW", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
SGD = {"optimizer": "sgd"}
CASES = [
    ADAM_W,
    {**ADAM_W, "weightDecay": 0.05, "clipNorm": 3.0},
    {**ADAM_W, "beta1": 0.8, "beta2": 0.95, "epsilon": 0.125, "groups": GROUPS, "clipNorm": 0.5},
    {**ADAM_W, "beta1": 0.0, "beta2": 0.25, "weightDecay": 0.01},
    SGD,
    {**SGD, "momentum": 0.9, "weightDecay": 0.02, "clipNorm": 3.0},
    {**SGD, "momentum": 0.9, "nesterov": True, "groups": GROUPS, "clipNorm": 100.0},
    {**SGD, "weightDecay": 0.1, "groups": GROUPS},
]
AVERAGE_DECAY = 0.9


def multiples(generator, *shape):
    return (64 * torch.randn(*shape, generator=generator, dtype=torch.float64)).round() / 64


def train(case, start, gradients, rates):
    """Parameters after the first step and after all, what the optimiser keeps, and the average, which starts as the parameters."""
    groups = case.get("groups", [{"end": len(start), "weightDecay": case.get("weightDecay", 0.0), "rateFactor": 1.0}])
    begins = [0, *(group["end"] for group in groups[:-1])]
    parts = [torch.nn.Parameter(start[begin : group["end"]].clone()) for begin, group in zip(begins, groups)]
    own = [{"params": [part], "weight_decay": group["weightDecay"]} for part, group in zip(parts, groups)]
    if case["optimizer"] == "adamW":
        optimizer = torch.optim.AdamW(own, lr=1.0, betas=(case["beta1"], case["beta2"]), eps=case["epsilon"])
        kept = {"mean": "exp_avg", "square": "exp_avg_sq"}
    else:
        optimizer = torch.optim.SGD(own, lr=1.0, momentum=case.get("momentum", 0.0), nesterov=case.get("nesterov", False))
        kept = {"momentum": "momentum_buffer"} if "momentum" in case else {}
    average = start.clone()
    for step in range(STEPS):
        for begin, group, part, options in zip(begins, groups, parts, optimizer.param_groups):
            part.grad = gradients[step][begin : group["end"]].clone()
            options["lr"] = rates[step] * group["rateFactor"]
        if "clipNorm" in case:
            torch.nn.utils.clip_grad_norm_(parts, case["clipNorm"])
        optimizer.step()
        parameters = torch.cat([part.detach() for part in parts])
        average = AVERAGE_DECAY * average + (1 - AVERAGE_DECAY) * parameters
        if step == 0:
            first = parameters.tolist()
    state = {name: torch.cat([optimizer.state[part][key] for part in parts]).tolist() for name, key in kept.items()}
    return {"options": case, "first": first, "parameters": parameters.tolist(), "average": average.tolist(), **state}


def main():
    generator = torch.Generator().manual_seed(20)
    start = multiples(generator, SIZE)
    gradients = multiples(generator, STEPS, SIZE)
    # Some of a group of the largest norm, some of none.
    gradients[3] *= 8
    gradients[7] = 0
    rates = [0.01 * (step + 1) / 8 if step < 8 else 0.01 * (STEPS - step) / 12 for step in range(STEPS)]
    data = {
        "parameters": start.tolist(),
        "gradients": gradients.tolist(),
        "rates": rates,
        "averageDecay": AVERAGE_DECAY,
        "cases": [train(case, start, gradients, rates) for case in CASES],
    }
    TARGET.write_text(json.dumps(data, separators=(",", ":")).replace('{"options"', '\n{"options"') + "\n")


if __name__ == "__main__":
    main()
