"""The transformer of fastrpb/nn, from the same description:

    Transformer({
        "input": {"tokens": 256},               # or {"features": 3}: vectors per position
        "length": 784, "grid": [28, 28],        # a grid alone gives the length
        "layers": 4, "width": 128, "heads": 4, "feedForward": 256,
        "attention": {"featureMap": "sikf", "bias": "fastrpb"},  # what runtime.attention takes: ATTENTION below
        "positions": "none",                    # "sinusoidal", "learned"
        "norm": "pre", "normKind": "layer",     # "post"; "rms"
        "activation": "gelu", "dropout": 0.1,   # "gelu-tanh", "relu"
        "output": {"classes": 10, "pool": "mean"},  # "first", "last"; or {"tokens": 256}: the next one at every position
    }, seed=1)
"""

import functools
import json
import math

import torch
from torch import nn
from torch.nn import functional

from .attention import attention, bias_form, table_shape
from .safetensors import load_file, save_file

DEFAULTS = {"positions": "none", "norm": "pre", "normKind": "layer", "activation": "gelu", "dropout": 0.0, "variableLengths": False}
REQUIRED = ["input", "length", "layers", "width", "heads", "attention", "output"]
ATTENTION = [
    "kind", "featureMap", "randomFeatures", "nu", "scale", "causal", "window", "bias", "biasForm", "biasShared", "biasLength", "outside",
    "headDim", "valueDim", "linearBias",
]  # fmt: skip
CHOICES = {
    "positions": ["none", "sinusoidal", "learned"],
    "norm": ["pre", "post"],
    "normKind": ["layer", "rms"],
    "activation": ["gelu", "gelu-tanh", "relu"],
    "kind": ["linear", "softmax"],
    "featureMap": ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"],
    "bias": ["none", "fastrpb", "multiplicative", "logits"],
    "biasForm": ["full", "symmetric", "separable", "separable-symmetric", "manhattan"],
}
ACTIVATIONS = {"gelu": functional.gelu, "gelu-tanh": lambda x: functional.gelu(x, approximate="tanh"), "relu": functional.relu}
EPSILON = 1e-5


class Transformer(nn.Module):
    """inputs: [batch, length] tokens or [batch, length, features]; result: [batch, classes] or [batch, length, tokens] logits."""

    def __init__(self, description, seed=0, relative_deviation=0.0):
        super().__init__()
        d = self.description = check(description)
        width = d["width"]
        # Parameters are registered in the order of their first use, which is the order that they are drawn in.
        self.embed = nn.Embedding(d["input"]["tokens"], width) if "tokens" in d["input"] else nn.Linear(d["input"]["features"], width)
        if d["positions"] == "learned":
            self.positions = nn.Embedding(d["length"], width)
        self.layers = nn.ModuleList(Layer(d) for _ in range(d["layers"]))
        if d["norm"] == "pre":
            self.norm = make_norm(d)
        self.head = nn.Linear(width, d["output"].get("classes") or d["output"]["tokens"])
        self.dropout = nn.Dropout(d["dropout"])
        initialise(self, seed, relative_deviation)

    def forward(self, inputs, lengths=None):
        """Of `lengths`, as with "variableLengths", there is one for each batch row: what lies beyond has no influence."""
        x = self.embed(inputs)
        if self.description["positions"] == "learned":
            x = x + self.positions.weight
        elif self.description["positions"] == "sinusoidal":
            x = x + sinusoids(x.shape[1], x.shape[2], x.dtype, x.device)
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, lengths)
        if self.description["norm"] == "pre":
            x = self.norm(x)
        if "classes" in self.description["output"]:
            x = pool(x, self.description["output"].get("pool", "mean"), lengths)
        return self.head(x)


class Layer(nn.Module):
    """Attention and two linear layers, each with a residual and a norm: before them ("pre"), or after the sum ("post": Vaswani et al. 2017)."""

    def __init__(self, d):
        super().__init__()
        self.pre = d["norm"] == "pre"
        if self.pre:
            self.norm1 = make_norm(d)
        self.attention = Attention(d)
        if self.pre:
            self.norm2 = make_norm(d)
        else:
            self.norm1 = make_norm(d)
        self.feedForward = nn.ModuleList([nn.Linear(d["width"], d["feedForward"]), nn.Linear(d["feedForward"], d["width"])])
        if not self.pre:
            self.norm2 = make_norm(d)
        self.activation = ACTIVATIONS[d["activation"]]
        self.dropout = nn.Dropout(d["dropout"])

    def forward(self, x, lengths=None):
        if self.pre:
            x = x + self.dropout(self.attention(self.norm1(x), lengths))
            return x + self.dropout(self.feed_forward(self.norm2(x)))
        x = self.norm1(x + self.dropout(self.attention(x, lengths)))
        return self.norm2(x + self.dropout(self.feed_forward(x)))

    def feed_forward(self, x):
        return self.feedForward[1](self.dropout(self.activation(self.feedForward[0](x))))


class Attention(nn.Module):
    """Heads of attention between linear layers. `relative.weight` holds the weights of relative positions, where there is a bias."""

    def __init__(self, d):
        super().__init__()
        width, self.heads, options = d["width"], d["heads"], d["attention"]
        outside = sum(options.get("outside", {}).values())
        self.options = {**options, "sizes": list(d.get("grid") or [d["length"] - outside])}
        dim = options.get("headDim", width // self.heads)
        value_dim, bias = options.get("valueDim", dim), options.get("linearBias", True)
        self.q, self.k, self.v = (nn.Linear(width, self.heads * size, bias) for size in (dim, dim, value_dim))
        if options.get("bias", "none") != "none":
            shape = table_shape(self.options["sizes"], **bias_form(options))
            self.relative = nn.ParameterDict({"weight": nn.Parameter(torch.zeros(self.heads, *shape))})
        self.out = nn.Linear(self.heads * value_dim, width, bias)

    def forward(self, x, lengths=None):
        q, k, v = (linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in (self.q, self.k, self.v))
        weights = self.relative["weight"] if hasattr(self, "relative") else None
        return self.out(attention(self.options, q, k, v, weights, lengths).transpose(1, 2).flatten(-2))


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * (x.square().mean(dim=-1, keepdim=True) + EPSILON).rsqrt() * self.weight


def make_norm(d):
    return RmsNorm(d["width"]) if d["normKind"] == "rms" else nn.LayerNorm(d["width"], eps=EPSILON)


def pool(x, kind, lengths):
    """One vector of all tokens that count."""
    if kind == "first":
        return x[:, 0]
    if lengths is None:
        return x[:, -1] if kind == "last" else x.mean(dim=1)
    if kind == "last":
        return x[torch.arange(len(x), device=x.device), lengths - 1]
    seen = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    return (x * seen.unsqueeze(-1)).sum(dim=1) / lengths.unsqueeze(-1)


@functools.lru_cache(maxsize=16)
def sinusoids(length, width, dtype, device):
    """Vaswani et al. 2017: sines at even places, cosines at odd ones; computed in float64."""
    places = torch.arange(width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] / 10_000.0 ** ((places - places % 2).double() / width)
    return torch.where(places % 2 == 0, angles.sin(), angles.cos()).to(device, dtype)


@torch.no_grad()
def initialise(model, seed, relative_deviation=0.0):
    """Draws all parameters: linear layers uniformly in ±1/√fan_in, embeddings from N(0, 0.02²); norms are 1 and 0, weights of relative positions 0.

    Numbers are computed in float64 from the seed, the number of the parameter and the place in it, and rounded to float32: the same everywhere.
    `relative_deviation` draws the weights of relative positions from N(0, deviation²) instead.
    """
    number = 0
    for owner in model.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            words = pcg4d(seed, number, parameter.numel())
            u0, u1 = ((word.double() + 0.5) / 2**32 for word in words[:2])
            normal = (-2 * u0.log()).sqrt() * (2 * math.pi * u1).cos()
            if isinstance(owner, nn.Linear):
                values = (2 * u0 - 1) * (1 / math.sqrt(owner.in_features))
            elif isinstance(owner, nn.Embedding):
                values = normal * 0.02
            elif isinstance(owner, nn.ParameterDict):
                values = normal * relative_deviation
            else:
                values = torch.full_like(u0, 1.0 if name == "weight" else 0.0)
            parameter.copy_(values.float().reshape(parameter.shape))
            number += 1


def pcg4d(seed, number, count):
    """Four words of 32 random bits for each of `count` elements of a parameter (Jarzynski and Olano 2020), as int64."""
    mask = 0xFFFFFFFF
    i = torch.arange(count)
    v = [torch.full_like(i, seed & mask), torch.full_like(i, number), i, torch.full_like(i, 0x696E6974)]  # "init"
    v = [(word * 1664525 + 1013904223) & mask for word in v]

    def mix():
        for to, (a, b) in enumerate([(1, 3), (2, 0), (0, 1), (1, 2)]):
            v[to] = (v[to] + v[a] * v[b]) & mask  # a product wraps modulo 2⁶⁴, which leaves its low 32 bits

    mix()
    v = [word ^ (word >> 16) for word in v]
    mix()
    return v


def check(description):
    """The description with its defaults. Raises ValueError where it is none of this model."""
    missing = [key for key in REQUIRED if key not in description and not (key == "length" and description.get("grid"))]
    if missing:
        raise ValueError(f"the description lacks {', '.join(missing)}")
    d = {**DEFAULTS, "feedForward": 4 * description["width"], **description}
    options = d["attention"]
    if not d.get("grid"):
        d.pop("grid", None)
    else:
        tokens = math.prod(d["grid"]) + sum(options.get("outside", {}).values())
        if d.setdefault("length", tokens) != tokens or options.get("causal"):
            raise ValueError(f"a grid {d['grid']} has {tokens} tokens with those outside, not {d['length']}, and no causal order")
    for keys, known, what in [(d, [*REQUIRED, *DEFAULTS, "grid", "feedForward"], ""), (options, ATTENTION, "attention.")]:
        unknown = [what + key for key in keys if key not in known]
        if unknown:
            raise ValueError(f"the description has {', '.join(unknown)}, which this module does not know; known are {', '.join(known)}")
    for key, known in CHOICES.items():
        for holder in (d, options):
            if key in holder and holder[key] not in known:
                raise ValueError(f"{key} is one of {', '.join(known)}; got {holder[key]!r}")
    if options.get("kind", "linear") == "linear" and "featureMap" not in options:
        raise ValueError("linear attention needs a featureMap")
    if d["width"] % d["heads"] and "headDim" not in options:
        raise ValueError(f"width is a multiple of heads; got {d['width']} and {d['heads']}")
    return d


def save_model(model, path, metadata=None):
    """Writes the parameters as safetensors, with the description in the metadata. `metadata`: more of it, a dict of strings."""
    save_file(model.state_dict(), path, {"fastrpb": json.dumps(model.description, separators=(",", ":")), **(metadata or {})})


def load_model(path):
    """The model of a file, in float32. Tensors that are no parameters, such as an optimiser's, are left aside."""
    tensors, metadata = load_file(path)
    if "fastrpb" not in metadata:
        raise ValueError(f'{path}: the metadata has no "fastrpb", the description of a model')
    model = Transformer(json.loads(metadata["fastrpb"]))
    missing = [name for name in model.state_dict() if name not in tensors]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    return model
