"""Attention and its gradients against the definitions, as sums over all pairs of tokens, in float64."""

import itertools
import math
import unittest

import torch

from fastrpb.attention import attention, bias_form, orthogonal_features, table_shape

torch.set_num_threads(1)
BOUND = 1e-12
# orthogonalFeatures(3, 2, 7) of src/math/random-features.ts
FEATURES = [
    [0.07443628877739708, -0.4531350943429488],
    [-1.723421209833415, -0.28310559138277736],
    [-0.12236744805218924, 0.12491942149527119],
]


def phi(feature_map, x, nu):
    if feature_map == "sikf":
        return x.exp()
    if feature_map == "elu+1":
        return torch.where(x > 0, x + 1, x.exp())
    if feature_map == "favor+":
        x = 0.5**0.5 * x
        return (x @ orthogonal_features(6, 4, 0).T - x.square().sum(-1, keepdim=True) / 2).exp()  # 6 = ⌈4 ln 4⌉
    if feature_map == "relu":
        return x.clamp(min=0)
    both = torch.cat([x.clamp(min=0), (-x).clamp(min=0)], dim=-1)
    size = both.shape[-1]
    return torch.stack([both[..., i] * both[..., (i - j) % size] for j in range(1, nu + 1) for i in range(size)], dim=-1)


def weight(options, weights, i, j):
    """W_ij of all heads, straight from the README's table."""
    form, shared = options.get("biasForm", "full"), options.get("biasShared", False)
    sizes, outside = options["sizes"], options.get("outside", {"first": 0, "last": 0})
    i, j = i - outside["first"], j - outside["first"]
    if not (0 <= i < math.prod(sizes) and 0 <= j < math.prod(sizes)):
        return torch.zeros_like(weights.flatten(1)[:, 0])
    place = (lambda o, n: abs(o)) if form.endswith("symmetric") else (lambda o, n: o + n - 1)
    if len(sizes) == 1:
        return weights[:, place(j - i, options.get("biasLength", sizes[0]))]
    (height, width), dy, dx = options.get("biasLength", sizes), j // sizes[1] - i // sizes[1], j % sizes[1] - i % sizes[1]
    if form == "manhattan":
        return weights[:, abs(dy) + abs(dx)]
    if not form.startswith("separable"):
        return weights[:, place(dy, height), place(dx, width)]
    rows = 0 if shared else height if form.endswith("symmetric") else 2 * height - 1
    return weights[:, place(dy, height)] + weights[:, rows + place(dx, width)]


def definition(options, q, k, v, weights):
    tokens, bias, name = q.shape[-2], options.get("bias", "none"), options.get("featureMap")
    table = None
    if bias != "none":
        table = torch.stack([torch.stack([weight(options, weights, i, j) for j in range(tokens)], dim=-1) for i in range(tokens)], dim=-2)
    rows = []
    for i in range(tokens):
        seen = range(i + 1 if options.get("causal") else tokens)
        seen = [j for j in seen if abs(i - j) < options.get("window", tokens)]
        query, keys, values = q[:, :, i], k[:, :, seen], v[:, :, seen]
        if options.get("kind") == "softmax":
            logits = 0.5 * (query.unsqueeze(-2) * keys).sum(-1)  # 1 / √4
            terms = (logits + (table[:, i, seen] if bias == "logits" else 0)).exp()
        elif name == "softmax":
            shares = query.exp() / query.exp().sum(-1, keepdim=True)
            over = keys.exp() / keys.exp().sum(-2, keepdim=True)
            terms = (shares.unsqueeze(-2) * over).sum(-1)
        else:
            nu = options.get("nu", 1)
            terms = (phi(name, query, nu).unsqueeze(-2) * phi(name, keys, nu)).sum(-1)
            if bias == "multiplicative":
                terms = terms * table[:, i, seen].exp()
        total = terms.sum(-1, keepdim=True)
        terms = terms / torch.where(total == 0, torch.ones_like(total), total)
        if bias == "fastrpb":
            terms = terms + table[:, i, seen]
        rows.append((terms.unsqueeze(-1) * values).sum(-2))
    return torch.stack(rows, dim=-2)


def draw(options, seed=0, batch=2, heads=3, dim=4):
    random = torch.Generator().manual_seed(seed)
    tokens = math.prod(options["sizes"]) + sum(options.get("outside", {}).values())
    shapes = [(batch, heads, tokens, dim)] * 3
    if options.get("bias", "none") != "none":
        shapes.append((heads, *table_shape(options["sizes"], **bias_form(options))))
    return [torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_() for shape in shapes]


MAPS = [{"featureMap": name} for name in ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"]]
MAPS += [{"featureMap": "dpfp", "nu": 3}, {"kind": "softmax"}]
GRID = {"featureMap": "elu+1", "sizes": [3, 4], "bias": "fastrpb"}
SQUARE = {"featureMap": "sikf", "sizes": [3, 3], "bias": "fastrpb", "biasShared": True}
CASES = [
    *({**layer, "sizes": [n], "causal": causal, "bias": "fastrpb"} for layer in MAPS for causal in [False, True] for n in [1, 7]),
    *({"featureMap": name, "sizes": [150], "causal": True} for name in ["sikf", "elu+1", "softmax"]),  # several chunks
    *({"featureMap": "sikf", "sizes": sizes, "bias": "fastrpb"} for sizes in [[1, 1], [3, 4], [5, 2], [1, 6]]),
    {"featureMap": "elu+1", "sizes": [6], "bias": "fastrpb", "biasForm": "symmetric", "causal": True},
    *({**GRID, "biasForm": form} for form in ["symmetric", "separable", "separable-symmetric", "manhattan"]),
    *({**SQUARE, "biasForm": form} for form in ["separable", "separable-symmetric"]),
    {"featureMap": "sikf", "sizes": [5], "bias": "fastrpb", "biasLength": 8, "outside": {"first": 2, "last": 1}},
    {"featureMap": "sikf", "sizes": [5], "bias": "fastrpb", "biasLength": 8, "biasForm": "symmetric", "causal": True,
     "outside": {"first": 1, "last": 1}},
    *({"featureMap": "elu+1", "sizes": [2, 3], "bias": "fastrpb", "biasForm": form, "biasLength": [4, 5], "outside": {"first": 1, "last": 0}}
      for form in ["full", "symmetric", "separable", "separable-symmetric", "manhattan"]),
    {"featureMap": "sikf", "sizes": [2, 3], "bias": "fastrpb", "biasForm": "separable", "biasShared": True, "biasLength": [4, 4]},
    *({"featureMap": "favor+", "sizes": sizes, "bias": "multiplicative"} for sizes in [[5], [2, 3]]),
    *({**layer, "sizes": sizes, "bias": "multiplicative"} for layer in MAPS[:3] for sizes in [[5], [2, 3]]),
    *({**layer, "sizes": [6], "bias": "multiplicative", "causal": True} for layer in MAPS[:3]),
    *({"kind": "softmax", "sizes": sizes, "bias": "logits"} for sizes in [[5], [2, 3]]),
    {"kind": "softmax", "sizes": [6], "bias": "logits", "causal": True, "window": 3},
    {"kind": "softmax", "sizes": [6], "window": 2},
]


class Definitions(unittest.TestCase):
    def close(self, result, expected, what):
        error = (result - expected).norm().item() / max(expected.norm().item(), 1e-300)
        self.assertLessEqual(error, BOUND, what)

    def test_results_and_gradients(self):
        for options in CASES:
            with self.subTest(**options):
                inputs = draw(options)
                weights = inputs[3] if len(inputs) > 3 else None
                out, expected = attention(options, *inputs[:3], weights), definition(options, *inputs[:3], weights)
                self.close(out, expected, "result")
                d_out = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
                found, right = (torch.autograd.grad(x, inputs, d_out, allow_unused=True) for x in (out, expected))
                for name, a, b in zip(["dq", "dk", "dv", "dw"], found, right):
                    if b.norm() > 1e-14:  # of one token, shares are 1 whatever q and k are
                        self.close(a, b, name)
                    else:
                        self.assertLess(a.norm().item(), 1e-12, name)

    def test_what_lies_beyond_a_length_has_no_influence(self):
        for options, causal in itertools.product([*MAPS, {"kind": "softmax", "window": 2}], [False, True]):
            for bias in ["fastrpb", "multiplicative" if options.get("featureMap") in ("sikf", "relu") else "none"]:
                case = {**options, "causal": causal, "bias": bias, "sizes": [9]}
                with self.subTest(**case):
                    q, k, v, *weights = (x.detach() for x in draw(case))
                    table = weights[0] if weights else None
                    out = attention(case, q, k, v, table, torch.tensor([9, 4]))
                    self.close(out[:1], attention(case, q[:1], k[:1], v[:1], table), "the long row")
                    short = attention({**case, "sizes": [4]}, *(x[1:, :, :4] for x in (q, k, v)), table[:, 5:12] if weights else None)
                    self.close(out[1:, :, :4], short, "the short row")
                    self.assertEqual(out[1:, :, 4:].abs().max().item(), 0)

    def test_a_query_that_sees_no_key_gets_zeros(self):
        options = {"kind": "softmax", "bias": "logits", "sizes": [4]}
        q, k, v, weights = draw(options)
        weights = torch.where(torch.arange(7) >= 3, weights, torch.full_like(weights, -math.inf)).detach()  # keys before are masked
        weights[0] = -math.inf
        out = attention(options, q, k, v, weights)
        self.assertEqual(out[:, 0].abs().max().item(), 0)
        self.close(out[:, 1:, 3], v[:, 1:, 3], "the last query sees itself")
        self.assertTrue(all(x.isfinite().all() for x in torch.autograd.grad(out.sum(), [q, k, v])))

    def test_random_features_are_those_of_the_library(self):
        self.close(orthogonal_features(3, 2, 7), torch.tensor(FEATURES, dtype=torch.float64), "features")

    def test_sikf_does_not_overflow_and_knows_no_shift(self):
        for causal in [False, True]:
            options = {"featureMap": "sikf", "sizes": [130], "causal": causal}
            q, k, v = (x.detach() for x in draw(options))
            out = attention(options, q, k, v)
            self.close(attention(options, q + 1e3, k - 2e3, v), out, "shifted")
            far = attention(options, (30 * q).float(), (30 * k).float(), v.float())
            self.assertTrue(far.isfinite().all())
            scale = 8 if causal else 100
            near = attention(options, (scale * q).float(), (scale * k).float(), v.float())
            exact = attention(options, (scale * q).float().double(), (scale * k).float().double(), v.float().double())
            self.assertLess(((near - exact).norm() / exact.norm()).item(), 1e-4)


if __name__ == "__main__":
    unittest.main()
