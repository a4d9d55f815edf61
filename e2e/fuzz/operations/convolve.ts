import type { ConvolveOptions } from "../../../src/index.ts";
import { convolveSpec } from "../../../src/testing/specs.ts";
import type { Options } from "../case.ts";
import { isGaussian, largestSlice, norm, sumOf } from "../data.ts";
import { FACTOR_KINDS, type Operation, U } from "../operation.ts";
import { flushFloor } from "./floor.ts";

const MOST_ELEMENTS = 8000;
/** Of normally distributed numbers, as in e2e/cases/convolve.ts. */
const BOUND = 4e-7;

function given(options: Options): ConvolveOptions {
  return options as unknown as ConvolveOptions;
}

export const convolveOperation: Operation = {
  share: 3,
  draw(draw) {
    const count = draw.chance(0.65) ? 1 : 2;
    const rank = draw.int(count, 4);
    const first = draw.int(0, rank - count);
    const shape: number[] = Array.from({ length: rank }, () => 1);
    const mode = draw.pick(["circular", "full", "same", "valid", "causal"]);
    let left = MOST_ELEMENTS;
    const axes = Array.from({ length: count }, (_, i) => first + i);
    for (const axis of axes) {
      shape[axis] = draw.size(left);
      left = Math.floor(left / shape[axis]!);
    }
    for (let axis = 0; axis < rank; axis++) {
      if (axes.includes(axis)) continue;
      shape[axis] = draw.size(Math.min(left, 24));
      left = Math.floor(left / shape[axis]!);
    }
    const own = draw.int(0, first);
    const kernel = shape.slice(first - own, first);
    const bounded = mode === "circular" || mode === "valid";
    // Of "full" the result has the elements of both; leading axes multiply.
    let room = Math.max(1, Math.floor((2 * MOST_ELEMENTS) / shape.reduce((product, size) => product * size, 1)));
    for (const axis of axes) {
      const most = bounded ? shape[axis]! : Math.max(1, Math.min(2 * shape[axis]! + 5, shape[axis]! * room));
      kernel.push(draw.size(most));
      if (kernel.at(-1)! > shape[axis]!) room = 1;
    }
    return {
      shape,
      kernel,
      axes: axes.map((axis) => (draw.chance(0.3) ? axis - rank : axis)),
      mode,
      ...(draw.chance(0.4) && { dtype: "complex64" as const }),
    };
  },
  tensors(options) {
    const { dtype, shape, kernelShape, outputShape } = convolveSpec(given(options));
    return {
      inputs: { x: { shape, dtype, kinds: FACTOR_KINDS }, kernel: { shape: kernelShape, dtype, kinds: FACTOR_KINDS } },
      outputs: { out: { shape: outputShape, dtype } },
    };
  },
  flags: () => ["encode", "prepared"],
  async open(runtime, options) {
    const plan = await runtime.convolve(given(options));
    return {
      run({ tensors, encoder, prepared }) {
        const { x, kernel, out } = tensors;
        const spectrum = prepared ? plan.prepare(kernel!) : undefined;
        if (encoder) plan.encode(encoder, x!, spectrum ?? kernel!, { out: out! });
        else plan.run(x!, spectrum ?? kernel!, { out: out! });
        return spectrum ? [spectrum] : [];
      },
      dispose: () => plan.dispose(),
    };
  },
  /**
   * A product of spectra: its error is that of transforms, spread evenly over a row and, as two real rows are one complex one, over its
   * neighbour. Its norm is in proportion to ‖x‖·max|ĥ|: of independent numbers max|ĥ| is about ‖h‖, of others at most Σ|h|.
   */
  async bounds({ options, data, kinds, expected }) {
    const spec = convolveSpec(given(options));
    const [x, h, y] = [data["x"]!, data["kernel"]!, expected["out"]!];
    const taps = spec.axes.reduce((product, axis) => product * axis.kernel, spec.dtype === "f32" ? 1 : 2);
    const gaussian = isGaussian(kinds["x"]) && isGaussian(kinds["kernel"]);
    const points = spec.axes.reduce((product, axis) => product * 2 * axis.period, 1);
    const floor = flushFloor(y.length, 8 * points * Math.log2(2 * points), points, [x, h]);
    const share = gaussian ? 4 * U * norm(x) * largestSlice(h, taps, norm) : BOUND * norm(x) * largestSlice(h, taps, sumOf);
    return { out: Math.max(BOUND * norm(y), share) + floor };
  },
};
