import type { FftOptions } from "../../../src/index.ts";
import { fftGradientSpec, type FftSpec, fftSpec, fftTensor } from "../../../src/testing/specs.ts";
import { BOUNDS, classOf, pointsOf, unitOf } from "../../cases/transform.ts";
import type { Options } from "../case.ts";
import { isGaussian, norm } from "../data.ts";
import type { Draw } from "../draw-numbers.ts";
import { type BoundContext, HALF_KINDS, type Operation, U } from "../operation.ts";
import { flushFloor } from "./floor.ts";

const MOST_ELEMENTS = 16384;
/** A sum of 16384 of these, and the products within a transform of a prime length, fit into float32. */
const KINDS = { normal: 1, huge: 2 ** 95, tiny: 2 ** -95, denormal: 1, constant: 2, impulse: 3, zero: 0, mixed: 2 ** 20 } as const;

/** Of a plan that also runs in place, which has to be compiled once more. */
type Drawn = FftOptions & { readonly inPlace?: boolean };

function given(options: Options): FftOptions {
  const { inPlace: _, ...rest } = options as unknown as Drawn;
  return rest;
}

function specOf(options: Options): FftSpec {
  return fftSpec(given(options));
}

function drawFft(draw: Draw, half: boolean): Drawn {
  const kind = draw.pick(["c2c", "c2c", "r2c", "c2r"]);
  const storage = half && draw.chance(0.3) ? "f16" : "f32";
  const rank = draw.int(1, 4);
  const count = Math.min(rank, 1 + draw.weighted([5, 3, 2]));
  const places = Array.from({ length: rank }, (_, axis) => axis);
  const axes: number[] = [];
  while (axes.length < count) axes.push(...places.splice(draw.int(0, places.length - 1), 1));
  // The first axis drawn has the widest choice.
  const shape: number[] = Array.from({ length: rank }, () => 1);
  let left = MOST_ELEMENTS;
  for (const axis of [...axes, ...places]) {
    shape[axis] = draw.size(axes.includes(axis) ? left : Math.min(left, 40));
    left = Math.floor(left / shape[axis]!);
  }
  const norms = storage === "f16" ? (["ortho", "forward"] as const) : (["backward", "ortho", "forward"] as const);
  return {
    shape,
    axes: axes.map((axis) => (draw.chance(0.2) ? axis - rank : axis)),
    kind,
    norm: draw.pick(norms),
    ...(kind === "c2c" && draw.chance(0.5) && { direction: "inverse" as const }),
    ...(storage === "f16" && { storage }),
    ...(kind === "c2c" && draw.chance(0.3) && { inPlace: true }),
  };
}

/**
 * Of normally distributed numbers: the bounds of the README, and what a few numbers may deviate from the mean (the norm of n errors has a
 * relative spread of 1/√(2n); four of that, at the least, as radix-2 steps make errors alike), and the rounding of the float64 result. Others may have
 * errors that all point one way: instead of a root of log₂N steps there may be log₂N of them. Measured by the gain of the transform, as points of a
 * half spectrum may have no influence.
 */
function allowed(spec: FftSpec, { data, kinds, expected }: BoundContext, input: string, output: string): number {
  const [x, y] = [data[input]!, expected[output]!];
  const points = pointsOf(spec);
  const gaussian = isGaussian(kinds[input]);
  const size = norm(y);
  const gain = spec.scale * Math.sqrt(points) * Math.max(1, spec.pairFactor) * (spec.kind === "c2r" ? Math.SQRT2 : 1);
  // Of c2r half of the points are not there.
  const terms = 4 * Math.log2(2 * points) + 8;
  const floor = flushFloor(y.length, terms * points, Math.max(1, spec.scale) * 2, []);
  if (spec.storage === "f16") {
    // One rounding to float16, to either neighbour; below 2⁻¹⁴ neighbours are 2⁻²⁴ apart.
    const bound = gaussian ? 2 ** -11 * (1 + 4 / Math.sqrt(y.length)) : 2 ** -10;
    return bound * size + 1e-6 * gain * norm(x) + 2 ** -24 * Math.sqrt(y.length) + floor;
  }
  const c = BOUNDS[classOf(points)] * unitOf(points);
  if (gaussian) return Math.hypot(c, U) * (1 + 4 / Math.sqrt(y.length)) * Math.max(size, y.length < 64 ? gain * norm(x) : 0) + floor;
  return (c * Math.sqrt(Math.log2(Math.max(2, points))) + 2 * U) * Math.max(size, gain * norm(x)) + floor;
}

export const fftOperation: Operation = {
  share: 5,
  draw: (draw, half) => drawFft(draw, half) as unknown as Options,
  tensors(options) {
    const spec = specOf(options);
    return {
      inputs: { x: { ...fftTensor(spec, "input"), kinds: spec.storage === "f16" ? HALF_KINDS : KINDS } },
      outputs: { out: fftTensor(spec, "output") },
    };
  },
  flags: ({ inPlace }) => (inPlace === true ? ["encode", "inPlace"] : ["encode"]),
  async open(runtime, options) {
    const plan = await runtime.fft(given(options));
    return {
      run({ tensors, encoder }) {
        const { x, out } = tensors;
        if (encoder) plan.encode(encoder, x!, { out: out! });
        else plan.run(x!, { out: out! });
        return [];
      },
      dispose: () => plan.dispose(),
    };
  },
  bounds: async (context) => ({ out: allowed(specOf(context.options), context, "x", "out") }),
};

export const fftGradientOperation: Operation = {
  share: 1,
  draw: (draw) => given(drawFft(draw, false) as unknown as Options) as unknown as Options,
  tensors(options) {
    const spec = specOf(options);
    return { inputs: { dOut: { ...fftTensor(spec, "output"), kinds: KINDS } }, outputs: { dx: fftTensor(spec, "input") } };
  },
  flags: () => [],
  async open(runtime, options) {
    const plan = await runtime.fft(given(options));
    await plan.compileBackward();
    return {
      run({ tensors }) {
        plan.backward(tensors["dOut"]!, { out: tensors["dx"]! });
        return [];
      },
      dispose: () => plan.dispose(),
    };
  },
  bounds: async (context) => ({ dx: allowed(fftGradientSpec(specOf(context.options)), context, "dOut", "dx") }),
};
