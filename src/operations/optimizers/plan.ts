import { adamWKernel } from "../../../shaders/nn/adam-w.ts";
import { averageKernel } from "../../../shaders/nn/average.ts";
import { guardKernel } from "../../../shaders/nn/guard.ts";
import { HISTORY_COLUMNS, recordKernel } from "../../../shaders/nn/record.ts";
import { sgdKernel } from "../../../shaders/nn/sgd.ts";
import { sumOfSquaresKernel } from "../../../shaders/nn/sum-of-squares.ts";
import type { ElementsSpec } from "../../../shaders/nn/elements.ts";
import { ELEMENT_BYTES, type Kernel } from "../../../shaders/wgsl/kernel.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { type Slice, sliceBytes } from "../../program/ranges.ts";
import { spansOf } from "../../program/slices.ts";
import { FLOAT_BYTES, sum, WORD_BYTES } from "../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo, mostLanes } from "../../program/workgroups.ts";
import type { Handles } from "../operation.ts";
import type { AdamWSpec, AverageSpec, RecordSpec, SgdSpec, SumOfSquaresSpec } from "./spec.ts";

/** Elements of arrays side by side, and where they lie in each. */
interface ArraySlice {
  readonly first: number;
  readonly count: number;
  readonly slice: Slice;
}

/** Bytes of an element of arrays of so many float32: four at a time, where they are whole vectors. */
function elementBytes(size: number): number {
  return size % 4 === 0 ? ELEMENT_BYTES.vec4f : FLOAT_BYTES;
}

/** All of an array of so many float32, in slices of what a binding holds, each of which starts where its elements do. */
function arraySlices(limits: PlannerLimits, size: number): readonly ArraySlice[] {
  const unit = elementBytes(size);
  const alignment = Math.max(limits.minStorageBufferOffsetAlignment / unit, 1);
  const count = (size * FLOAT_BYTES) / unit;
  const most = Math.floor(limits.maxStorageBufferBindingSize / unit);
  return spansOf(count, count <= most ? count : most - (most % alignment)).map((span) => ({
    ...span,
    slice: sliceBytes(limits, span.first * unit, (span.first + span.count) * unit),
  }));
}

/** Lanes of a workgroup of sums, where it has the memory for them. */
const SUM_LANES = 256;
/** Bytes of workgroup memory of a lane. */
const LANE_BYTES = ELEMENT_BYTES.vec2f;
/** Workgroups that fill a large GPU; what a lane takes before it is worth another workgroup, and the most that it takes. */
const ENOUGH_GROUPS = 1024;
const LEAST_OF_LANE = 4;
const MOST_OF_LANE = 32;

/** Adds the sum of squares of `x` into `out`: a sum for each workgroup, and theirs. */
export function planSumOfSquares(program: ProgramBuilder, { size }: SumOfSquaresSpec, { x, out }: NamedHandles<"x" | "out">): void {
  const { limits } = program;
  const lanes = floorPowerOfTwo(Math.min(SUM_LANES, mostLanes(limits), limits.maxComputeWorkgroupStorageSize / LANE_BYTES));
  const slices = arraySlices(limits, size);
  const elements = sum(slices, ({ count }) => count);
  const share = lanes * Math.min(MOST_OF_LANE, Math.max(LEAST_OF_LANE, Math.ceil(elements / lanes / ENOUGH_GROUPS)));
  const groupsOf = (count: number) => Math.ceil(count / share);
  const groups = sum(slices, ({ count }) => groupsOf(count));
  const sums = groups === 1 ? out : program.temporary("sums of squares", groups * FLOAT_BYTES);
  const kernel = sumOfSquaresKernel({ lanes, source: elementBytes(size) === FLOAT_BYTES ? "numbers" : "vectors" });
  let first = 0;
  for (const { count, slice } of slices) {
    const own = groupsOf(count);
    program.dispatch({
      kernel,
      groups: own,
      params: { first, share, count },
      uses: { source: { buffer: x, slice, reads: count * elementBytes(size) }, out: { buffer: sums, writes: own * FLOAT_BYTES } },
      flops: (2 * count * elementBytes(size)) / FLOAT_BYTES,
    });
    first += own;
  }
  if (groups === 1) return;
  program.dispatch({
    kernel: sumOfSquaresKernel({ lanes, source: "sums" }),
    groups: 1,
    params: { first: 0, share: groups, count: groups },
    uses: { source: { buffer: sums, reads: groups * FLOAT_BYTES }, out: { buffer: out, writes: FLOAT_BYTES } },
    flops: groups,
  });
}

/** Adds the look at `norm` and `loss`, into `health`. */
export function planGuard(program: ProgramBuilder, { norm, loss, clock, health }: NamedHandles<"norm" | "loss" | "clock" | "health">): void {
  program.dispatch({
    kernel: guardKernel(),
    groups: 1,
    uses: {
      norm: { buffer: norm, reads: WORD_BYTES },
      loss: { buffer: loss, reads: WORD_BYTES },
      clock: { buffer: clock, reads: WORD_BYTES },
      health: { buffer: health, reads: 2 * WORD_BYTES, writes: 2 * WORD_BYTES },
    },
    flops: 0,
  });
}

/** Operations on each parameter, about. */
const FLOPS = { adamW: 20, sgd: 8, average: 3 } as const;

export function planAdamW(program: ProgramBuilder, spec: AdamWSpec, tensors: Handles): void {
  const { size, beta1, beta2, epsilon, groups, clipNorm, rateIndex } = spec;
  const kernelOf = (arrays: ElementsSpec) => adamWKernel({ ...arrays, beta1, beta2, epsilon, groups, clipNorm, rateIndex });
  planArrays(program, size, kernelOf, tensors, { read: ["gradients"], changed: ["parameters", "mean", "square"], rates: 3, flops: FLOPS.adamW });
}

export function planSgd(program: ProgramBuilder, spec: SgdSpec, tensors: Handles): void {
  const { size, momentum, nesterov, groups, clipNorm, rateIndex } = spec;
  const kernelOf = (arrays: ElementsSpec) => sgdKernel({ ...arrays, momentum, nesterov, groups, clipNorm, rateIndex });
  const changed = ["parameters", ...(momentum === 0 ? [] : ["momentum"])];
  planArrays(program, size, kernelOf, tensors, { read: ["gradients"], changed, rates: 1, flops: FLOPS.sgd });
}

export function planAverage(program: ProgramBuilder, { size, decay }: AverageSpec, tensors: Handles): void {
  const kernelOf = (arrays: ElementsSpec) => averageKernel({ ...arrays, decay });
  planArrays(program, size, kernelOf, tensors, { read: ["parameters"], changed: ["average"], rates: 0, flops: FLOPS.average });
}

/** Adds a kernel that goes through arrays side by side. The few numbers that all lanes read are served from cache: they count once. */
function planArrays(
  program: ProgramBuilder,
  size: number,
  kernelOf: (arrays: ElementsSpec) => Kernel,
  tensors: Handles,
  work: { readonly read: readonly string[]; readonly changed: readonly string[]; readonly rates: number; readonly flops: number },
): void {
  const { limits } = program;
  const bytes = elementBytes(size);
  const kernel = kernelOf({ lanes: elementwiseLanes(limits), vectors: bytes !== FLOAT_BYTES });
  const small = (buffer: Handle | undefined, words: number): BindingUse | undefined => buffer && { buffer, reads: words * WORD_BYTES };
  for (const { first, count, slice } of arraySlices(limits, size)) {
    const array = (name: string, writes: number) => [name, { buffer: tensors[name]!, slice, reads: count * bytes, writes }] as const;
    program.dispatch({
      kernel,
      elements: count,
      params: { first },
      uses: {
        ...Object.fromEntries([...work.read.map((name) => array(name, 0)), ...work.changed.map((name) => array(name, count * bytes))]),
        norm: small(tensors["norm"], 1),
        rates: small(tensors["rates"], work.rates),
        health: small(tensors["health"], 1),
      },
      flops: (count * bytes * work.flops) / FLOAT_BYTES,
    });
  }
}

/** Adds the row of a step to its history. */
export function planRecord(program: ProgramBuilder, { isFirst, isLast, counts }: RecordSpec, tensors: Handles): void {
  const words = (name: string, count: number) => tensors[name] && { buffer: tensors[name], reads: count * WORD_BYTES };
  program.dispatch({
    kernel: recordKernel({ isFirst, isLast, counts }),
    groups: 1,
    uses: {
      loss: words("loss", 1),
      clock: words("clock", 1),
      history: { buffer: tensors["history"]!, reads: isFirst ? 0 : HISTORY_COLUMNS * FLOAT_BYTES, writes: HISTORY_COLUMNS * FLOAT_BYTES },
      counts: words("counts", 2),
      norm: words("norm", 1),
      health: words("health", 1),
    },
    flops: 0,
  });
}
