"""The file format: what is written comes back, as the reference implementation would write it, and broken files are refused."""

import json
import os
import tempfile
import unittest

import torch

from fastrpb.safetensors import load_file, save_file


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "x.safetensors")

    def write(self, header, body=b""):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        with open(self.path, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text + body)

    def test_round_trip(self):
        dtypes = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]
        tensors = {f"x.{i}": (torch.arange(-3, 9).reshape(3, 4) / 3).to(dtype) for i, dtype in enumerate(dtypes)}
        tensors.update(scalar=torch.tensor(2.5), empty=torch.zeros(0, 3), turned=torch.arange(6.0).reshape(2, 3).t())
        save_file(tensors, self.path, {"fastrpb": "ä"})
        loaded, metadata = load_file(self.path)
        self.assertEqual(metadata, {"fastrpb": "ä"})
        self.assertEqual(set(loaded), set(tensors))
        for name, tensor in tensors.items():
            self.assertEqual(loaded[name].dtype, tensor.dtype, name)
            self.assertTrue(torch.equal(loaded[name], tensor), name)

    def test_layout(self):
        save_file({"b": torch.ones(1), "a": torch.ones(2).half(), "c": torch.zeros(1, 1), "d": torch.ones(1).bfloat16()}, self.path)
        with open(self.path, "rb") as file:
            data = file.read()
        size = int.from_bytes(data[:8], "little")
        self.assertEqual(size % 8, 0)
        self.assertEqual(
            data[8 : 8 + size].rstrip(b" ").decode(),
            '{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"c":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]},'
            '"d":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]},"a":{"dtype":"F16","shape":[2],"data_offsets":[10,14]}}',
        )
        self.assertEqual(data[8 + size :], bytes([0, 0, 128, 63, 0, 0, 0, 0, 128, 63, 0, 60, 0, 60]))

    def test_unsigned_words(self):
        self.write({"x": {"dtype": "U32", "shape": [2], "data_offsets": [0, 8]}}, bytes([255, 255, 255, 255, 1, 0, 0, 0]))
        self.assertEqual(load_file(self.path)[0]["x"].tolist(), [2**32 - 1, 1])

    def test_broken_files(self):
        def entry(first, last, dtype="F32", shape=(1,)):
            return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, last]}

        body = bytes(8)
        for header in [
            {"x": entry(0, 4)},  # bytes of no tensor
            {"x": entry(0, 4), "y": entry(0, 4)},  # overlap
            {"x": entry(0, 8)},  # too long for its shape
            {"x": entry(4, 8)},  # a gap
            {"x": entry(0, 4), "y": entry(8, 12)},
            {"x": entry(0, 4), "y": entry(4, 8), "z": entry(8, 12)},  # beyond the end
            {"x": entry(0, 8, "F8")},
            {"x": entry(0, 8, shape=[-1, -2])},
            b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            {"x": {"shape": [2], "data_offsets": [0, 8]}},
            {"x": 3},
            b"[]",
            b"{",
        ]:
            with self.subTest(header=header):
                self.write(header, body)
                self.assertRaises(ValueError, load_file, self.path)
        for data in [b"", b"1234", (10**9).to_bytes(8, "little") + b"{}"]:
            with open(self.path, "wb") as file:
                file.write(data)
            self.assertRaises(ValueError, load_file, self.path)


if __name__ == "__main__":
    unittest.main()
