import { normGradientKernel } from "../../../shaders/nn/norm-gradient.ts";
import { type NormRowsSpec, STATISTICS } from "../../../shaders/nn/norm-rows.ts";
import { normWeightGradientKernel } from "../../../shaders/nn/norm-weight-gradient.ts";
import { normKernel } from "../../../shaders/nn/norm.ts";
import { ELEMENT_BYTES, type Kernel } from "../../../shaders/wgsl/kernel.ts";
import { vectorsOf } from "../../../shaders/wgsl/rows.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { sliceBytes } from "../../program/ranges.ts";
import { forSlices } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { ceilPowerOfTwo, floorPowerOfTwo, mostLanes } from "../../program/workgroups.ts";
import type { Handles } from "../operation.ts";
import { chooseRowChunks, chunkSpans } from "../reductions/chunks.ts";
import { planSumsOfChunks } from "../reductions/plan.ts";
import type { NormGradientSpec, NormSpec, NormWeightGradientSpec } from "./spec.ts";

/** Operations of a number of a row, about. */
const FLOPS = { norm: 8, gradient: 11, weights: 5 } as const;

const LANES = 128;
/** Vectors that a lane holds, where a workgroup has lanes enough; and lanes of a row that read whole memory sectors. */
const LANE_VECTORS = 4;
const LEAST_ROW_LANES = 8;
/** Workgroup memory of a lane. */
const LANE_BYTES = ELEMENT_BYTES.f32 + ELEMENT_BYTES.vec2f;

/** Which lanes have a row. */
function rowLanes(limits: PlannerLimits, width: number): Pick<NormRowsSpec, "lanes" | "rowLanes"> {
  const most = floorPowerOfTwo(Math.min(mostLanes(limits), limits.maxComputeWorkgroupStorageSize / LANE_BYTES));
  const vectors = vectorsOf(width);
  const wanted = Math.max(ceilPowerOfTwo(vectors / LANE_VECTORS), Math.min(ceilPowerOfTwo(vectors), LEAST_ROW_LANES));
  const own = Math.min(wanted, most, 2 * LANES);
  return { lanes: Math.max(own, Math.min(LANES, most)), rowLanes: own };
}

/** Adds a kernel that goes through rows, in slices of what a binding holds. */
function planRows(
  program: ProgramBuilder,
  { kind, rows, width }: Pick<NormSpec, "kind" | "rows" | "width">,
  kernelOf: (lanes: NormRowsSpec) => Kernel,
  tensors: {
    readonly read: Handles;
    readonly written: Handles;
    readonly whole: Readonly<Record<string, Handle | undefined>>;
    readonly statistics: Handle;
  },
  flops: number,
): void {
  const lanes = rowLanes(program.limits, width);
  const kernel = kernelOf({ kind, width, ...lanes });
  const [rowBytes, statisticsBytes] = [width * FLOAT_BYTES, STATISTICS[kind] * FLOAT_BYTES];
  const writesStatistics = "out" in tensors.written;
  forSlices(program, "a row", rows, [rowBytes, statisticsBytes], (first, count, [slice, ofStatistics]) => {
    const each = (handles: Handles, use: "reads" | "writes") =>
      Object.fromEntries(Object.entries(handles).map(([name, buffer]) => [name, { buffer, slice, [use]: count * rowBytes }]));
    // Shared by all workgroups, and served from cache.
    const whole = Object.entries(tensors.whole).map(([name, buffer]) => [name, buffer && { buffer, reads: rowBytes }] as const);
    // Every lane reads those of its row, from cache, too.
    const moved = { [writesStatistics ? "writes" : "reads"]: count * statisticsBytes };
    program.dispatch({
      kernel,
      groups: Math.ceil(count / (lanes.lanes / lanes.rowLanes)),
      params: { firstRow: first, endRow: first + count },
      uses: {
        ...each(tensors.read, "reads"),
        ...each(tensors.written, "writes"),
        ...Object.fromEntries(whole),
        statistics: { buffer: tensors.statistics, slice: ofStatistics, ...moved },
      },
      flops: count * width * flops,
    });
  });
}

/** Adds the normalised rows of `x`, into `out`, with their `statistics`. */
export function planNorm(program: ProgramBuilder, spec: NormSpec, tensors: Handles): void {
  const { epsilon, bias } = spec;
  const { x, weight, out, statistics } = tensors as { x: Handle; weight: Handle; out: Handle; statistics: Handle };
  const handles = { read: { x }, written: { out }, whole: { weight, bias: tensors["bias"] }, statistics };
  planRows(program, spec, (rows) => normKernel({ ...rows, epsilon, bias }), handles, FLOPS.norm);
}

/** Adds the gradient in `x`, into `dX`. */
export function planNormGradient(program: ProgramBuilder, spec: NormGradientSpec, tensors: Handles): void {
  const { x, dOut, weight, statistics, dX } = tensors as { x: Handle; dOut: Handle; weight: Handle; statistics: Handle; dX: Handle };
  planRows(program, spec, normGradientKernel, { read: { x, dOut }, written: { dX }, whole: { weight }, statistics }, FLOPS.gradient);
}

/** Adds the gradients in `weight` and `bias`, into `dWeight` and `dBias`: of chunks of rows, and their sums. */
export function planNormWeightGradient(program: ProgramBuilder, spec: NormWeightGradientSpec, tensors: Handles, scratch: number): void {
  const { kind, rows, width, bias } = spec;
  const { x, dOut, statistics } = tensors as { x: Handle; dOut: Handle; statistics: Handle };
  const results = bias ? ["dWeight", "dBias"] : ["dWeight"];
  const shape = { matrices: 1, rows, columns: width };
  const chosen = chooseRowChunks(program, shape, results.length, scratch);
  const { chunks } = chosen;
  const sums = results.map((name) => (chunks === 1 ? tensors[name]! : program.temporary(`${name} of chunks`, chunks * width * FLOAT_BYTES)));
  const kernel = normWeightGradientKernel({ ...chosen.kernel, kind, bias });
  const statisticsBytes = STATISTICS[kind] * FLOAT_BYTES;
  for (const span of chunkSpans(program, x, shape, chosen)) {
    const { firstRow, slice } = span;
    const reads = span.rows * width * FLOAT_BYTES;
    const ofStatistics = slice && sliceBytes(program.limits, firstRow * statisticsBytes, (firstRow + span.rows) * statisticsBytes);
    program.dispatch({
      kernel,
      groups: span.groups,
      params: span.params,
      uses: {
        x: { buffer: x, slice, reads },
        dOut: { buffer: dOut, slice, reads },
        statistics: { buffer: statistics, slice: ofStatistics, reads: span.rows * statisticsBytes },
        ...Object.fromEntries(results.map((name, i) => [name, { buffer: sums[i]!, writes: span.sums * FLOAT_BYTES }])),
      },
      flops: span.rows * width * FLOPS.weights,
    });
  }
  if (chunks > 1) for (const [i, name] of results.entries()) planSumsOfChunks(program, { ...shape, rows: chunks }, sums[i]!, tensors[name]!);
}
