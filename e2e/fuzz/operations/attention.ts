import type { AttentionInputs, AttentionOptions, Runtime, Tensor } from "../../../src/index.ts";
import { type AttentionSpec, attentionSpec, hasSpectrum, keyShape, weightsShape } from "../../../src/testing/specs.ts";
import { ATTENTION_BOUND, GRADIENT_BOUND } from "../../cases/attention-harness.ts";
import type { Arrays, FuzzCase, Options, TensorPlan } from "../case.ts";
import { type DataKind, isGaussian, largest, norm, sumOf } from "../data.ts";
import type { Draw } from "../draw-numbers.ts";
import { type BoundContext, type Call, FACTOR_KINDS, HALF_KINDS, type Operation, U } from "../operation.ts";
import { exponentSize, isPlain, multiplicativeCondition, slopeGains } from "./attention-condition.ts";
import { inLayouts } from "./attention-layouts.ts";
import { flushFloor } from "./floor.ts";
import { countedWeights, drawForm, drawPositions, gradientTerms, hasIdleWeights, headWeights, poisonWeights } from "./toeplitz.ts";

type Kinds = Partial<Record<DataKind, number>>;

/** exp is relative to the largest key, so that any size goes: to the ±10⁴ that the README promises, times four deviations. */
const EXPONENTIAL_KINDS: Kinds = { normal: 1, huge: 1e4, tiny: 2 ** -36, denormal: 1, constant: 5, impulse: 20, zero: 0, mixed: 2 ** 10 };
/** Exponents grow with the square; "huge" only has to stay finite. */
const LOGIT_KINDS: Kinds = { normal: 1, huge: 1e4, tiny: 2 ** -36, denormal: 1, constant: 1, impulse: 8, zero: 0, mixed: 4 };
/** Features are relative to powers of two, so that any size goes whose products, and quotients, are float32. */
const RELU_KINDS: Kinds = { normal: 1, huge: 2 ** 66, tiny: 2 ** -66, constant: 5, impulse: 20, zero: 0, mixed: 2 ** 30 };
/** Features are products of two of these already. */
const DPFP_KINDS: Kinds = { normal: 1, huge: 2 ** 30, tiny: 2 ** -30, constant: 3, impulse: 5, zero: 0, mixed: 2 ** 15 };
/** Features from exp(−250) on. */
const ELU_KINDS: Kinds = { normal: 1, huge: 60, tiny: 2 ** -36, denormal: 1, constant: 60, impulse: 20, zero: 0, mixed: 2 ** 6 };
/** The sums of a multiplicative bias go through transforms: see {@link multiplicativeCondition}. Random features are exponentials of squares. */
const MULTIPLICATIVE_KINDS: Kinds = { normal: 1, tiny: 2 ** -36, constant: 2, impulse: 3, zero: 0 };
/** Features of any size, and products of them that are no float32: rows that transforms lose are summed directly, by logarithms. */
const MULTIPLICATIVE_ROW_KINDS: Readonly<Record<string, Kinds>> = {
  sikf: EXPONENTIAL_KINDS,
  "elu+1": { ...MULTIPLICATIVE_KINDS, huge: 60 },
  relu: { normal: 1, huge: 2 ** 40, tiny: 2 ** -60, constant: 2, impulse: 3, zero: 0 },
};
/** Its weights: masks, and such as leave most rows to direct sums. */
const MULTIPLICATIVE_BIAS_KINDS: Kinds = { ...MULTIPLICATIVE_KINDS, impulse: 30, mask: 2, slope: 1 };
/** Values and gradients, of which up to three are multiplied. */
const VALUE_KINDS: Kinds = { ...FACTOR_KINDS, huge: 2 ** 30, tiny: 2 ** -30 };

/** Of keys all, half, one or none. */
const MASK_KINDS: Kinds = { normal: 1, holes: 1, impulse: 1, zero: 0 };

function given(options: Options): AttentionOptions {
  return options as unknown as AttentionOptions;
}

function specOf(options: Options): AttentionSpec {
  return attentionSpec(given(options));
}

function rowKinds({ kind, featureMap, bias, storage }: AttentionSpec): Kinds {
  if (storage === "f16") return HALF_KINDS;
  if (bias === "multiplicative") return MULTIPLICATIVE_ROW_KINDS[featureMap!] ?? MULTIPLICATIVE_KINDS;
  if (kind === "softmax" || featureMap === "favor+") return LOGIT_KINDS;
  if (featureMap === "relu") return RELU_KINDS;
  if (featureMap === "dpfp") return DPFP_KINDS;
  return featureMap === "elu+1" ? ELU_KINDS : EXPONENTIAL_KINDS;
}

/** Derivatives of products have 1/φ for a factor, beside values and gradients of {@link VALUE_KINDS}. */
function gradientRowKinds(spec: AttentionSpec): Kinds {
  const kinds = rowKinds(spec);
  if (spec.bias === "multiplicative" && isPlain(spec)) {
    const { normal, constant, impulse, zero } = kinds;
    return { normal: normal!, constant: constant!, impulse: impulse!, zero: zero! };
  }
  if (spec.featureMap === "relu") return { ...kinds, huge: 2 ** 40, tiny: 2 ** -40, mixed: 2 ** 15 };
  return spec.featureMap === "dpfp" ? { ...kinds, huge: 2 ** 20, tiny: 2 ** -20, mixed: 2 ** 8 } : kinds;
}

const MOST_ELEMENTS = 10_000;

function drawAttention(draw: Draw, half: boolean, backward: boolean): Options {
  const softmax = draw.chance(0.25);
  const featureMap = softmax ? undefined : draw.pick(["sikf", "sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"]);
  const bias = draw.pick(["none", "none", "fastrpb", "fastrpb", "multiplicative"]);
  const multiplicative = bias === "multiplicative" && !softmax && featureMap !== "softmax";
  const logits = bias === "multiplicative" && softmax;
  const storage = half && !backward && !multiplicative && draw.chance(0.3);
  const random = featureMap === "favor+";
  const dpfp = featureMap === "dpfp";
  const positions = drawPositions(draw, multiplicative ? draw.pick([12, 70]) : softmax ? draw.pick([40, 200]) : draw.pick([40, 300, 1200]));
  const room = (per: number) => Math.max(1, Math.floor(MOST_ELEMENTS / per));
  const headDim = draw.size(Math.min(multiplicative || random ? 8 : dpfp ? 40 : 140, room(positions.tokens)));
  const valueDim = draw.chance(0.3) ? headDim : draw.size(Math.min(multiplicative ? 8 : 140, room(positions.tokens)));
  const widest = Math.max(headDim, valueDim);
  const heads = draw.size(Math.min(multiplicative ? 2 : 4, room(positions.tokens * widest)));
  const batch = draw.size(Math.min(multiplicative ? 2 : 4, room(positions.tokens * widest * heads)));
  const variableLengths = positions.options["grid"] === undefined && draw.chance(0.3);
  return withKeys(draw, {
    ...positions.options,
    batch,
    heads,
    headDim,
    ...(valueDim !== headDim && { valueDim }),
    ...(softmax ? { kind: "softmax" } : { featureMap }),
    ...(random && draw.chance(0.5) && { randomFeatures: { count: draw.size(16), seed: draw.int(0, 1000) } }),
    ...(dpfp && draw.chance(0.6) && { nu: draw.int(1, Math.min(2 * headDim - 1, 4)) }),
    ...(softmax && !positions.options["grid"] && draw.chance(0.4) && { window: draw.size(positions.tokens) }),
    ...((softmax || random) && draw.chance(0.4) && { scale: draw.pick([1, 0.3, 0.125]) }),
    ...(logits ? { bias: "logits" } : (multiplicative || bias === "fastrpb") && { bias }),
    ...(variableLengths && { variableLengths }),
    ...(draw.chance(0.2) && !(logits && variableLengths) && { keyMask: true }),
    ...(storage && { storage: "f16" }),
    ...(bias === "fastrpb" && drawForm(draw, positions.options)),
  });
}

/** What does not go with keys of another length. */
const OF_ONE_LENGTH: readonly string[] = ["causal", "window", "variableLengths", "outside", "biasLength"];

/** The same, some with keys of another length, or with groups of queries. */
function withKeys(draw: Draw, options: Options): Options {
  const { heads, length, grid, bias } = specOf(options);
  const divisors = Array.from({ length: heads }, (_, i) => i + 1).filter((count) => heads % count === 0);
  const grouped = { ...options, ...(draw.chance(0.3) && { keyHeads: draw.pick(divisors) }) };
  if (grid || bias === "multiplicative" || !draw.chance(0.2)) return grouped;
  const others = Object.entries(grouped).filter(([name]) => !OF_ONE_LENGTH.includes(name));
  const fewer = draw.size(length);
  return { ...Object.fromEntries(others), ...(draw.chance(0.5) ? { keyLength: fewer } : { length: fewer, keyLength: length }) };
}

export function inputsOf(spec: AttentionSpec, backward: boolean): Record<string, TensorPlan> {
  const rows = [spec.batch, spec.heads, spec.length];
  const keyed = keyShape(spec);
  const keyRows = [keyed.batch, keyed.heads, keyed.length];
  const dtype = spec.storage;
  const kinds = backward ? gradientRowKinds(spec) : rowKinds(spec);
  const values = spec.storage === "f16" ? HALF_KINDS : VALUE_KINDS;
  const biasKinds =
    spec.bias === "multiplicative"
      ? MULTIPLICATIVE_BIAS_KINDS
      : spec.bias === "logits"
        ? MULTIPLICATIVE_KINDS
        : spec.storage === "f16"
          ? HALF_KINDS
          : VALUE_KINDS;
  return {
    q: { shape: [...rows, spec.headDim], dtype, kinds },
    k: { shape: [...keyRows, spec.headDim], dtype, kinds },
    v: { shape: [...keyRows, spec.valueDim], dtype, kinds: values },
    ...(spec.bias !== "none" && { bias: { shape: weightsShape(spec), dtype: "f32" as const, kinds: biasKinds } }),
    ...(spec.keyMask && { keyMask: { shape: [spec.batch, keyed.length], dtype: "f32" as const, kinds: MASK_KINDS } }),
    ...(backward && {
      dOut: { shape: [...rows, spec.valueDim], dtype: "f32" as const, kinds: VALUE_KINDS },
    }),
  };
}

function flagsOf(spec: AttentionSpec): ("prepared" | "poison")[] {
  const poisoned = spec.variableLengths || spec.keyMask || (spec.bias !== "none" && hasIdleWeights(spec));
  return [...(hasSpectrum(spec) ? (["prepared"] as const) : []), ...(poisoned ? (["poison"] as const) : [])];
}

function drawLengths(draw: Draw, options: Options): readonly number[] | undefined {
  const { variableLengths, batch, length } = specOf(options);
  if (!variableLengths) return undefined;
  return Array.from({ length: batch }, () => [0, 1, length, draw.int(0, length), draw.size(length)][draw.weighted([1, 1, 2, 3, 3])]!);
}

/** Lengths as an input, those of every second case, by their sum, as a tensor. */
function lengthsInput(runtime: Runtime, lengths: readonly number[] | undefined): { readonly lengths?: readonly number[] | Tensor } {
  if (!lengths) return {};
  return { lengths: sumOf(lengths) % 2 === 1 ? runtime.tensor(Float32Array.from(lengths), [lengths.length]) : lengths };
}

function isHeld<T>(input: T): input is T & { dispose(): void } {
  return typeof input === "object" && input !== null && "dispose" in input;
}

function poison(data: Arrays, { options, lengths }: FuzzCase): void {
  const spec = specOf(options);
  for (const [name, values] of Object.entries(data)) {
    if (name === "keyMask") continue;
    if (name === "bias") {
      poisonWeights(spec, values);
      continue;
    }
    const ofKeys = name === "k" || name === "v";
    const { heads, length } = ofKeys ? keyShape(spec) : spec;
    const rows = heads * length;
    const dim = values.length / (spec.batch * rows);
    for (let i = 0; i < values.length; i++) {
      const row = Math.floor(i / dim);
      const [batch, token] = [Math.floor(row / rows), row % length];
      const isMasked = ofKeys && data["keyMask"]?.[batch * length + token] === 0;
      if (isMasked || (lengths && token >= lengths[batch]!)) values[i] = NaN;
    }
  }
}

/** Tokens of the longer side. */
function longest(spec: AttentionSpec): number {
  return Math.max(spec.length, keyShape(spec).length);
}

/** Heads that share one of keys. */
function groupHeads(spec: AttentionSpec): number {
  return spec.heads / keyShape(spec).heads;
}

/** With zeros in the place of what does not count. */
function cleaned(values: Float32Array): Float32Array {
  return values.map((x) => (Number.isNaN(x) ? 0 : x));
}

function absolute(values: Float32Array): Float32Array {
  return values.map(Math.abs);
}

/** Of products by transforms, 4e-7 (convolve.ts). */
const PRODUCT = 8 * U;
/** From here on exponents are off by so much that only finite numbers are promised. */
const MOST_UNCERTAIN = 1e-2;

/**
 * Every term of the sums is rounded: the error is at most a few units of the same attention of |v|, its weights being positive. Of normally distributed
 * numbers roundings add up at random, which the bound of the README allows for, and where few values happen to cancel, 2 units of each. Where all features
 * are the same number, as those of elu + 1 of tiny ones, a sum over them rounds to the same side as long as it has the same exponent: D/3 units at most,
 * and less of the denominator (added up one by one, 98 times −1237948416 is 19 units off). Exponents that are sums themselves add u times their size
 * (exponentSize), a bias the error of transforms (see toeplitz.ts, multiplicativeCondition).
 */
export async function forwardBounds({ options, data, kinds, lengths, expected, reference }: BoundContext): Promise<Record<string, number>> {
  const spec = specOf(options);
  const out = expected["out"]!;
  const clean = Object.fromEntries(Object.entries(data).map(([name, values]) => [name, cleaned(values)]));
  const uncertain = U * exponentSize(spec, clean);
  if (uncertain > MOST_UNCERTAIN) return { out: Infinity };
  const gaussian = Object.keys(data).every((name) => isGaussian(kinds[name]));
  const signed = { ...data, v: absolute(data["v"]!) };
  const size = norm((await reference(spec.bias === "fastrpb" ? { ...signed, bias: absolute(data["bias"]!) } : signed))["out"]!);
  const relative = gaussian ? 2 * U : Math.max(ATTENTION_BOUND, spec.kind === "linear" ? (spec.features / 2) * U : 0);
  let bound = Math.max(ATTENTION_BOUND * norm(out), relative * size) + 2 * Math.max(0, uncertain - ATTENTION_BOUND) * size;
  if (spec.bias === "fastrpb") {
    const values = norm(clean["v"]!) * Math.sqrt(groupHeads(spec));
    bound += (gaussian ? 4 * U : ATTENTION_BOUND) * values * headWeights(spec, clean["bias"]!, gaussian);
  }
  // Numerators and denominators both come from transforms, each with an error in proportion to its own size.
  if (spec.bias === "multiplicative") {
    bound += 2 * PRODUCT * norm(multiplicativeCondition(spec, clean, lengths)) * Math.sqrt(spec.valueDim) * largest(clean["v"]!);
  }
  if (spec.storage === "f16") bound += 2 ** -10 * norm(out) + 2 ** -24 * Math.sqrt(out.length);
  const gain = spec.bias === "fastrpb" ? 1 + 2 * largest(clean["bias"]!) : 1;
  return { out: bound + flushFloor(out.length, 8 * longest(spec) * (spec.features + 8 * Math.log2(4 * longest(spec))), gain, [clean["v"]!]) };
}

/** Queries, keys and values of a call, packed or not. */
function rowsOf({ q, k, v, qkv }: Call["tensors"]): Pick<AttentionInputs, "q" | "k" | "v"> {
  const rows = qkv ? { qkv } : { q: q!, k: k!, v: v! };
  return rows as Pick<AttentionInputs, "q" | "k" | "v">;
}

export const attentionOperation: Operation = inLayouts({
  share: 5,
  draw: (draw, half) => drawAttention(draw, half, false),
  tensors(options) {
    const spec = specOf(options);
    const out = { shape: [spec.batch, spec.heads, spec.length, spec.valueDim], dtype: spec.storage };
    return { inputs: inputsOf(spec, false), outputs: { out } };
  },
  flags: (options) => ["encode", ...flagsOf(specOf(options))],
  drawLengths,
  poison,
  async open(runtime, options) {
    const plan = await runtime.attention(given(options));
    return {
      run({ tensors, encoder, prepared, lengths }) {
        const { bias, keyMask, out } = tensors;
        const spectrum = prepared && bias ? plan.prepare(bias) : undefined;
        const counted = lengthsInput(runtime, lengths);
        const inputs = { ...rowsOf(tensors), ...(bias && { bias: spectrum ?? bias }), ...counted, ...(keyMask && { keyMask }) };
        if (encoder) plan.encode(encoder, inputs, { out: out! });
        else plan.run(inputs, { out: out! });
        return [spectrum, counted.lengths].filter(isHeld);
      },
      dispose: () => plan.dispose(),
    };
  },
  bounds: forwardBounds,
});

/**
 * dq_i = Σ_j p_ij (g_i·(v_j − out_i)) times derivatives of features, and dk_j the same sum over i: terms of at most 2|g_i|·max|v|, times the gains of
 * slopeGains or, of exponents that are products, the other factor of these. Where they cancel, all that is left may be rounding.
 *
 * Of normally distributed numbers the bound of the README holds for what is left, and 4 units of ‖g_i‖·√E·rms(v), the usual size of one term, for what
 * has cancelled. Of others, the bound times the largest that all terms can be.
 */
async function backwardBounds({ options, data, kinds, lengths, expected }: BoundContext): Promise<Record<string, number>> {
  const spec = specOf(options);
  const { kind, featureMap, valueDim, headDim, scale } = spec;
  const length = longest(spec);
  const clean = Object.fromEntries(Object.entries(data).map(([name, values]) => [name, cleaned(values)]));
  // What is made of queries and keys for these maps is stored as one number, of their size, before a reference is subtracted.
  const sums = featureMap === "softmax" || featureMap === "favor+" ? largest(clean["q"]!) + largest(clean["k"]!) : 0;
  const uncertain = U * (exponentSize(spec, clean) + sums);
  const names = Object.keys(expected);
  if (uncertain > MOST_UNCERTAIN) return Object.fromEntries(names.map((name) => [name, Infinity]));
  const gaussian = Object.keys(data).every((name) => isGaussian(kinds[name]));
  const [q, k, v, g] = ["q", "k", "v", "dOut"].map((name) => clean[name]!) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const gains = slopeGains(spec, clean, lengths);
  const rows = gains.q.length;
  const rms = norm(v) / Math.sqrt(v.length);
  const root = Math.sqrt(scale);
  // The derivatives of exponents by queries and keys.
  const slope = (other: Float32Array) => {
    if (kind === "softmax") return scale * largest(other);
    // A sum over features with weights that are at most 1 in all, of w_r·√scale and, for keys, scale·k; |w_r| is about √D and hardly twice that.
    return featureMap === "favor+" ? root * 2 * Math.sqrt(headDim) + scale * largest(k) : 1;
  };
  // A number is a factor of 2ν features of its row.
  const ofRow = (own: Float32Array) => (featureMap === "dpfp" ? (spec.features / headDim) * largest(own) : 1);
  const [slopeQ, slopeK] = [slope(k) * ofRow(q), slope(q) * ofRow(k)];
  let condition = 0;
  if (spec.bias === "multiplicative") condition = 2 * PRODUCT * largest(multiplicativeCondition(spec, clean, lengths));
  /** The norms of ‖g_i‖ and of Σ|g_i| with the gains of the rows, and the sum of all. */
  const incoming = (gain: Float64Array) => {
    let [squares, worst, all] = [0, 0, 0];
    for (let row = 0; row < rows; row++) {
      const part = g.subarray(row * valueDim, (row + 1) * valueDim);
      const sum = sumOf(part) * gain[row]!;
      squares += (norm(part) * gain[row]!) ** 2;
      worst += sum * sum;
      all += sum;
    }
    return { usual: Math.sqrt(squares), worst: Math.sqrt(worst), all };
  };
  const [ofQueries, ofKeys, plain] = [incoming(gains.q), incoming(gains.k), incoming(new Float64Array(rows).fill(1))];
  const spread = Math.sqrt(valueDim) * rms;
  const relative = GRADIENT_BOUND + Math.max(0, 4 * uncertain - GRADIENT_BOUND);
  const bound = (name: string, usual: number, worst: number, floor: number) => {
    const size = norm(expected[name]!);
    return relative * (gaussian ? size : size + worst) + 4 * U * usual + (condition + Math.max(0, 4 * uncertain - GRADIENT_BOUND)) * worst + floor;
  };
  const terms = 16 * length * (spec.features + valueDim + 8 * Math.log2(4 * length));
  const floor = (name: string, factors: readonly Float32Array[], gain: number) => flushFloor(expected[name]!.length, terms, gain, factors);
  const most = 2 * largest(v);
  const bounds: Record<string, number> = {
    dq: bound(
      "dq",
      slopeQ * spread * ofQueries.usual,
      slopeQ * most * ofQueries.worst * Math.sqrt(headDim),
      floor("dq", [g, v, k], Math.max(1, largest(gains.q))),
    ),
    dk: bound("dk", slopeK * spread * ofKeys.usual, slopeK * most * ofKeys.all, floor("dk", [g, v, q], Math.max(1, largest(gains.k)))),
    dv: bound("dv", plain.usual, plain.all, floor("dv", [g], 1)),
  };
  if (spec.bias === "fastrpb") {
    bounds["dv"]! += (gaussian ? 4 * U : GRADIENT_BOUND) * norm(g) * Math.sqrt(groupHeads(spec)) * headWeights(spec, clean["bias"]!, gaussian);
    bounds["dv"]! += floor("dv", [g, countedWeights(spec, clean["bias"]!)], length);
    bounds["dBias"] = bound(
      "dBias",
      gradientTerms(spec) * norm(g) * norm(v),
      gradientTerms(spec) * norm(g) * Math.min(sumOf(v), Math.sqrt(2 * length) * norm(v)),
      floor("dBias", [g, v], 4 * length),
    );
  }
  if (spec.bias === "multiplicative" || spec.bias === "logits")
    bounds["dBias"] = bound("dBias", spread * plain.usual, most * plain.all, floor("dBias", [g, v], length));
  return bounds;
}

export const attentionGradientOperation: Operation = inLayouts({
  share: 1,
  draw: (draw) => drawAttention(draw, false, true),
  tensors(options) {
    const spec = specOf(options);
    const { q, k, v, bias, keyMask, dOut } = inputsOf(spec, true);
    const f32 = (plan: TensorPlan): TensorPlan => ({ shape: plan.shape, dtype: "f32" });
    return {
      inputs: { q: q!, k: k!, v: v!, ...(bias && { bias }), ...(keyMask && { keyMask }), dOut: dOut! },
      outputs: { dq: f32(q!), dk: f32(k!), dv: f32(v!), ...(bias && { dBias: f32(bias) }) },
    };
  },
  flags: (options) => flagsOf(specOf(options)),
  drawLengths,
  poison,
  async open(runtime, options) {
    const plan = await runtime.attention(given(options));
    await plan.compileBackward();
    return {
      run({ tensors, prepared, lengths }) {
        const { bias, keyMask, dOut, dq, dk, dv, dqkv, dBias } = tensors;
        const spectrum = prepared && bias ? plan.prepare(bias) : undefined;
        const counted = lengthsInput(runtime, lengths);
        const inputs = {
          ...rowsOf(tensors),
          dOut: dOut!,
          ...(bias && { bias: spectrum ?? bias }),
          ...counted,
          ...(keyMask && { keyMask }),
        };
        const rows = dqkv ? { dqkv } : { dq: dq!, dk: dk!, dv: dv! };
        plan.backward(inputs, { out: { ...rows, ...(dBias && { dBias }) } });
        return [spectrum, counted.lengths].filter(isHeld);
      },
      dispose: () => plan.dispose(),
    };
  },
  bounds: backwardBounds,
});
