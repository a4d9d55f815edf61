"""Writes src/testing/fixtures/attention.json: small attentions of every kind and their gradients, by PyTorch's autograd in float64.

Each is its definition, as dense matrices. Numbers that go in are multiples of 1/8; what comes out has 10 digits.
Run `python3 scripts/make-attention-fixtures.py` (needs numpy and torch); the same every time.
"""

import json
import math
from pathlib import Path

import numpy
import torch

TARGET = Path(__file__).parent.parent / "src" / "testing" / "fixtures" / "attention.json"
SMALL = {"heads": 2, "length": 7, "headDim": 3, "valueDim": 2}
BATCH = {"batch": 2, "heads": 2, "length": 6, "headDim": 3, "valueDim": 4}
GRID = {"heads": 2, "grid": [3, 4], "headDim": 2, "valueDim": 3}
MAPS = ["sikf", "elu+1", "relu", "softmax", "favor+"]

CASES = [
    *({**SMALL, "featureMap": name, "causal": causal} for name in MAPS for causal in [False, True]),
    {**SMALL, "featureMap": "favor+", "headDim": 5, "randomFeatures": {"count": 12, "seed": 7}, "scale": 0.25},
    {**SMALL, "featureMap": "favor+", "headDim": 4, "randomFeatures": {"count": 2, "seed": 4294967295}, "causal": True},
    *({**SMALL, "kind": "softmax", "causal": causal, **scale} for causal in [False, True] for scale in [{}, {"scale": 0.75}]),
    {"heads": 1, "length": 1, "headDim": 1, "featureMap": "sikf", "bias": "fastrpb"},
    {"heads": 1, "length": 13, "headDim": 1, "valueDim": 2, "featureMap": "elu+1", "bias": "multiplicative"},
    {**BATCH, "featureMap": "sikf", "bias": "fastrpb"},
    {**SMALL, "featureMap": "elu+1", "bias": "fastrpb", "causal": True},
    {**SMALL, "kind": "softmax", "bias": "fastrpb", "causal": True},
    {**GRID, "featureMap": "relu", "bias": "fastrpb"},
    {**GRID, "kind": "softmax", "bias": "fastrpb"},
    {**BATCH, "featureMap": "sikf", "bias": "multiplicative"},
    *({**SMALL, "featureMap": name, "bias": "multiplicative", "causal": True} for name in ["sikf", "elu+1", "relu", "favor+"]),
    {**GRID, "featureMap": "favor+", "bias": "multiplicative", "randomFeatures": {"count": 3, "seed": 1}},
    {**BATCH, "featureMap": "softmax", "variableLengths": True},
    {**BATCH, "featureMap": "sikf", "variableLengths": True, "bias": "fastrpb", "causal": True},
    {**BATCH, "featureMap": "elu+1", "variableLengths": True, "bias": "multiplicative"},
    {**BATCH, "kind": "softmax", "variableLengths": True, "bias": "fastrpb"},
]


def mulberry32(seed):
    """Uniform numbers in [0, 1)."""
    state = seed
    while True:
        state = (state + 0x6D2B79F5) & 0xFFFFFFFF
        mixed = ((state ^ (state >> 15)) * (state | 1)) & 0xFFFFFFFF
        mixed ^= (mixed + (((mixed ^ (mixed >> 7)) * (mixed | 61)) & 0xFFFFFFFF)) & 0xFFFFFFFF
        yield (mixed ^ (mixed >> 14)) / 2**32


def orthogonal_features(count, dim, seed):
    """As src/math/random-features.ts: blocks of orthogonal rows, each with the length of a Gaussian vector."""
    uniform = mulberry32(seed)

    def normals(n):
        pairs = [(next(uniform), next(uniform)) for _ in range(n)]
        return numpy.array([math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v) for u, v in pairs])

    rows = []
    for first in range(0, count, dim):
        # The same as Gram-Schmidt, but for signs.
        block = normals(dim * dim).reshape(dim, dim)
        q, r = numpy.linalg.qr(block.T)
        block = (q * numpy.sign(numpy.diag(r))).T
        rows += [block[r] * numpy.linalg.norm(normals(dim)) for r in range(min(dim, count - first))]
    return torch.tensor(numpy.array(rows))


def offsets(options):
    """Where the weight of each pair (i, j) lies, for weights of one head in a row."""
    height, width = options.get("grid", [1, options.get("length")])
    y, x = numpy.divmod(numpy.arange(height * width), width)
    return (y[None, :] - y[:, None] + height - 1) * (2 * width - 1) + x[None, :] - x[:, None] + width - 1


def attention(options, q, k, v, weights, lengths):
    tokens = v.shape[-2]
    scale = float(numpy.float32(options.get("scale", 1 / math.sqrt(q.shape[-1]))))
    features = options.get("featureMap")
    counts = torch.arange(tokens)[None, :] < lengths[:, None]
    mask = counts[:, None, :, None] & counts[:, None, None, :]
    if options.get("causal"):
        mask = mask & torch.ones(tokens, tokens, dtype=torch.bool).tril()
    mask = mask.expand(*v.shape[:-1], tokens)
    bias = weights.reshape(weights.shape[0], -1)[:, offsets(options)]
    nothing = torch.zeros((), dtype=torch.float64)

    def normalised(similarity):
        masked = torch.where(mask, similarity, nothing)
        total = masked.sum(-1, keepdim=True)
        return torch.where(total == 0, nothing, masked / torch.where(total == 0, nothing + 1, total))

    if features == "softmax":
        # [batch, heads, i, j, d]: the softmax over the keys that i sees.
        seen = torch.where(mask[..., None], k[:, :, None, :, :].exp(), nothing)
        total = seen.sum(-2, keepdim=True)
        shares = seen / torch.where(total == 0, nothing + 1, total)
        p = torch.einsum("bhid,bhijd->bhij", q.softmax(-1), shares)
    elif options.get("kind") == "softmax":
        p = normalised((scale * q @ k.transpose(-1, -2)).exp())
    else:
        if features == "favor+":
            dim = q.shape[-1]
            random = options.get("randomFeatures", {})
            w = orthogonal_features(random.get("count", max(dim, math.ceil(dim * math.log(dim)))), dim, random.get("seed", 0))
            phi = lambda x: (math.sqrt(scale) * x @ w.T - scale * (x**2).sum(-1, keepdim=True) / 2).exp()
        else:
            phi = {"sikf": torch.exp, "elu+1": lambda x: torch.nn.functional.elu(x) + 1, "relu": torch.relu}[features]
        similarity = phi(q) @ phi(k).transpose(-1, -2)
        p = normalised(similarity * bias.exp() if options.get("bias") == "multiplicative" else similarity)
    if options.get("bias") == "fastrpb":
        p = p + torch.where(mask, bias, nothing)
    return p @ v


generator = numpy.random.default_rng(2)


def draw(shape):
    """Multiples of 1/8 are exact in float32 and short in print."""
    return torch.tensor(generator.integers(-16, 17, size=shape) / 8, requires_grad=True)


def numbers(x):
    return [float(f"{value:.10g}") for value in x.detach().ravel().tolist()]


def fixture(options):
    batch, heads, dim = options.get("batch", 1), options["heads"], options["headDim"]
    sizes = options.get("grid", [options.get("length")])
    tokens = math.prod(sizes)
    value_dim = options.get("valueDim", dim)
    q, k = draw([batch, heads, tokens, dim]), draw([batch, heads, tokens, dim])
    v, d_out = draw([batch, heads, tokens, value_dim]), draw([batch, heads, tokens, value_dim])
    weights = draw([heads, *(2 * size - 1 for size in sizes)])
    lengths = [tokens - 2 - 3 * b for b in range(batch)] if options.get("variableLengths") else [tokens] * batch
    out = attention(options, q, k, v, weights, torch.tensor(lengths))
    gradients = torch.autograd.grad(out, [q, k, v, weights], d_out, allow_unused=True)
    case = {"options": options, "q": numbers(q), "k": numbers(k), "v": numbers(v), "dOut": numbers(d_out)}
    if "bias" in options:
        case["weights"] = numbers(weights)
    if options.get("variableLengths"):
        case["lengths"] = lengths
    case |= {"out": numbers(out), "dq": numbers(gradients[0]), "dk": numbers(gradients[1]), "dv": numbers(gradients[2])}
    if "bias" in options:
        case["dBias"] = numbers(gradients[3])
    return case


def main():
    lines = [json.dumps(fixture(options), separators=(",", ":")) for options in CASES]
    TARGET.write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
