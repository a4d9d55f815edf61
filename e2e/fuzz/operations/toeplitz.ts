import type { ToeplitzOptions } from "../../../src/index.ts";
import { expandWeights, foldWeights } from "../../../src/testing/reference.ts";
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
  return { ...positions.options, heads, batch, channels, ...drawForm(draw, positions.options) };
}

/** A form of the weights of some tokens, mostly one weight for every offset, and tokens without a position of their own, mostly none. */
export function drawForm(draw: Draw, { length, grid }: Options): Options {
  const form = draw.pick(["full", "full", "symmetric", ...(grid ? (["separable", "separable-symmetric"] as const) : [])]);
  const [height, width] = (grid ?? [0, length]) as [number, number];
  const longer = draw.chance(0.2) ? draw.size(9) : 0;
  return {
    ...(form !== "full" && { biasForm: form }),
    ...(form.startsWith("separable") && height === width && draw.chance(0.5) && { biasShared: true }),
    ...(longer > 0 && { biasLength: grid ? [height + longer, width + longer] : width + longer }),
    ...(draw.chance(0.2) && { outside: { first: draw.int(0, 2), last: draw.int(0, 2) } }),
    ...(grid !== undefined && draw.chance(0.2) && { gridChannels: draw.int(2, 3) }),
  };
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

type Weighted = RelativePositions & { readonly heads: number };

/** Weights for all offsets of a head, as far as they count. */
export function countedWeights(positions: Weighted, weights: Float32Array): Float32Array {
  return counted(positions, Float32Array.from(expandWeights(positions, weights)));
}

function counted({ causal, heads }: Weighted, table: Float32Array): Float32Array {
  const perHead = table.length / heads;
  return causal ? table.map((w, i) => (2 * (i % perHead) < perHead ? w : 0)) : table;
}

/** The largest norm or sum of the weights of a head. Sums of two may cancel, what is computed of each does not: they count apart. */
export function headWeights(positions: Weighted, weights: Float32Array, gaussian: boolean): number {
  const table = countedWeights(positions, positions.form?.separable ? weights.map(Math.abs) : weights);
  return largestSlice(table, table.length / positions.heads, gaussian ? norm : sumOf);
}

/** How many offsets one weight may stand for in the sum of a gradient, or how many tokens its sums add up first. */
export function gradientTerms({ form, grid }: Weighted): number {
  return (form?.symmetric ? 4 : 1) * (form?.separable ? 2 * Math.max(...grid!) : 1);
}

/** Weights that do not count are NaN: of a causal matrix those of later tokens, and those of offsets that there are not. */
export function poisonWeights(spec: Weighted, weights: Float32Array): void {
  const offsets = expandWeights(spec, weights).length;
  const uses = foldWeights(spec, weights.length, counted(spec, new Float32Array(offsets).fill(1)));
  for (let i = 0; i < weights.length; i++) if (uses[i] === 0) weights[i] = NaN;
}

/** Whether there may be weights that do not count. */
export function hasIdleWeights({ causal, form }: Weighted): boolean {
  return causal || form !== undefined;
}

function poison(data: Arrays, fuzzCase: FuzzCase): void {
  poisonWeights(toeplitzSpec(given(fuzzCase.options)), data["weights"]!);
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
  flags: (options) => ["encode", "prepared", ...(hasIdleWeights(toeplitzSpec(given(options))) ? (["poison"] as const) : [])],
  poison,
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
  flags: (options) => ["prepared", ...(hasIdleWeights(toeplitzSpec(given(options))) ? (["poison"] as const) : [])],
  poison,
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
      dWeights: Math.max(GRADIENT_BOUND * norm(dWeights), gradientTerms(spec) * share) + floor,
    };
  },
};
