"""Writes src/testing/fixtures/layers.json: linear attention with FastRPB in the forms of the paper's author, and its gradients, in float64.

The layers are written from what is known of the author's code (maximzubkov/positional-bias and maximzubkov/LinBERT): how weights become a matrix, that
means are subtracted from queries and keys under exp, that causal attention runs token by token. They go the author's ways and not the library's: sums
of keys times values, one transform of a padded sequence, sums of rows and of columns. Two things are the library's: there is no 1e-6 in denominators, a
row whose denominator is 0 being 0, and the mask over keys holds for the bias too.
Numbers that go in are multiples of 1/8; what comes out has 13 digits.
Run `python3 scripts/make-layer-fixtures.py` (needs torch, Debian's python3-torch); the same every time.
"""

import json
import math
from pathlib import Path

import torch

TARGET = Path(__file__).parent.parent / "src" / "testing" / "fixtures" / "layers.json"
ROWS = {"heads": 2, "headDim": 3, "valueDim": 2}
ELU, SIKF, DPFP = ({**ROWS, "bias": "fastrpb", "featureMap": name} for name in ["elu+1", "sikf", "dpfp"])
SYMMETRIC = {"biasForm": "symmetric"}
SHARED = {"biasForm": "separable", "biasShared": True}
SHARED_SYMMETRIC = {"biasForm": "separable-symmetric", "biasShared": True}
ENDS = {"outside": {"first": 1, "last": 1}}
MASK = {"batch": 2, "keyMask": True}

CASES = [
    *({**layer, "length": 7} for layer in [ELU, SIKF, {**DPFP, "nu": 2}]),
    *({**layer, "length": 6, **SYMMETRIC} for layer in [ELU, SIKF, DPFP]),
    {**ELU, "length": 7, "causal": True},
    {**SIKF, "length": 6, "causal": True, **SYMMETRIC},
    {**DPFP, "length": 6, "causal": True, "nu": 5},
    *({**layer, "grid": [3, 3], **SHARED} for layer in [SIKF, DPFP]),
    *({**layer, "grid": [3, 3], **SHARED_SYMMETRIC} for layer in [ELU, SIKF]),
    {**ELU, "length": 5, **ENDS},
    {**SIKF, "length": 5, **ENDS, **SYMMETRIC, "causal": True},
    {**DPFP, "grid": [2, 2], **ENDS, **SHARED},
    {**ELU, "grid": [2, 2], "gridChannels": 3, **SHARED},
    {**SIKF, "grid": [3, 3], "gridChannels": 2, **ENDS, **SHARED_SYMMETRIC},
    {**SIKF, "length": 5, "biasLength": 8},
    {**DPFP, "length": 5, "biasLength": 8, **SYMMETRIC},
    {**ELU, "length": 5, "biasLength": 7, "causal": True},
    {**SIKF, "length": 6, **MASK},
    {**ELU, "length": 5, **MASK, **SYMMETRIC, "causal": True},
    {**DPFP, "grid": [2, 2], **MASK, **ENDS, **SHARED_SYMMETRIC, "nu": 3},
]


def feature_map(options, q, k):
    """Features of queries and of keys."""
    name = options["featureMap"]
    if name == "sikf":
        # A number for each head: that of queries cancels in each row, that of keys in all.
        means = (q.mean(dim=(-2, -1), keepdim=True), k.mean(dim=(-2, -1), keepdim=True))
        return tuple((x - sum(means)).exp() for x in (q, k))
    if name == "elu+1":
        return tuple(torch.nn.functional.elu(x) + 1 for x in (q, k))

    def products(x):
        parts = torch.cat([x.relu(), (-x).relu()], dim=-1)
        return torch.cat([parts * parts.roll(shift, dims=-1) for shift in range(1, options.get("nu", 1) + 1)], dim=-1)

    return products(q), products(k)


def quotient(numerator, denominator):
    nothing = denominator == 0
    return torch.where(nothing, torch.zeros_like(numerator), numerator / torch.where(nothing, torch.ones_like(denominator), denominator))


def linear_attention(q, k, v, causal):
    if not causal:
        return quotient(q @ (k.transpose(-1, -2) @ v), q @ k.sum(dim=-2).unsqueeze(-1))
    memory, total, rows = 0, 0, []
    for token in range(q.shape[-2]):
        key, value, query = k[:, :, token], v[:, :, token], q[:, :, token]
        memory = memory + key.unsqueeze(-1) * value.unsqueeze(-2)
        total = total + key
        rows.append(quotient((query.unsqueeze(-2) @ memory).squeeze(-2), (query * total).sum(dim=-1, keepdim=True)))
    return torch.stack(rows, dim=-2)


def toeplitz(weights, v, symmetric, causal=False):
    """Sums over j of w[j - i] v_j along the last axis but one, by weights that may be of more positions."""
    n = v.shape[-2]
    if symmetric:
        offsets = torch.cat([weights[:, 1:n].flip(-1), weights[:, :n]], dim=-1)
    else:
        middle = weights.shape[-1] // 2
        offsets = weights[:, middle - n + 1 : middle + n]
    if causal:
        offsets = torch.where(torch.arange(2 * n - 1) < n, offsets, torch.zeros_like(offsets))
    size = 3 * n - 2
    spectra = torch.fft.rfft(offsets.flip(-1), size).unsqueeze(-1) * torch.fft.rfft(v, size, dim=-2)
    return torch.fft.irfft(spectra, size, dim=-2)[..., n - 1 : 2 * n - 1, :]


def positional_bias(options, weights, v):
    outside = options.get("outside", {"first": 0, "last": 0})
    inner = v[:, :, outside["first"] : v.shape[-2] - outside["last"]]
    symmetric = options.get("biasForm", "full").endswith("symmetric")
    if "grid" in options:
        # Tokens of an image run over rows, columns and channels; those of a channel are a picture of their own.
        batch, heads, tokens, width = inner.shape
        side = options["grid"][0]
        image = inner.reshape(batch, heads, side, side, -1)
        columns = toeplitz(weights, image.sum(dim=2), symmetric)
        rows = toeplitz(weights, image.sum(dim=3), symmetric)
        product = (columns.unsqueeze(2) + rows.unsqueeze(3)).reshape(batch, heads, tokens, width)
    else:
        product = toeplitz(weights, inner, symmetric, options.get("causal", False))
    return torch.nn.functional.pad(product, (0, 0, outside["first"], outside["last"]))


def layer(options, q, k, v, weights, mask):
    phi_q, phi_k = feature_map(options, q, k)
    return linear_attention(phi_q, phi_k * mask, v, options.get("causal", False)) + positional_bias(options, weights, v * mask)


torch.manual_seed(3)


def draw(*shape):
    """Multiples of 1/8 are exact in float32 and short in print."""
    return (torch.randint(-16, 17, shape) / 8).double().requires_grad_()


def numbers(x):
    rounded = [float(f"{value:.13g}") for value in x.detach().reshape(-1).tolist()]
    return [int(value) if value.is_integer() else value for value in rounded]


def fixture(options):
    batch, heads, dim, value_dim = options.get("batch", 1), options["heads"], options["headDim"], options["valueDim"]
    sizes = options.get("grid", [options.get("length")])
    tokens = math.prod(sizes) * options.get("gridChannels", 1) + sum(options.get("outside", {}).values())
    reach = options.get("biasLength", sizes[0])
    weights = draw(heads, reach if options.get("biasForm", "full").endswith("symmetric") else 2 * reach - 1)
    q, k = draw(batch, heads, tokens, dim), draw(batch, heads, tokens, dim)
    v, d_out = draw(batch, heads, tokens, value_dim), draw(batch, heads, tokens, value_dim)
    mask = torch.ones(batch, tokens)
    if options.get("keyMask"):
        mask = (torch.rand(batch, tokens) < 0.6).double()
    out = layer(options, q, k, v, weights, mask[:, None, :, None].double())
    gradients = torch.autograd.grad(out, [q, k, v, weights], d_out)
    case = {"options": options, "q": numbers(q), "k": numbers(k), "v": numbers(v), "dOut": numbers(d_out), "weights": numbers(weights)}
    if options.get("keyMask"):
        case["keyMask"] = [int(seen) for seen in mask.reshape(-1).tolist()]
    return {**case, "out": numbers(out), **dict(zip(["dq", "dk", "dv", "dBias"], map(numbers, gradients)))}


def main():
    lines = [json.dumps(fixture(options), separators=(",", ":")) for options in CASES]
    TARGET.write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
