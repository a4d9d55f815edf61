"""Training: the same seed gives the same bits, and two processes the same losses as one."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import unittest

import torch

from fastrpb import Transformer, load_model
from fastrpb.train import SMALL, synthetic_task, train, warmup_cosine

torch.set_num_threads(1)
TINY = {**SMALL, "length": 16, "width": 16, "heads": 2, "feedForward": 16}
SETTINGS = ["--examples", "64", "--batch", "16", "--steps", "10", "--rate", "0.01", "--warmup", "3", "--label-smoothing", "0.1", "--clip-norm", "1"]


class Training(unittest.TestCase):
    def test_losses_fall_and_the_same_seed_gives_the_same_bits(self):
        runs = []
        for _ in range(2):
            model = Transformer({**TINY, "dropout": 0.1}, 1)
            inputs, targets = synthetic_task(TINY, 64)
            losses = train(model, inputs, targets, batch=32, steps=60, rate=1e-2, warmup=5, seed=7)
            runs.append((losses, model.state_dict()))
        (losses, state), (again, other) = runs
        self.assertEqual(losses, again)
        for name, tensor in state.items():
            self.assertTrue(torch.equal(tensor, other[name]), name)
        self.assertLess(losses[-1], 0.7 * losses[0])

    def test_classes_are_learned(self):
        for given in [{"tokens": 16}, {"features": 3}]:
            d = {**TINY, "input": given, "grid": [4, 4], "attention": {"featureMap": "sikf", "bias": "fastrpb"}, "output": {"classes": 4}}
            inputs, targets = synthetic_task(d, 256)
            losses = train(Transformer(d, 1), inputs, targets, batch=32, steps=50, rate=1e-2, warmup=5, seed=1)
            self.assertLess(losses[-1], 0.7 * losses[0], given)

    def test_rates(self):
        rate = warmup_cosine(2.0, 4, 12)
        self.assertEqual([rate(step) for step in [1, 2, 4, 8, 12]], [0.5, 1.0, 2.0, 1.0, 0.0])

    def test_two_processes_as_one(self):
        one, two = self.run_processes(1), self.run_processes(2)
        self.assertEqual(len(one["losses"]), 10)
        for a, b in zip(one["losses"], two["losses"]):
            self.assertLess(abs(a - b), 1e-6)
        self.assertLess(one["losses"][-1], one["losses"][0])
        for name, tensor in one["model"].state_dict().items():
            # Adam makes much of a gradient that is all rounding, as of the bias of keys: a step of the rate.
            if not name.endswith(".k.bias"):
                self.assertLess((tensor - two["model"].state_dict()[name]).abs().max().item(), 1e-3, name)

    def run_processes(self, count):
        """As torchrun starts them."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            command = [sys.executable, "-m", "fastrpb.train", *SETTINGS, "--every", "1", "--device", "cpu", "--save", path]
            shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
            processes = [
                subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
                for rank in range(count)
            ]
            try:
                outputs = [process.communicate(timeout=120)[0] for process in processes]
            finally:
                for process in processes:
                    process.kill()
            self.assertEqual([process.returncode for process in processes], [0] * count)
            self.assertEqual(outputs[1:], [""] * (count - 1))  # one of them speaks
            losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", outputs[0])]
            return {"losses": losses, "model": load_model(path)}


if __name__ == "__main__":
    unittest.main()
