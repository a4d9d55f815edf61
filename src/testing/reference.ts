/**
 * The definitions of the README as direct sums, O(N²): what the tests hold the fast code to. They share nothing with it.
 */
import type { ConvolveSpec, FftSpec, RelativePositions, ToeplitzSpec } from "./specs.ts";

/** X_k = Σ_n x_n exp(∓2πi kn/N), minus for `"forward"`; unscaled. `x`: N complex numbers, interleaved. */
export function dftReference(x: ArrayLike<number>, direction: "forward" | "inverse"): Float64Array {
  const length = x.length / 2;
  const turn = ((direction === "forward" ? -2 : 2) * Math.PI) / length;
  const result = new Float64Array(x.length);
  for (let k = 0; k < length; k++) {
    for (let n = 0; n < length; n++) {
      // The remainder keeps the angle small, hence exact.
      const angle = turn * ((k * n) % length);
      result[2 * k]! += x[2 * n]! * Math.cos(angle) - x[2 * n + 1]! * Math.sin(angle);
      result[2 * k + 1]! += x[2 * n]! * Math.sin(angle) + x[2 * n + 1]! * Math.cos(angle);
    }
  }
  return result;
}

/**
 * The sum over all of `axes` at once. `"c2r"` is x_n = Σ_k m_k Re(X_k exp(2πi kn/N)) over the bins that are there: m_k is 2 where one that is
 * not there belongs to it, else 1, and then the imaginary part of the sum over the other axes has no influence.
 */
export function fftReference(spec: Pick<FftSpec, "kind" | "shape" | "axes" | "direction" | "scale">, x: ArrayLike<number>): Float64Array {
  const { kind, shape, axes, direction, scale } = spec;
  const halved = axes.at(-1)!;
  const half = shape.map((size, axis) => (axis === halved ? Math.floor(size / 2) + 1 : size));
  const [inputShape, outputShape] = [kind === "c2r" ? half : shape, kind === "r2c" ? half : shape];
  const turns = shape.map((size) => Array.from({ length: size }, (_, i) => ((direction === "forward" ? -2 : 2) * Math.PI * i) / size));
  const inputs = indices(axes.map((axis) => inputShape[axis]!));
  const strides = inputShape.map((_, axis) => inputShape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const outputs = indices(outputShape);
  const result = new Float64Array((kind === "c2r" ? 1 : 2) * outputs.length);
  for (const [out, k] of outputs.entries()) {
    const start = k.reduce((sum, index, axis) => (axes.includes(axis) ? sum : sum + index * strides[axis]!), 0);
    let [re, im] = [0, 0];
    for (const n of inputs) {
      let place = start;
      let angle = 0;
      for (const [i, axis] of axes.entries()) {
        place += n[i]! * strides[axis]!;
        angle += turns[axis]![(n[i]! * k[axis]!) % shape[axis]!]!;
      }
      const [xr, xi] = kind === "r2c" ? [x[place]!, 0] : [x[2 * place]!, x[2 * place + 1]!];
      const bin = n.at(-1)!;
      const weight = kind === "c2r" && bin > 0 && 2 * bin < shape[halved]! ? 2 : 1;
      re += weight * (xr * Math.cos(angle) - xi * Math.sin(angle));
      im += weight * (xr * Math.sin(angle) + xi * Math.cos(angle));
    }
    if (kind === "c2r") result[out] = scale * re;
    else result.set([scale * re, scale * im], 2 * out);
  }
  return result;
}

/** Every index of an array of this shape, in row-major order. */
function indices(shape: readonly number[]): readonly (readonly number[])[] {
  return shape.reduce<readonly (readonly number[])[]>(
    (all, size) => all.flatMap((index) => Array.from({ length: size }, (_, last) => [...index, last])),
    [[]],
  );
}

/** y_n = Σ_k h_k x_{n−k} in each of its modes. `x`: [repeats, kernels, …axes, inner], `kernel`: [kernels, …axes]. */
export function convolveReference(
  spec: Pick<ConvolveSpec, "dtype" | "mode" | "repeats" | "kernels" | "axes" | "inner">,
  x: ArrayLike<number>,
  kernel: ArrayLike<number>,
): Float64Array {
  const { dtype, mode, repeats, kernels, inner } = spec;
  const axes = spec.axes.length === 1 ? [{ length: 1, kernel: 1 }, spec.axes[0]!] : spec.axes;
  const [[height, kernelHeight], [width, kernelWidth]] = axes.map((axis) => [axis.length, axis.kernel]) as [[number, number], [number, number]];
  const wanted = (n: number, k: number): readonly [first: number, count: number] =>
    ({ circular: [0, n], full: [0, n + k - 1], same: [Math.floor((k - 1) / 2), n], valid: [k - 1, n - k + 1], causal: [0, n] })[mode] as [
      number,
      number,
    ];
  const [top, outHeight] = wanted(height, kernelHeight);
  const [left, outWidth] = wanted(width, kernelWidth);
  const floats = dtype === "f32" ? 1 : 2;
  const at = (values: ArrayLike<number>, place: number): readonly [number, number] =>
    floats === 1 ? [values[place]!, 0] : [values[2 * place]!, values[2 * place + 1]!];
  const result = new Float64Array(floats * repeats * kernels * outHeight * outWidth * inner);
  let out = 0;
  for (let slice = 0; slice < repeats * kernels; slice++) {
    for (const [row, column, i] of indices([outHeight, outWidth, inner]) as readonly [number, number, number][]) {
      let [re, im] = [0, 0];
      for (const [ky, kx] of indices([kernelHeight, kernelWidth]) as readonly [number, number][]) {
        let [y, z] = [top + row - ky, left + column - kx];
        if (mode === "circular") [y, z] = [(y + height) % height, (z + width) % width];
        if (y < 0 || y >= height || z < 0 || z >= width) continue;
        const [hr, hi] = at(kernel, ((slice % kernels) * kernelHeight + ky) * kernelWidth + kx);
        const [xr, xi] = at(x, ((slice * height + y) * width + z) * inner + i);
        re += hr * xr - hi * xi;
        im += hr * xi + hi * xr;
      }
      result[out++] = re;
      if (floats === 2) result[out++] = im;
    }
  }
  return result;
}

type Tokens = Pick<RelativePositions, "length"> & Partial<RelativePositions>;

/** [H, W], of a sequence [1, N]. */
export function gridOf({ length, grid, outside }: Tokens): readonly [number, number] {
  return grid ?? [1, length - (outside ? outside.first + outside.last : 0)];
}

/** Row, column and channel of a token, one of so many; nothing of one outside. */
function standing(spec: Tokens, tokens: number, token: number): readonly [y: number, x: number, channel: number] | undefined {
  const { outside = { first: 0, last: 0 }, gridChannels = 1 } = spec;
  if (token < outside.first || token >= tokens - outside.last) return undefined;
  const [, width] = gridOf(spec);
  const at = token - outside.first;
  const position = Math.floor(at / gridChannels);
  return [Math.floor(position / width), position % width, at % gridChannels];
}

/** The place, among the weights of all offsets of a head, of that from token i to token j, of so many; nothing where there is none. */
export function weightPlace(spec: Tokens, tokens: number, i: number, j: number): number | undefined {
  const [height, width] = gridOf(spec);
  const [from, to] = [standing(spec, tokens, i), standing(spec, tokens, j)];
  if (!from || !to || from[2] !== to[2]) return undefined;
  return (to[0] - from[0] + height - 1) * (2 * width - 1) + to[1] - from[1] + width - 1;
}

type FormedSpec = Tokens & { readonly heads: number };

/** Calls for every head and offset with the place of its weight among those of all offsets, and the places of the weights whose sum it is. */
function eachOffset(spec: FormedSpec, visit: (full: number, places: readonly number[]) => void): void {
  const { heads, grid, form } = spec;
  const [height, width] = gridOf(spec);
  const { symmetric = false, separable, reach = grid ?? [width], between } = form ?? {};
  // Of cross-attention there are the offsets 1 − N … M − 1.
  const [before, after] = between ?? [width, width];
  const [tall, reached] = (reach.length === 1 ? [1, reach[0]!] : reach).map((size) => (symmetric ? size : 2 * size - 1)) as [number, number];
  const wide = between && !symmetric ? before + after - 1 : reached;
  // Of a sequence, dy is 0.
  const row = (dy: number) => (symmetric ? Math.abs(dy) : dy + (tall - 1) / 2);
  const column = (dx: number) => (symmetric ? Math.abs(dx) : dx + (between ? before - 1 : (wide - 1) / 2));
  const head = { axes: tall + wide, shared: wide, none: tall * wide }[separable ?? "none"];
  for (let h = 0, full = 0; h < heads; h++) {
    for (let dy = 1 - height; dy < height; dy++) {
      for (let dx = 1 - before; dx < after; dx++, full++) {
        const start = h * head;
        if (separable) visit(full, [start + row(dy), start + (separable === "axes" ? tall : 0) + column(dx)]);
        else visit(full, [start + row(dy) * wide + column(dx)]);
      }
    }
  }
}

/** The weights of all offsets, `[heads, 2N − 1]` or `[heads, 2H − 1, 2W − 1]`, of weights in any form. */
export function expandWeights(spec: FormedSpec, weights: ArrayLike<number>): Float64Array {
  const result: number[] = [];
  eachOffset(spec, (_, places) => result.push(places.reduce((sum, place) => sum + weights[place]!, 0)));
  return Float64Array.from(result);
}

/** The gradient of weights in any form, of which there are `count`, from that of the weights of all offsets. */
export function foldWeights(spec: FormedSpec, count: number, gradient: ArrayLike<number>): Float64Array {
  const result = new Float64Array(count);
  eachOffset(spec, (full, places) => {
    for (const place of places) result[place]! += gradient[full]!;
  });
  return result;
}

type ToeplitzReferenceSpec = Pick<ToeplitzSpec, "batch" | "heads" | "length" | "channels"> & Partial<RelativePositions>;

/** Calls for all pairs of tokens that count in a slice of [batch, heads], with the place of their weight. `lengths`: of each batch row. */
function eachPair(
  spec: ToeplitzReferenceSpec,
  lengths: readonly number[] | undefined,
  visit: (slice: number, i: number, j: number, weight: number) => void,
): void {
  const { batch, heads, length, causal = false } = spec;
  const [height, width] = gridOf(spec);
  for (let slice = 0; slice < batch * heads; slice++) {
    const head = (slice % heads) * (2 * height - 1) * (2 * width - 1);
    const tokens = lengths?.[Math.floor(slice / heads)] ?? length;
    for (let i = 0; i < tokens; i++) {
      for (let j = 0; j < (causal ? i + 1 : tokens); j++) {
        const place = weightPlace(spec, tokens, i, j);
        if (place !== undefined) visit(slice, i, j, head + place);
      }
    }
  }
}

/**
 * out_i = Σ_j w[j − i + N − 1] v_j, without the terms j > i if `causal`; on a grid Σ_j w[y_j − y_i + H − 1, x_j − x_i + W − 1] v_j.
 * `v`, result: [batch, heads, tokens, channels]; `weights`: [heads, 2N − 1] or [heads, 2H − 1, 2W − 1]. Tokens beyond `lengths` do not count, tokens
 * outside and those of other channels have no weights.
 */
export function toeplitzReference(
  spec: ToeplitzReferenceSpec,
  v: ArrayLike<number>,
  weights: ArrayLike<number>,
  lengths?: readonly number[],
): Float64Array {
  const { batch, heads, length, channels } = spec;
  const result = new Float64Array(batch * heads * length * channels);
  eachPair(spec, lengths, (slice, i, j, at) => {
    const [out, from] = [(slice * length + i) * channels, (slice * length + j) * channels];
    for (let c = 0; c < channels; c++) result[out + c]! += weights[at]! * v[from + c]!;
  });
  return result;
}

/** The derivatives of Σ dOut·out by each of `v` and of `weights`. */
export function toeplitzGradientReference(
  spec: ToeplitzReferenceSpec,
  { v, weights, dOut }: { readonly v: ArrayLike<number>; readonly weights: ArrayLike<number>; readonly dOut: ArrayLike<number> },
  lengths?: readonly number[],
): { readonly dv: Float64Array; readonly dWeights: Float64Array } {
  const { length, channels } = spec;
  const [dv, dWeights] = [new Float64Array(v.length), new Float64Array(weights.length)];
  eachPair(spec, lengths, (slice, i, j, at) => {
    const [out, from] = [(slice * length + i) * channels, (slice * length + j) * channels];
    for (let c = 0; c < channels; c++) {
      dv[from + c]! += weights[at]! * dOut[out + c]!;
      dWeights[at]! += v[from + c]! * dOut[out + c]!;
    }
  });
  return { dv, dWeights };
}
