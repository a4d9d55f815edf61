"""Writes src/testing/fixtures/nn-models.json: whole models of two layers, by python/fastrpb in float64: logits, loss, gradients, and 100 steps of AdamW.

Parameters are not in it: they follow from the seed, weights of relative positions being normal with deviation `relativeDeviation`, drawn as embeddings
are. Logits and gradients are of the first of the batches; step t of the training, counted from 1, takes batch (t − 1) mod batches. Numbers that go in
are multiples of 1/8, targets of −100 do not count. Gradients and logits have 14 digits, losses all.
Run `python3 scripts/nn-fixtures/models.py` (needs torch, Debian's python3-torch); the same every time. With --check it writes nothing, and tells how far
losses and gradients are off in float32, and losses after a change of parameters in the last digits of float64.
"""

import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "src" / "testing" / "fixtures" / "nn-models.json"
sys.path.insert(0, str(ROOT / "python"))

from fastrpb import Transformer  # noqa: E402
from fastrpb.train import IGNORED, cross_entropy, warmup_cosine  # noqa: E402

torch.set_num_threads(1)
BATCHES, BATCH, SMOOTHING, DEVIATION = 4, 2, 0.1, 0.1
TRAINING = {"rate": 0.01, "warmup": 10, "steps": 100, "betas": [0.9, 0.999], "epsilon": 1e-8, "weightDecay": 0.01}
SIZES = {"layers": 2, "width": 8, "heads": 2, "feedForward": 12}
SEQUENCE, GRID = {**SIZES, "length": 12}, {**SIZES, "length": 12, "grid": [3, 4]}
VECTORS, TOKENS = {"input": {"features": 3}}, {"input": {"tokens": 7}}
CLASSES, NEXT = {"output": {"classes": 5, "pool": "mean"}}, {"output": {"tokens": 7}}


def layer(**options):
    return {"attention": options}


MODELS = {
    "SIKF on a grid": {**GRID, **VECTORS, **layer(featureMap="sikf", bias="fastrpb"), **CLASSES},
    "causal ELU": {**SEQUENCE, **TOKENS, **layer(featureMap="elu+1", bias="fastrpb", causal=True), **NEXT},
    "causal SIKF, symmetric": {**SEQUENCE, **TOKENS, **layer(featureMap="sikf", bias="fastrpb", causal=True, biasForm="symmetric"), **NEXT},
    "softmax with bias in the logits": {**GRID, **TOKENS, "width": 10, **layer(kind="softmax", bias="logits"), **CLASSES, "activation": "gelu-tanh"},
    "separable SIKF": {
        **GRID, **VECTORS, **layer(featureMap="sikf", bias="fastrpb", biasForm="separable"), "output": {"classes": 5, "pool": "first"},
    },
    "ReLU after Vaswani": {
        **SEQUENCE, **VECTORS, **layer(featureMap="relu", bias="fastrpb"), "positions": "sinusoidal", "norm": "post", "activation": "relu",
        "output": {"classes": 5, "pool": "last"},
    },
    "softmax with learned positions": {**SEQUENCE, **TOKENS, "width": 10, **layer(kind="softmax"), "positions": "learned", "normKind": "rms", **CLASSES},
    "causal softmax": {**SEQUENCE, **TOKENS, **layer(kind="softmax", causal=True, bias="fastrpb"), **NEXT},
    "multiplicative SIKF": {**SEQUENCE, **TOKENS, **layer(featureMap="sikf", bias="multiplicative"), **CLASSES},
    "Efficient Attention": {**SEQUENCE, **VECTORS, **layer(featureMap="softmax", bias="fastrpb"), **CLASSES},
    "FAVOR+": {**SEQUENCE, **TOKENS, "width": 6, **layer(featureMap="favor+", randomFeatures={"seed": 3}, bias="fastrpb"), **CLASSES},
    "tokens outside": {
        **SEQUENCE, **VECTORS, "width": 6, **layer(featureMap="elu+1", bias="fastrpb", biasLength=11, outside={"first": 1, "last": 2}), **CLASSES,
    },
    "DPFP": {**GRID, **TOKENS, **layer(featureMap="dpfp", bias="fastrpb"), **CLASSES},
}  # fmt: skip
# Seeds for which losses do not hang on the last digits, as the check tells. DPFP, whose sums of products of zeros and small numbers divide, is worst.
SEEDS = {"causal ELU": 138, "causal SIKF, symmetric": 138, "ReLU after Vaswani": 104, "causal softmax": 300,
         "multiplicative SIKF": 138, "DPFP": 304}  # fmt: skip
CHANGES = {"causal ELU": {"clipNorm": 0.5}, "DPFP": {"rate": 0.001}}


def data(d, random):
    length, given, output = d["length"], d["input"], d["output"]
    if "tokens" in given:
        inputs = torch.randint(given["tokens"], (BATCHES * BATCH, length), generator=random)
    else:
        inputs = torch.randint(-16, 17, (BATCHES * BATCH, length, given["features"]), generator=random) / 8
    if "classes" in output:
        return inputs, torch.randint(output["classes"], (BATCHES * BATCH,), generator=random)
    targets = torch.randint(output["tokens"], (BATCHES * BATCH, length), generator=random)
    return inputs, targets.masked_fill(torch.rand(targets.shape, generator=random) < 0.1, IGNORED)


def losses_of(model, inputs, targets, training):
    rates = warmup_cosine(training["rate"], training["warmup"], training["steps"])
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=training["betas"], eps=training["epsilon"], weight_decay=training["weightDecay"], foreach=False
    )
    losses = []
    for step in range(training["steps"]):
        rows = slice(step % BATCHES * BATCH, (step % BATCHES + 1) * BATCH)
        loss = cross_entropy(model(inputs[rows]), targets[rows], SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        if "clipNorm" in training:
            torch.nn.utils.clip_grad_norm_(model.parameters(), training["clipNorm"])
        optimizer.param_groups[0]["lr"] = rates(step + 1)
        optimizer.step()
        losses.append(loss.item())
    return losses


def prepare(number, name):
    d = MODELS[name]
    seed = SEEDS.get(name, 100 + number)
    inputs, targets = data(d, torch.Generator().manual_seed(seed))
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    return d, seed, inputs, targets, {**TRAINING, **CHANGES.get(name, {})}, lambda: Transformer(d, seed, DEVIATION).double()


def numbers(x):
    if x.double().norm() < 1e-14:
        x = torch.zeros_like(x)  # nothing but rounding, as gradients of the bias of keys under softmax
    rounded = [float(f"{value:.14g}") for value in x.detach().reshape(-1).tolist()]
    return [int(value) if value.is_integer() else value for value in rounded]


def fixture(number, name):
    d, seed, inputs, targets, training, make = prepare(number, name)
    model = make()
    logits = model(inputs[:BATCH])
    loss = cross_entropy(logits, targets[:BATCH], SMOOTHING)
    loss.backward()
    return {
        "name": name,
        "description": d,
        "seed": seed,
        "relativeDeviation": DEVIATION,
        "batch": BATCH,
        "batches": BATCHES,
        "inputs": numbers(inputs),
        "targets": targets.flatten().tolist(),
        "labelSmoothing": SMOOTHING,
        "logits": numbers(logits),
        "loss": loss.item(),
        "gradients": {name: numbers(parameter.grad) for name, parameter in model.named_parameters()},
        "training": training,
        "losses": losses_of(make(), inputs, targets, training),
    }


def gradients_of(model, inputs, targets):
    cross_entropy(model(inputs[:BATCH]), targets[:BATCH], SMOOTHING).backward()
    return [parameter.grad.double() for parameter in model.parameters()]


def check(number, name):
    _, _, inputs, targets, training, make = prepare(number, name)
    exact = torch.tensor(losses_of(make(), inputs, targets, training), dtype=torch.float64)
    single = inputs.float() if inputs.is_floating_point() else inputs
    rounded = torch.tensor(losses_of(make().float(), single, targets, training), dtype=torch.float64)
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1 + 1e-15
    moved = torch.tensor(losses_of(model, inputs, targets, training), dtype=torch.float64)
    gradients = [gradients_of(made, x, targets) for made, x in [(make(), inputs), (make().float(), single)]]
    far = max((a - b).norm() / a.norm() for a, b in zip(*gradients) if a.norm() > 1e-14).item()
    apart = [(exact - other).abs().max().item() for other in (rounded, moved)]
    print(f"{name}: losses {exact[0]:.4f} to {exact[-4:].mean():.4f};", end=" ")
    print(f"apart by {apart[0]:.1e} in float32, {apart[1]:.1e} after a change of 1e-15; gradients by {far:.1e}")


def main():
    if "--check" in sys.argv:
        for number, name in enumerate(MODELS):
            check(number, name)
        return
    models = ",\n".join(json.dumps(fixture(number, name), separators=(",", ":")) for number, name in enumerate(MODELS))
    TARGET.write_text(f'{{"models":[\n{models}\n]}}\n')


main()
