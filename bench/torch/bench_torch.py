"""The rows of bench/ in PyTorch, on the same GPU: cuFFT, the padded real FFT, einsum, scaled_dot_product_attention, training by python/fastrpb.

    PYTHONPATH=python python3 bench/torch/bench_torch.py ROWS.json OUT.json

ROWS.json is what `node dist/command/list-rows.js` prints. Times are medians of single runs, each between two CUDA events, through inputs
that rotate so that the L2 cache does not hold them; "eager" as a user calls it, "graph" the same work replayed as a CUDA graph, which leaves
the launches out. Of training, times are those of a step of several in a row, with a wait at the end alone, and what is compared are the first
losses. Errors are relative L2 norms against the same formula in float64.
"""

import argparse
import json
import statistics
import time
import traceback

import torch

ROTATE_BYTES = 512 * 2**20
WARM_UPS = 3
MOST_RUNS = 50
RUN_SECONDS = 0.4
DEVICE = "cuda"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("out")
    options = parser.parse_args()
    with open(options.rows, encoding="utf-8") as file:
        rows = json.load(file)
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32
    copy = measure_copy()
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}; copy {copy:.0f} GB/s", flush=True)
    results = []
    for row in rows:
        if row["kind"] not in KINDS:
            continue
        for formulation, task in KINDS[row["kind"]](row):
            result = {"name": row["name"], "formulation": formulation, **measured(task)}
            results.append(result)
            eager, graph = result.get("eager"), result.get("graph")
            print(f"{row['name']:>24} {formulation:<44} eager {shown(eager)} graph {shown(graph)} error {result.get('error')}", flush=True)
        torch.cuda.empty_cache()
    document = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda, "copy": copy, "rows": results}
    with open(options.out, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)


def shown(milliseconds):
    return "-" if milliseconds is None else f"{milliseconds:.4f}"


class Task:
    """`make(dtype)` gives one set of inputs on the GPU, `run(*inputs)` the result."""

    def __init__(self, make, run, reference=None):
        self.make = make
        self.run = run
        self.reference = reference or run


    def measure(self):
        inputs = self.make()
        bytes_of_one = sum(tensor.numel() * tensor.element_size() for tensor in inputs)
        sets = [inputs] + [self.make() for _ in range(min(63, -(-ROTATE_BYTES // bytes_of_one) - 1))]
        result = self.run(*inputs)
        error = relative_l2(result, self.reference(*(widened(tensor) for tensor in inputs)))
        del result
        eager = time_calls([lambda s=s: self.run(*s) for s in sets])
        graph = time_calls(captured(self, sets))
        return {"eager": eager, "graph": graph, "error": error}


def measured(task):
    try:
        return task.measure()
    except torch.OutOfMemoryError:
        return {"problem": "out of memory"}
    except Exception as error:  # torch.compile takes a compiler of C, which a machine may lack
        traceback.print_exc()
        return {"problem": f"failed: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}"}


def captured(task, sets):
    """Each set's run as a CUDA graph of its own."""
    replays = []
    for inputs in sets[:16]:
        graph = torch.cuda.CUDAGraph()
        task.run(*inputs)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            task.run(*inputs)
        replays.append(graph.replay)
    return replays


def time_calls(calls):
    for i in range(WARM_UPS):
        calls[i % len(calls)]()
    torch.cuda.synchronize()
    times = []
    spent = 0.0
    while len(times) < MOST_RUNS and spent < 1000 * RUN_SECONDS or len(times) < 5:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        calls[len(times) % len(calls)]()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
        spent += times[-1]
    return statistics.median(times)


def measure_copy():
    """GB/s, reads and writes counted."""
    source = torch.randn(2**27, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / time_calls([lambda: target.copy_(source)]) / 1e6


def widened(tensor):
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def relative_l2(actual, expected):
    difference = (actual.to(expected.dtype) - expected).norm()
    return (difference / expected.norm()).item()


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape, device=DEVICE, dtype=dtype)


def fft(row):
    shape = (row["batch"], row["length"])
    yield "torch.fft.fft (cuFFT)", Task(lambda: (normal(*shape, dtype=torch.complex64),), torch.fft.fft)


def toeplitz(row):
    """Padded to a power of two ≥ 2N; the spectrum of the weights is prepared, as ours is."""
    batch, heads, length, channels = row["batch"], row["heads"], row["length"], row["channels"]
    size = 1 << (2 * length - 1).bit_length()

    def product(v, spectrum, axis):
        transformed = torch.fft.rfft(v, n=size, dim=axis) * spectrum
        return torch.fft.irfft(transformed, n=size, dim=axis).narrow(axis, 0, length)

    def spectrum():
        return torch.fft.rfft(normal(heads, 1, size).double(), dim=-1).to(torch.complex64)

    yield "rfft × spectrum → irfft, [.., channels, length]", Task(
        lambda: (normal(batch, heads, channels, length), spectrum()), lambda v, s: product(v, s, -1)
    )
    yield "the same, [.., length, channels] as ours", Task(
        lambda: (normal(batch, heads, length, channels), spectrum().transpose(-1, -2).contiguous()), lambda v, s: product(v, s, -2)
    )


def linear(q, k, v):
    largest = k.amax(-2, keepdim=True)
    shifted = q + largest
    queries = torch.exp(shifted - shifted.amax(-1, keepdim=True))
    keys = torch.exp(k - largest)
    state = torch.einsum("bhnd,bhne->bhde", keys, v)
    norm = torch.einsum("bhnd,bhd->bhn", queries, keys.sum(-2))
    return torch.einsum("bhnd,bhde->bhne", queries, state) / norm.unsqueeze(-1)


def attention(row):
    batch, heads, length, dim = row["batch"], row["heads"], row["length"], row["headDim"]

    def qkv():
        return tuple(normal(batch, heads, length, dim) for _ in range(3))

    if row["similarity"] == "softmax":
        # The memory-efficient kernel does float32; float64 would take the N × N matrix.
        yield "scaled_dot_product_attention, float32", Task(qkv, torch.nn.functional.scaled_dot_product_attention, reference=softmax_rows)
        return
    if row["causal"] or row["similarity"] == "elu+1":
        return  # a sum over earlier tokens has no function of its own; elu + 1 would say what SIKF says
    if row["bias"] == "none":
        yield "SIKF by einsum", Task(qkv, linear)
        return
    size = 1 << (2 * length - 1).bit_length()

    def biased(q, k, v, spectrum):
        transformed = torch.fft.rfft(v, n=size, dim=-2) * spectrum
        return linear(q, k, v) + torch.fft.irfft(transformed, n=size, dim=-2).narrow(-2, 0, length)

    def inputs():
        spectrum = torch.fft.rfft(normal(heads, size, 1).double(), dim=-2).to(torch.complex64)
        return (*qkv(), spectrum)

    yield "SIKF by einsum + rfft × spectrum → irfft", Task(inputs, biased)


def gradient(row):
    """Forward and backward by autograd, because ours computes again what the forward pass had in between; of the results, dq is compared."""
    for formulation, task in attention(row):
        yield f"forward and backward, {formulation}", Task(
            lambda make=task.make: with_gradient(make()),
            lambda *inputs, run=task.run: first_gradient(run, *inputs),
            reference=lambda *inputs, run=task.reference: first_gradient(run, *inputs),
        )


def with_gradient(inputs):
    return (*inputs, torch.randn_like(inputs[2]))


def first_gradient(run, *inputs):
    leaves = [tensor.detach().requires_grad_() for tensor in inputs[:-1]]
    return torch.autograd.grad(run(*leaves), leaves, inputs[-1])[0]


def softmax_rows(q, k, v):
    """Softmax attention in float64, a thousand rows of the scores at a time."""
    parts = []
    for part in q.split(1024, dim=-2):
        scores = part @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        parts.append(torch.softmax(scores, dim=-1) @ v)
    return torch.cat(parts, dim=-2)


def matmul(row):
    rows, size = row["rows"], row["size"]
    yield "torch.nn.functional.linear, float32", Task(lambda: (normal(rows, size), normal(size, size)), torch.nn.functional.linear)


class Training:
    """Steps of the model in python/fastrpb, from the same seed as ours."""

    STEPS = 10
    ROUNDS = 7
    CHECKED = 3

    def __init__(self, row, compiled=False, **adamw):
        self.row = row
        self.compiled = compiled
        self.adamw = adamw
        random = torch.Generator().manual_seed(1)
        self.inputs = torch.randint(row["tokens"], (row["batch"], row["side"] ** 2), generator=random).to(DEVICE)
        self.targets = torch.randint(row["classes"], (row["batch"],), generator=random).to(DEVICE)

    def measure(self):
        step = self.trainer(torch.float32, self.compiled, **self.adamw)
        exact = self.trainer(torch.float64, False)
        losses, expected = (torch.stack([each() for _ in range(self.CHECKED)]) for each in (step, exact))
        del exact
        times = []
        for _ in range(self.ROUNDS):
            torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(self.STEPS):
                step()
            torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - started) / self.STEPS)
        return {"eager": statistics.median(times), "error": relative_l2(losses, expected)}

    def trainer(self, dtype, compiled, **adamw):
        """A function that does a step and gives its loss."""
        from fastrpb import Transformer

        row = self.row
        side = row["side"]
        description = {
            "input": {"tokens": row["tokens"]}, "length": side**2, "grid": [side, side], "attention": {"featureMap": "sikf", "bias": "fastrpb"},
            "output": {"classes": row["classes"]}, **{name: row[name] for name in ("layers", "width", "heads", "feedForward")},
        }  # fmt: skip
        model = Transformer(description, seed=1).to(DEVICE, dtype)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, **adamw)
        forward = torch.compile(model) if compiled else model

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(forward(self.inputs), self.targets)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step


def training(row):
    yield "python/fastrpb, eager", Training(row)
    yield "the same, AdamW fused", Training(row, fused=True)
    if hasattr(torch, "compile"):
        yield "torch.compile, AdamW fused", Training(row, compiled=True, fused=True)


KINDS = {"matmul": matmul, "training": training, "fft": fft, "toeplitz": toeplitz, "attention": attention, "gradient": gradient}

if __name__ == "__main__":
    main()
