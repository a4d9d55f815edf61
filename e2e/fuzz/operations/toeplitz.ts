import type { ToeplitzOptions } from "../../../src/index.ts";
import { type RelativePositions, toeplitzSpec, weightsShape } from "../../../src/testing/specs.ts";
import type { Arrays, FuzzCase, Options } from "../case.ts";
import { isGaussian, largestSlice, norm, sumOf } from "../data.ts";
import type { Draw } from "../draw-numbers.ts";
import { type BoundContext, FACTOR_KINDS, type Operation, U } from "../operation.ts";
import { flushFloor } from "./floor.ts";

const MOST_ELEMENTS = 10_000;
/** Of normally distributed numbers, as in e2e/cases/toeplitz.ts and toeplitz-gradient.ts. */
const BOUND = 3e-7;
const GRADIENT_BOUND = 1e-6;

function given(options: Options): ToeplitzOptions {
  return options as unknown as ToeplitzOptions;
}

function drawToeplitz(draw: Draw): Options {
  const positions = drawPositions(draw, draw.pick([40, 300, 5000]));
  const heads = draw.size(Math.max(1, Math.min(4, Math.floor(MOST_ELEMENTS / positions.tokens))));
  const batch = draw.size(Math.max(1, Math.min(4, Math.floor(MOST_ELEMENTS / (positions.tokens * heads)))));
  const channels = draw.size(Math.max(1, Math.min(70, Math.floor(MOST_ELEMENTS / (positions.tokens * heads * batch)))));
  return { ...positions.options, heads, batch, channels };
}

/** A sequence, causal or not, or a grid. */
export function drawPositions(draw: Draw, most: number): { readonly tokens: number; readonly options: Options } {
  if (draw.chance(0.3)) {
    const height = draw.size(Math.min(most, 130));
    const width = draw.size(Math.max(1, Math.floor(most / height)));
    return { tokens: height * width, options: { grid: [height, width] } };
  }
  const length = draw.size(most);
  return { tokens: length, options: { length, ...(draw.chance(0.4) && { causal: true }) } };
}

/** The weights of a head that count. */
export function countedWeights(positions: RelativePositions & { readonly heads: number }, weights: Float32Array): Float32Array {
  const perHead = weights.length / positions.heads;
  return positions.causal ? weights.map((w, i) => (i % perHead < positions.length ? w : 0)) : weights;
}

/** The largest norm or sum of the weights of a head. */
export function headWeights(positions: RelativePositions & { readonly heads: number }, weights: Float32Array, gaussian: boolean): number {
  return largestSlice(countedWeights(positions, weights), weights.length / positions.heads, gaussian ? norm : sumOf);
}

/** Of a causal matrix, weights of later tokens count as zero, whatever they are. */
function poisonWeights(data: Arrays, fuzzCase: FuzzCase): void {
  const spec = toeplitzSpec(given(fuzzCase.options));
  const weights = data["weights"]!;
  const perHead = weights.length / spec.heads;
  if (spec.causal) for (let i = 0; i < weights.length; i++) if (i % perHead >= spec.length) weights[i] = NaN;
}

/** See convolve.ts: a norm in proportion to that of the values times the largest point of a spectrum of weights. */
function allowed({ kinds, data, options }: BoundContext, expected: Float32Array, v: string, w: Float32Array, others: readonly string[]): number {
  const spec = toeplitzSpec(given(options));
  const gaussian = [v, "weights", ...others].every((name) => isGaussian(kinds[name]));
  const size = norm(data[v]!) * headWeights(spec, w, gaussian);
  const points = 4 * spec.length;
  const floor = flushFloor(expected.length, 16 * points * Math.log2(2 * points), points, [data[v]!, w]);
  return Math.max(BOUND * norm(expected), (gaussian ? 4 * U : BOUND) * size) + floor;
}

export const toeplitzOperation: Operation = {
  share: 3,
  draw: drawToeplitz,
  tensors(options) {
    const spec = toeplitzSpec(given(options));
    const shape = [spec.batch, spec.heads, spec.length, spec.channels];
    return {
      inputs: { v: { shape, dtype: "f32", kinds: FACTOR_KINDS }, weights: { shape: weightsShape(spec), dtype: "f32", kinds: FACTOR_KINDS } },
      outputs: { out: { shape, dtype: "f32" } },
    };
  },
  flags: ({ causal }) => ["encode", "prepared", ...(causal === true ? (["poison"] as const) : [])],
  poison: poisonWeights,
  async open(runtime, options) {
    const plan = await runtime.toeplitz(given(options));
    return {
      run({ tensors, encoder, prepared }) {
        const { v, weights, out } = tensors;
        const spectrum = prepared ? plan.prepare(weights!) : undefined;
        if (encoder) plan.encode(encoder, v!, spectrum ?? weights!, { out: out! });
        else plan.run(v!, spectrum ?? weights!, { out: out! });
        return spectrum ? [spectrum] : [];
      },
      dispose: () => plan.dispose(),
    };
  },
  bounds: async (context) => ({ out: allowed(context, context.expected["out"]!, "v", context.data["weights"]!, []) }),
};

export const toeplitzGradientOperation: Operation = {
  share: 1,
  draw: drawToeplitz,
  tensors(options) {
    const { inputs, outputs } = toeplitzOperation.tensors(options);
    const { v, weights } = inputs;
    return { inputs: { v: v!, weights: weights!, dOut: v! }, outputs: { dv: outputs["out"]!, dWeights: { shape: weights!.shape, dtype: "f32" } } };
  },
  flags: ({ causal }) => ["prepared", ...(causal === true ? (["poison"] as const) : [])],
  poison: poisonWeights,
  async open(runtime, options) {
    const plan = await runtime.toeplitz(given(options));
    await plan.compileBackward();
    return {
      run({ tensors, prepared }) {
        const { v, weights, dOut, dv, dWeights } = tensors;
        const spectrum = prepared ? plan.prepare(weights!) : undefined;
        plan.backward({ v: v!, weights: spectrum ?? weights!, dOut: dOut! }, { out: { dv: dv!, dWeights: dWeights! } });
        return spectrum ? [spectrum] : [];
      },
      dispose: () => plan.dispose(),
    };
  },
  /** The correlation is a sum of products of spectra over batch and channels: in proportion to ‖dOut‖·max|v̂| ≤ ‖dOut‖·Σ|v|, for each channel. */
  async bounds(context) {
    const { data, kinds, expected, options } = context;
    const spec = toeplitzSpec(given(options));
    const gaussian = isGaussian(kinds["v"]) && isGaussian(kinds["dOut"]);
    const [g, v, dWeights] = [data["dOut"]!, data["v"]!, expected["dWeights"]!];
    const points = 4 * spec.length;
    const floor = flushFloor(dWeights.length, 16 * points * Math.log2(2 * points) * spec.batch * spec.channels, points, [g, v]);
    const share = gaussian ? 4 * U * norm(g) * norm(v) : GRADIENT_BOUND * norm(g) * Math.min(sumOf(v), Math.sqrt(2 * spec.length) * norm(v));
    return {
      dv: allowed(context, expected["dv"]!, "dOut", data["weights"]!, []),
      dWeights: Math.max(GRADIENT_BOUND * norm(dWeights), share) + floor,
    };
  },
};
