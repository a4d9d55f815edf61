/** Attention with two feature maps, before and after a constant is added to all keys. */
import type { AttentionPlan, Runtime } from "../../src/index.ts";
import { relativeError } from "../compare.ts";
import { normal } from "../random.ts";
import { PlanCache, Scope, type Task } from "./task.ts";

const LENGTH = 128;
/** Few channels, and entries around ±2: attention that picks some tokens out, as trained heads do. */
const HEAD_DIM = 4;
const SPREAD = 2;

export type ShiftMap = "sikf" | "elu+1";

export interface ShiftInput {
  /** What is added to every entry of every key. */
  readonly shift: number;
}

export interface ShiftOutput {
  /** The first channel of the output, `[LENGTH]`, where nothing was added. */
  readonly sikfBefore: Float32Array;
  readonly eluBefore: Float32Array;
  readonly sikf: Float32Array;
  readonly elu: Float32Array;
  /** ‖after − before‖ / ‖before‖, over all channels. */
  readonly sikfChange: number;
  readonly eluChange: number;
}

const plans = new PlanCache<AttentionPlan>();

export const shift: Task<ShiftInput, never, ShiftOutput> = async (runtime, { shift: by }) => {
  const { q, k, v } = INPUTS;
  const moved = k.map((value) => value + by);
  const [sikfBefore, sikf] = [await attend(runtime, "sikf", { q, k, v }), await attend(runtime, "sikf", { q, k: moved, v })];
  const [eluBefore, elu] = [await attend(runtime, "elu+1", { q, k, v }), await attend(runtime, "elu+1", { q, k: moved, v })];
  return {
    sikfBefore: channel(sikfBefore),
    eluBefore: channel(eluBefore),
    sikf: channel(sikf),
    elu: channel(elu),
    sikfChange: relativeError(sikf, sikfBefore),
    eluChange: relativeError(elu, eluBefore),
  };
};

interface Inputs {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** Queries and keys wander slowly, so that neighbours have much in common and the curves are smooth enough to look at. */
const INPUTS: Inputs = { q: wander(41, SPREAD), k: wander(42, SPREAD), v: wander(43, 1) };

function wander(seed: number, spread: number): Float32Array {
  const random = normal(seed);
  const memory = 0.9;
  const data = new Float32Array(LENGTH * HEAD_DIM);
  for (let i = 0; i < data.length; i++) {
    const before = i < HEAD_DIM ? random() : data[i - HEAD_DIM]!;
    data[i] = memory * before + Math.sqrt(1 - memory ** 2) * random();
  }
  return data.map((value) => spread * value);
}

async function attend(runtime: Runtime, featureMap: ShiftMap, { q, k, v }: Inputs): Promise<Float32Array> {
  const options = { heads: 1, length: LENGTH, headDim: HEAD_DIM, featureMap };
  const plan = await plans.get(runtime, options, () => runtime.attention(options));
  const scope = new Scope();
  try {
    const tensor = (data: Float32Array) => scope.hold(runtime.tensor(data, [1, 1, LENGTH, HEAD_DIM]));
    return await scope.hold(plan.run({ q: tensor(q), k: tensor(k), v: tensor(v) })).data();
  } finally {
    scope.dispose();
  }
}

function channel(output: Float32Array): Float32Array {
  return Float32Array.from({ length: LENGTH }, (_, n) => output[n * HEAD_DIM]!);
}
