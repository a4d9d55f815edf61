"""Trains a transformer, on one machine or several:

    python -m fastrpb.train --steps 300 --save model.safetensors      # a small model and a synthetic task
    python -m fastrpb.train --model model.json --data train.npz --batch 64 --steps 10000
    torchrun --nproc_per_node 4 -m fastrpb.train …      # --nnodes and --rdzv_endpoint for several machines

A batch is split over the processes, so that their number changes no more than rounding (and dropout, which every process draws by itself).
"""

import argparse
import json
import math
import os

import torch
from torch import distributed
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from .transformer import Transformer, load_model, save_model

IGNORED = -100  # a target that does not count


def warmup_cosine(rate, warmup, total):
    """The rate of step 1, 2, …: up to `rate` at step `warmup`, then half a cosine down to 0 at step `total`."""

    def at(step):
        if step <= warmup:
            return rate * step / warmup
        return rate * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (total - warmup))))

    return at


def cross_entropy(logits, targets, label_smoothing=0.0, reduction="mean"):
    """Of logits [..., classes] and targets [...], over the targets that count."""
    return functional.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), label_smoothing=label_smoothing, ignore_index=IGNORED, reduction=reduction
    )


def train(
    model, inputs, targets, *, batch, steps, lengths=None, rate=1e-3, warmup=0, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01,
    clip_norm=None, label_smoothing=0.0, seed=0, device="cpu", progress=None,
):  # fmt: skip
    """Trains the model by AdamW, and returns the loss of each step. Of a process group that stands, each process gives the same arguments.

    inputs, targets, lengths: all examples, first axis; targets [examples] or [examples, length]. Epochs are shuffled by the seed, and batches full.
    `progress(step, loss, accuracy)` is called after each step.
    """
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    if batch % world or batch > len(inputs):
        raise ValueError(f"a batch is a multiple of the {world} processes, and at most the {len(inputs)} examples; got {batch}")
    torch.manual_seed(seed * world + rank)  # of dropout
    model = model.to(device).train()
    module = model
    if world > 1:
        module = DistributedDataParallel(model, device_ids=[device] if torch.device(device).type == "cuda" else None)
    rates = warmup_cosine(rate, warmup, steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=betas, eps=epsilon, weight_decay=weight_decay)
    losses = []
    for step, rows in zip(range(steps), batches(len(inputs), batch, seed)):
        rows = rows[rank::world]
        x, y = inputs[rows].to(device), targets[rows].to(device)
        logits = module(x, None if lengths is None else lengths[rows].to(device))
        loss = cross_entropy(logits, y, label_smoothing, reduction="sum")
        right = (logits.detach().argmax(dim=-1) == y).sum()
        sums = torch.stack([loss.detach(), right, (y != IGNORED).sum()]).double()
        if world > 1:
            distributed.all_reduce(sums)
        total, right, count = sums.tolist()
        optimizer.zero_grad()
        (loss * (world / count)).backward()  # gradients come as means over the processes
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.param_groups[0]["lr"] = rates(step + 1)
        optimizer.step()
        losses.append(total / count)
        if progress:
            progress(step + 1, total / count, right / count)
    return losses


def batches(examples, batch, seed):
    """Rows of full batches, epoch after epoch, each in an order of its own."""
    epoch = 0
    while True:
        order = torch.randperm(examples, generator=torch.Generator().manual_seed(seed + epoch))
        yield from order[: examples - examples % batch].split(batch)
        epoch += 1


def synthetic_task(description, examples, seed=0):
    """Inputs and targets for a model of any description. Of tokens as output, the input of four positions ago; of classes, what part of the inputs has
    in common, the rest being noise."""
    length, given, output = description["length"], description["input"], description["output"]
    random = torch.Generator().manual_seed(seed)
    if "tokens" in output:
        inputs = torch.randint(min(given["tokens"], output["tokens"]), (examples, length), generator=random)
        return inputs, functional.pad(inputs[:, :-4], (4, 0), value=IGNORED)
    targets = torch.randint(output["classes"], (examples,), generator=random)
    if "features" in given:
        turns = targets[:, None] / output["classes"] + torch.arange(given["features"]) / 4
        return (2 * math.pi * turns).cos()[:, None] + torch.randn(examples, length, given["features"], generator=random), targets
    noise = torch.randint(given["tokens"], (examples, length), generator=random)
    common = (targets % given["tokens"])[:, None]
    return torch.where(torch.rand(examples, length, generator=random) < 0.25, common, noise), targets


SMALL = {
    "input": {"tokens": 16}, "length": 32, "layers": 2, "width": 32, "heads": 4, "feedForward": 64,
    "attention": {"featureMap": "sikf", "causal": True, "bias": "fastrpb"}, "output": {"tokens": 16},
}  # fmt: skip


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="fastrpb.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a description as JSON, or a .safetensors to go on from; default: a small one of 32 tokens")
    parser.add_argument("--data", help="a .npz (needs numpy) with inputs and targets, and lengths where they differ")
    parser.add_argument("--examples", type=int, default=8192, help="without data: of a synthetic task")
    parser.add_argument("--batch", type=int, default=64, help="of all processes together")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--clip-norm", type=float)
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--every", type=int, default=50, help="after how many steps a line is printed")
    parser.add_argument("--save", help="a .safetensors for the result, which fastrpb/nn loads")
    options = parser.parse_args(arguments)

    device = options.device
    if "RANK" in os.environ:  # torchrun
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if options.device == "cuda" else "gloo")
    try:
        run(options, device)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def run(options, device):
    if options.model is None:
        model = Transformer(SMALL, options.seed)
    elif options.model.endswith(".safetensors"):
        model = load_model(options.model)
    else:
        with open(options.model) as file:
            model = Transformer(json.load(file), options.seed)
    lengths = None
    if options.data:
        import numpy

        arrays = {name: torch.from_numpy(array) for name, array in numpy.load(options.data).items()}
        inputs, targets, lengths = arrays["inputs"], arrays["targets"].long(), arrays.get("lengths")
        inputs = inputs.float() if "features" in model.description["input"] else inputs.long()
    else:
        inputs, targets = synthetic_task(model.description, options.examples, options.seed)
    first = not distributed.is_initialized() or distributed.get_rank() == 0

    def progress(step, loss, accuracy):
        if first and (step % options.every == 0 or step == options.steps):
            print(f"step {step}: loss {loss:.7f}, accuracy {accuracy:.3f}", flush=True)

    train(
        model, inputs, targets, lengths=lengths, batch=options.batch, steps=options.steps, rate=options.rate, warmup=options.warmup,
        weight_decay=options.weight_decay, clip_norm=options.clip_norm, label_smoothing=options.label_smoothing, seed=options.seed,
        device=device, progress=progress,
    )  # fmt: skip
    if options.save and first:
        save_model(model, options.save)


if __name__ == "__main__":
    main()
