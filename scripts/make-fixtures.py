"""Writes the fixtures of the tests: small results of scipy, for the tests of src/math and src/cpu and for those on WebGPU.

- src/testing/fixtures/fft.json: complex transforms of one axis, in full precision
- src/testing/fixtures/fftn.json: transforms of one to three axes of all kinds, to 10 digits, like the rest
- src/testing/fixtures/convolve.json: convolutions in all modes
- src/testing/fixtures/toeplitz.json: Toeplitz products, causal ones and on grids

Complex numbers are interleaved. Run `python3 scripts/make-fixtures.py` (needs numpy and scipy); the same every time.
"""

import itertools
import json
from pathlib import Path

import numpy
import scipy.fft
import scipy.linalg
import scipy.signal

FIXTURES = Path(__file__).parent.parent / "src" / "testing" / "fixtures"
NORMS = ["backward", "ortho", "forward"]
LINES = {"forward": scipy.fft.fft, "inverse": scipy.fft.ifft}
EVERY = [(direction, norm) for direction in LINES for norm in NORMS]
# The long ones would make the file large, so they come with one norm a direction.
LENGTHS = {length: EVERY for length in [1, 2, 3, 5, 7, 16, 30]} | {
    11: [("forward", "backward")],
    17: [("forward", "ortho"), ("inverse", "backward")],
    49: [("forward", "backward"), ("inverse", "ortho")],
    101: [("forward", "backward"), ("inverse", "backward")],
    105: [("forward", "ortho"), ("inverse", "backward")],
    210: [("forward", "forward"), ("inverse", "backward")],
}
TRANSFORMS = [
    # kind, shape, axes, direction, norm
    ("c2c", [6, 10], [0, 1], "forward", "backward"),
    ("c2c", [6, 10], [1, 0], "inverse", "backward"),
    ("c2c", [9, 8], [0], "forward", "ortho"),
    ("c2c", [4, 3, 5], [0, 1, 2], "forward", "backward"),
    ("c2c", [4, 3, 5], [2, 0], "inverse", "ortho"),
    ("c2c", [2, 7, 4], [-2], "inverse", "forward"),
    ("c2c", [11, 7], [0, 1], "forward", "forward"),
    ("c2c", [1, 17, 3], [0, 1, 2], "inverse", "backward"),
    ("r2c", [12], [0], "forward", "backward"),
    ("r2c", [13], [0], "forward", "ortho"),
    ("r2c", [1], [0], "forward", "backward"),
    ("r2c", [6, 10], [0, 1], "forward", "backward"),
    ("r2c", [6, 10], [1, 0], "forward", "forward"),
    ("r2c", [7, 9], [0, 1], "forward", "ortho"),
    ("r2c", [4, 5, 6], [0, 1, 2], "forward", "backward"),
    ("r2c", [4, 5, 6], [0, 2, 1], "forward", "ortho"),
    ("r2c", [3, 8, 4], [1], "forward", "backward"),
    ("c2r", [12], [0], "inverse", "backward"),
    ("c2r", [13], [0], "inverse", "ortho"),
    ("c2r", [1], [0], "inverse", "backward"),
    ("c2r", [6, 10], [0, 1], "inverse", "backward"),
    ("c2r", [6, 10], [1, 0], "inverse", "forward"),
    ("c2r", [7, 9], [0, 1], "inverse", "ortho"),
    ("c2r", [4, 5, 6], [0, 1, 2], "inverse", "backward"),
    ("c2r", [4, 5, 6], [2, 1, 0], "inverse", "ortho"),
    ("c2r", [3, 8, 4], [1], "inverse", "backward"),
]
CONVOLUTIONS = [
    # shape, kernel, axes: a kernel for all, one for each channel, longer than the data, axes that are not the last
    ([12], [5], [0]),
    ([2, 3, 11], [3, 4], [2]),
    ([4], [9], [0]),
    ([2, 7, 3], [4], [1]),
    ([6, 7], [3, 2], [0, 1]),
    ([2, 5, 6], [2, 4, 3], [1, 2]),
    ([5, 4, 2], [2, 4], [0, 1]),
]
MODES = ["circular", "full", "same", "valid", "causal"]

generator = numpy.random.default_rng(1)


def draw(shape, dtype="f32"):
    """Multiples of 1/8 are exact in float32 and short in print."""
    if dtype == "f32":
        return generator.integers(-24, 25, size=shape) / 8
    parts = generator.integers(-24, 25, size=(2, *shape)) / 8
    return parts[0] + 1j * parts[1]


def numbers(x):
    return numpy.stack([x.real, x.imag], axis=-1).ravel().tolist() if numpy.iscomplexobj(x) else x.ravel().tolist()


def rounded(x):
    return [float(f"{value:.10g}") for value in numbers(x)]


def write(path, cases):
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps(case, separators=(",", ":")) for case in cases]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def lines():
    for length, combinations in LENGTHS.items():
        x = draw([length], "complex64")
        results = [
            {"direction": direction, "norm": norm, "out": numbers(LINES[direction](x, norm=norm))} for direction, norm in combinations
        ]
        yield {"length": length, "x": numbers(x), "results": results}


def transforms():
    for kind, shape, axes, direction, norm in TRANSFORMS:
        sizes = [shape[axis] for axis in axes]
        half = list(shape)
        half[axes[-1]] = shape[axes[-1]] // 2 + 1
        x = draw(half if kind == "c2r" else shape, "f32" if kind == "r2c" else "complex64")
        if kind == "c2c":
            function = scipy.fft.fftn if direction == "forward" else scipy.fft.ifftn
            out = function(x, axes=axes, norm=norm)
        elif kind == "r2c":
            out = scipy.fft.rfftn(x, axes=axes, norm=norm)
        else:
            out = scipy.fft.irfftn(x, s=sizes, axes=axes, norm=norm)
        yield {"kind": kind, "shape": shape, "axes": axes, "direction": direction, "norm": norm, "x": numbers(x), "out": rounded(out)}


def convolve(x, kernel, mode):
    if x.ndim == 1:
        x, kernel = x[None, :], kernel[None, :]
        return convolve(x, kernel, mode)[0]
    if mode == "circular":
        return scipy.signal.convolve2d(x, kernel, mode="full", boundary="wrap")[: x.shape[0], : x.shape[1]]
    if mode == "causal":
        return scipy.signal.convolve2d(x, kernel, mode="full")[: x.shape[0], : x.shape[1]]
    return scipy.signal.convolve2d(x, kernel, mode=mode)


def convolutions():
    for (shape, kernel_shape, axes), mode in itertools.product(CONVOLUTIONS, MODES):
        own = kernel_shape[: len(kernel_shape) - len(axes)]
        pairs = [(shape[axis], kernel_shape[len(own) + i]) for i, axis in enumerate(axes)]
        if mode in ("circular", "valid") and any(kernel > size for size, kernel in pairs):
            continue
        # In turn, so that each shape and each mode has both.
        dtype = "complex64" if (len(shape) + MODES.index(mode)) % 3 == 0 else "f32"
        x, kernel = draw(shape, dtype), draw(kernel_shape, dtype)
        # To [repeats, kernels, …axes, inner] and back.
        before, after = shape[: axes[0] - len(own)], shape[axes[-1] + 1 :]
        flat = x.reshape([-1, int(numpy.prod(own)), *(size for size, _ in pairs), int(numpy.prod(after))])
        kernels = kernel.reshape([-1, *(size for _, size in pairs)])
        rows = [
            [[convolve(block[c, ..., i], kernels[c], mode) for i in range(flat.shape[-1])] for c in range(len(kernels))] for block in flat
        ]
        out = numpy.moveaxis(numpy.array(rows), 2, -1)
        size = [*before, *own, *out.shape[2:-1], *after]
        yield {
            "shape": shape,
            "kernel": kernel_shape,
            "axes": axes,
            "mode": mode,
            "dtype": dtype,
            "outputShape": size,
            "x": numbers(x),
            "h": numbers(kernel),
            "out": rounded(out),
        }


def products():
    for batch, heads, length, channels, causal in [(1, 1, 1, 1, False), (2, 2, 7, 3, False), (1, 3, 16, 2, True), (1, 1, 13, 1, True)]:
        v, weights = draw([batch, heads, length, channels]), draw([heads, 2 * length - 1])
        matrices = [scipy.linalg.toeplitz(w[length - 1 :: -1], w[length - 1 :]) for w in weights]
        if causal:
            matrices = [numpy.tril(matrix) for matrix in matrices]
        out = numpy.stack(matrices)[None] @ v
        options = {"batch": batch, "heads": heads, "length": length, "channels": channels, "causal": causal}
        yield {"options": options, "v": numbers(v), "weights": numbers(weights), "out": rounded(out)}
    for batch, heads, height, width, channels in [(1, 1, 1, 6, 2), (2, 2, 3, 4, 1), (1, 2, 5, 5, 2), (1, 1, 7, 2, 1)]:
        v, weights = draw([batch, heads, height, width, channels]), draw([heads, 2 * height - 1, 2 * width - 1])
        out = numpy.empty_like(v)
        for b, h, c in itertools.product(range(batch), range(heads), range(channels)):
            out[b, h, :, :, c] = scipy.signal.correlate2d(weights[h], v[b, h, :, :, c], mode="valid")[::-1, ::-1]
        options = {"batch": batch, "heads": heads, "grid": [height, width], "channels": channels}
        yield {"options": options, "v": numbers(v), "weights": numbers(weights), "out": rounded(out)}


def main():
    write(FIXTURES / "fft.json", lines())
    write(FIXTURES / "fftn.json", transforms())
    write(FIXTURES / "convolve.json", convolutions())
    write(FIXTURES / "toeplitz.json", products())


main()
