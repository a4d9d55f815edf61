"""The model: names, shapes, first numbers, and PyTorch's own encoder beside it."""

import math
import os
import tempfile
import unittest

import torch
from torch import nn

from fastrpb import Transformer, load_model, save_model
from fastrpb.transformer import pcg4d

torch.set_num_threads(1)
BASE = {
    "input": {"tokens": 11}, "length": 12, "layers": 2, "width": 8, "heads": 2, "feedForward": 12,
    "attention": {"featureMap": "sikf", "bias": "fastrpb"}, "output": {"classes": 5},
}  # fmt: skip


def words_by_definition(seed, number, i):
    """pcg4d of Jarzynski and Olano 2020 (listing of the paper's appendix), in Python's integers."""
    u32 = 2**32
    x, y, z, w = ((word * 1664525 + 1013904223) % u32 for word in (seed, number, i, 0x696E6974))
    for last in [False, True]:
        x = (x + y * w) % u32
        y = (y + z * x) % u32
        z = (z + x * y) % u32
        w = (w + y * z) % u32
        if not last:
            x, y, z, w = (word ^ (word >> 16) for word in (x, y, z, w))
    return [x, y, z, w]


class Models(unittest.TestCase):
    def test_shapes(self):
        tokens, vectors = torch.randint(11, (3, 12)), torch.randn(3, 12, 4)
        for changes, inputs, shape in [
            ({}, tokens, (3, 5)),
            ({"output": {"tokens": 11}}, tokens, (3, 12, 11)),
            ({"input": {"features": 4}, "grid": [3, 4]}, vectors, (3, 5)),
            *(({"output": {"classes": 5, "pool": pool}, "positions": positions}, tokens, (3, 5))
              for pool in ["mean", "first", "last"] for positions in ["none", "sinusoidal", "learned"]),
            ({"norm": "post", "normKind": "rms", "activation": "relu", "dropout": 0.2}, tokens, (3, 5)),
            ({"activation": "gelu-tanh", "attention": {"kind": "softmax", "causal": True}}, tokens, (3, 5)),
            ({"attention": {"featureMap": "favor+", "headDim": 3, "valueDim": 5, "linearBias": False}, "width": 9}, tokens, (3, 5)),
            ({"grid": [2, 5], "attention": {"featureMap": "sikf", "bias": "fastrpb", "outside": {"first": 1, "last": 1}}}, tokens, (3, 5)),
            ({"width": 10, "attention": {"featureMap": "dpfp", "nu": 2}, "positions": "sinusoidal"}, tokens, (3, 5)),
        ]:  # fmt: skip
            with self.subTest(changes=changes):
                out = Transformer({**BASE, **changes})(inputs)
                self.assertEqual(out.shape, shape)
                self.assertTrue(out.isfinite().all())

    def test_names_in_the_order_of_use(self):
        model = Transformer({**BASE, "positions": "learned", "layers": 1, "grid": [3, 4]})
        linear = lambda name: [f"{name}.weight", f"{name}.bias"]  # noqa: E731
        inner = ["norm1", "attention.q", "attention.k", "attention.v", "attention.out", "norm2", "feedForward.0", "feedForward.1"]
        names = ["embed.weight", "positions.weight", *(name for part in inner for name in linear(f"layers.0.{part}")), *linear("norm"), *linear("head")]
        names.insert(names.index("layers.0.attention.out.weight"), "layers.0.attention.relative.weight")
        self.assertEqual(list(model.state_dict()), names)
        self.assertEqual(model.state_dict()["layers.0.attention.relative.weight"].shape, (2, 5, 7))
        post = Transformer({**BASE, "norm": "post", "layers": 1})
        inner = ["attention.out", "norm1", "feedForward.0", "feedForward.1", "norm2"]
        self.assertEqual(list(post.state_dict())[-12:], [*(name for part in inner for name in linear(f"layers.0.{part}")), *linear("head")])

    def test_first_numbers_follow_from_the_seed(self):
        seed = 4_000_000_007
        for number, i in [(0, 0), (3, 100), (77, 4095)]:
            self.assertEqual([word[i].item() for word in pcg4d(seed, number, i + 1)], words_by_definition(seed, number, i))
        model = Transformer({**BASE, "layers": 1}, seed)
        for number, (name, parameter) in enumerate(model.named_parameters()):
            flat = parameter.detach().flatten()
            for i in [0, len(flat) - 1]:
                u, u1 = ((word + 0.5) / 2**32 for word in words_by_definition(seed, number, i)[:2])
                if name == "embed.weight":
                    expected = 0.02 * math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * u1)
                elif "norm" in name or "relative" in name:
                    expected = float("norm" in name and name.endswith("weight"))
                else:
                    fan_in = 12 if "feedForward.1" in name else 8
                    expected = (2 * u - 1) / math.sqrt(fan_in)
                self.assertEqual(flat[i].item(), torch.tensor(expected, dtype=torch.float64).float().item(), name)

    def test_as_the_encoder_of_pytorch(self):
        x = torch.randn(3, 12, 8, dtype=torch.float64)
        for norm, activation in [("pre", "gelu"), ("post", "relu")]:
            d = {**BASE, "input": {"features": 8}, "norm": norm, "activation": activation, "attention": {"kind": "softmax"}}
            model = Transformer(d, 5).double()
            layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, activation, batch_first=True, norm_first=norm == "pre").double()
            encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8).double() if norm == "pre" else None).train()
            for ours, theirs in zip(model.layers, encoder.layers):
                projections = [ours.attention.q, ours.attention.k, ours.attention.v]
                theirs.self_attn.in_proj_weight.data = torch.cat([linear.weight for linear in projections])
                theirs.self_attn.in_proj_bias.data = torch.cat([linear.bias for linear in projections])
                theirs.self_attn.out_proj.load_state_dict(ours.attention.out.state_dict())
                theirs.linear1.load_state_dict(ours.feedForward[0].state_dict())
                theirs.linear2.load_state_dict(ours.feedForward[1].state_dict())
            expected = model.head(encoder(model.embed(x)).mean(dim=1))
            # The scale 1/√4 is a float32 exactly.
            self.assertLess((model(x) - expected).abs().max().item(), 1e-12)

    def test_causal_models_do_not_look_ahead(self):
        kinds = [("featureMap", "sikf", "fastrpb"), ("featureMap", "elu+1", "multiplicative"), ("kind", "softmax", "logits")]
        for layer in [{key: value, "bias": bias} for key, value, bias in kinds]:
            d = {**BASE, "attention": {**layer, "causal": True}, "output": {"tokens": 11}}
            model = Transformer(d, 1, relative_deviation=0.5).double()
            x = torch.randint(11, (1, 12))
            y = x.clone()
            y[0, 7:] = (y[0, 7:] + 1) % 11
            difference = (model(x) - model(y)).abs().amax(dim=-1)[0]
            self.assertLess(difference[:7].max().item(), 1e-12)
            self.assertGreater(difference[7:].min().item(), 1e-6)

    def test_tokens_beyond_a_length_have_no_influence(self):
        for pool in ["mean", "first", "last"]:
            model = Transformer({**BASE, "output": {"classes": 5, "pool": pool}}, 1, relative_deviation=0.5).double()
            x = torch.randint(1, 11, (2, 12))
            y = x.clone()
            y[1, 7:] = 0
            lengths = torch.tensor([12, 7])
            self.assertTrue(torch.equal(model(x, lengths), model(y, lengths)))

    def test_files(self):
        model = Transformer({**BASE, "grid": [3, 4]}, 9, relative_deviation=0.1)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            save_model(model, path, {"note": "x"})
            loaded = load_model(path)
        self.assertEqual(loaded.description, model.description)
        x = torch.randint(11, (2, 12))
        self.assertTrue(torch.equal(loaded(x), model(x)))

    def test_wrong_descriptions(self):
        for change in [{"widht": 8}, {"attention": {"map": "sikf"}}, {"attention": {}}, {"attention": {"featureMap": "exp"}},
                       {"norm": "none"}, {"heads": 3}, {"grid": [3, 5]},
                       {"grid": [3, 4], "attention": {"featureMap": "sikf", "causal": True}}]:  # fmt: skip
            with self.subTest(change=change):
                self.assertRaises(ValueError, Transformer, {**BASE, **change})
        self.assertRaises(ValueError, Transformer, {key: value for key, value in BASE.items() if key != "width"})


if __name__ == "__main__":
    unittest.main()
