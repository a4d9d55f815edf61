/** Draws the inputs of any attention, and runs it, forward and backward, on either backend. */
import type { AttentionGradientInputs, AttentionInputs, AttentionOptions, AttentionPlan, Runtime, Tensor } from "../../src/index.ts";
import { arranged, joined, parted } from "../../src/testing/attention-layouts.ts";
import { attentionGradientReference, attentionReference } from "../../src/testing/attention-reference.ts";
import { expandWeights, foldWeights } from "../../src/testing/reference.ts";
import { type AttentionSpec, attentionSpec, keyShape, weightsShape } from "../../src/testing/specs.ts";
import { check, type CaseContext, checkClose, normals, type Scope, scoped } from "./case.ts";

export const ATTENTION_BOUND = 1e-6;
export const GRADIENT_BOUND = 3e-6;

export interface AttentionData {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly weights: Float32Array;
  readonly dOut: Float32Array;
  /** With variable lengths only; float32 numbers go in as a tensor. */
  readonly lengths?: readonly number[] | Float32Array;
  /** With a mask over keys only. */
  readonly keyMask?: Uint8Array;
}

export type GradientName = "dq" | "dk" | "dv" | "dBias";

export function drawAttention(options: AttentionOptions, seed: number): AttentionData {
  const spec = attentionSpec(options);
  const rows = spec.batch * spec.heads * spec.length;
  const keyed = keyShape(spec);
  const keys = spec.batch * keyed.heads * keyed.length;
  const shape = weightsShape(spec);
  const weights = normals(
    seed + 3,
    shape.reduce((product, size) => product * size, 1),
  );
  return {
    q: normals(seed, rows * spec.headDim),
    k: normals(seed + 1, keys * spec.headDim),
    v: normals(seed + 2, keys * spec.valueDim),
    // About as large as the attention: both parts of the sum count.
    weights: spec.bias === "multiplicative" ? weights : weights.map((w) => w / Math.sqrt(spec.length)),
    dOut: normals(seed + 4, rows * spec.valueDim),
    ...(spec.variableLengths && { lengths: Array.from({ length: spec.batch }, (_, b) => (seed * 7 + b * 13) % (spec.length + 1)) }),
    ...(spec.keyMask && { keyMask: Uint8Array.from(normals(seed + 5, spec.batch * keyed.length).map((x, at) => maskAt(x, at, keyed.length))) }),
  };
}

/** Of the first batch row two keys of three are seen, of the second none, of the third those from the middle on. */
function maskAt(x: number, at: number, length: number): number {
  const row = Math.floor(at / length) % 3;
  return row === 0 ? Number(x > -0.4) : Number(row === 2 && at % length >= length / 2);
}

function inputsOf(scope: Scope, spec: AttentionSpec, data: AttentionData): AttentionInputs {
  const { batch, heads, length, headDim, valueDim, layout } = spec;
  const [q, k, v] = [arranged(spec, "q", data.q), arranged(spec, "k", data.k), arranged(spec, "v", data.v)];
  const rows = layout === "bhnd" ? [batch, heads, length] : [batch, length, heads];
  const keyed = keyShape(spec);
  const keyRows = layout === "bhnd" ? [batch, keyed.heads, keyed.length] : [batch, keyed.length, keyed.heads];
  const tensors =
    layout === "packed"
      ? { qkv: scope.tensor(joined(spec, [q, k, v]), [batch, length, heads * (2 * headDim + valueDim)]) }
      : { q: scope.tensor(q, [...rows, headDim]), k: scope.tensor(k, [...keyRows, headDim]), v: scope.tensor(v, [...keyRows, valueDim]) };
  return {
    ...(tensors as Pick<AttentionInputs, "q" | "k" | "v">),
    ...(spec.bias !== "none" && { bias: scope.tensor(data.weights, weightsShape(spec)) }),
    ...(data.lengths && { lengths: data.lengths instanceof Float32Array ? scope.tensor(data.lengths, [spec.batch]) : data.lengths }),
    ...(data.keyMask && { keyMask: data.keyMask }),
  };
}

function unwrittenOutput(scope: Scope, { batch, heads, length, valueDim, layout }: AttentionSpec): Tensor {
  return scope.unwritten(layout === "bhnd" ? [batch, heads, length, valueDim] : [batch, length, heads, valueDim]);
}

/** The output [batch, heads, N, dim], whatever its order on the device, where it starts as NaN. */
export async function attend(runtime: Runtime, options: AttentionOptions, data: AttentionData): Promise<Float32Array> {
  const spec = attentionSpec(options);
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.attention(options));
    const out = unwrittenOutput(scope, spec);
    return arranged(spec, "out", (await plan.run(inputsOf(scope, spec, data), { out }).data()) as Float32Array, true);
  });
}

/** The gradients [batch, heads, N, dim], whatever their order on the device, where they start as NaN. */
export async function attendBackward(
  runtime: Runtime,
  options: AttentionOptions,
  data: AttentionData,
): Promise<Readonly<Partial<Record<GradientName, Float32Array>>>> {
  const spec = attentionSpec(options);
  return scoped(runtime, async (scope) => {
    const plan: AttentionPlan = scope.keep(await runtime.attention(options));
    const inputs = inputsOf(scope, spec, data);
    const dOut = scope.tensor(arranged(spec, "dOut", data.dOut), unwrittenOutput(scope, spec).shape);
    const rows = Object.entries(inputs).filter(([name]) => ["q", "k", "v", "qkv"].includes(name));
    const out: Readonly<Record<string, Tensor>> = {
      ...Object.fromEntries(rows.map(([name, tensor]) => [`d${name}`, scope.unwritten((tensor as Tensor).shape)])),
      ...(spec.bias !== "none" && { dBias: scope.unwritten(weightsShape(spec)) }),
    };
    await plan.compileBackward();
    plan.backward({ ...inputs, dOut } as AttentionGradientInputs, { out });
    const read: [string, Float32Array][] = await Promise.all(
      Object.entries(out).map(async ([name, tensor]): Promise<[string, Float32Array]> => [name, (await tensor.data()) as Float32Array]),
    );
    const parts = read.flatMap(([name, numbers]): [string, Float32Array][] => {
      if (name !== "dqkv") return [[name, numbers]];
      const [dq, dk, dv] = parted(spec, numbers);
      return [
        ["dq", dq!],
        ["dk", dk!],
        ["dv", dv!],
      ];
    });
    return Object.fromEntries(parts.map(([name, numbers]) => [name, name === "dBias" ? numbers : arranged(spec, name, numbers, true)]));
  });
}

/** Holds the GPU to the float64 CPU backend. */
export async function compareForward(context: CaseContext, options: AttentionOptions, seed: number, bound = ATTENTION_BOUND): Promise<void> {
  const data = drawAttention(options, seed);
  const expected = await attend(await context.cpu, options, data);
  checkClose(await attend(await context.runtime, options, data), expected, bound, `${JSON.stringify(options)}, seed ${seed}`);
}

/** The same for every gradient. */
export async function compareBackward(
  context: CaseContext,
  options: AttentionOptions,
  seed: number,
  bound = GRADIENT_BOUND,
  data = drawAttention(options, seed),
): Promise<void> {
  const expected = await attendBackward(await context.cpu, options, data);
  const actual = await attendBackward(await context.runtime, options, data);
  check(Object.keys(expected).length >= 3, "no gradients");
  checkGradients(actual, expected, norm(data.dOut), bound, `${JSON.stringify(options)}, seed ${seed}`);
}

/** Attention and its gradients against the definition, with the table that the weights stand for. */
export async function compareToDefinition(context: CaseContext, options: AttentionOptions, seed: number, given?: Runtime): Promise<void> {
  const spec = attentionSpec(options);
  const data = drawAttention(options, seed);
  const inputs = { ...data, weights: expandWeights(spec, data.weights) };
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  const runtime = given ?? (await context.runtime);
  checkClose(await attend(runtime, options, data), attentionReference(spec, inputs), ATTENTION_BOUND, what);
  const wanted = attentionGradientReference(spec, inputs, data.dOut);
  const { dq, dk, dv } = wanted;
  const all = { dq, dk, dv, ...(spec.bias !== "none" && { dBias: foldWeights(spec, data.weights.length, wanted.dBias) }) };
  const expected = Object.fromEntries(Object.entries(all).map(([name, values]) => [name, Float32Array.from(values)]));
  checkGradients(await attendBackward(runtime, options, data), expected, norm(data.dOut), GRADIENT_BOUND, what);
}

/** Below this share of the gradient that comes in, a gradient is zero but for rounding: of one token, or one feature. */
const NOTHING = 1e-6;

/** @param incoming the norm of `dOut`: what errors are measured by where nothing is left of it */
export function checkGradients(
  actual: Readonly<Partial<Record<GradientName, Float32Array>>>,
  expected: Readonly<Partial<Record<GradientName, Float32Array>>>,
  incoming: number,
  bound: number,
  what: string,
): void {
  for (const name of Object.keys(expected) as GradientName[]) {
    if (norm(expected[name]!) > NOTHING * incoming) checkClose(actual[name]!, expected[name]!, bound, `${name} of ${what}`);
    else check(norm(actual[name]!) <= NOTHING * incoming, `${name} of ${what}: ${norm(actual[name]!)} instead of nothing`);
  }
}

export function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
}
