/** The gradient of causal linear attention: as without causality where other chunks are concerned, and by products of its rows within a chunk. */
import { efficientKeyGradientKernel, type EfficientKeyGradientKernelSpec } from "../../../../shaders/attention/causal/efficient-key-gradient.ts";
import { causalGradientBytes, causalGradientKernel } from "../../../../shaders/attention/causal/gradient.ts";
import { PATCH_COLUMNS, PATCH_WIDTH } from "../../../../shaders/attention/causal/patches.ts";
import { causalPatchesGradientKernel, PATCHES_GRADIENT_LANES, patchesGradientBytes } from "../../../../shaders/attention/causal/patches-gradient.ts";
import { keyStateLayout } from "../../../../shaders/attention/feature-map.ts";
import { paddedToVec4 } from "../../../../shaders/wgsl/kernel.ts";
import type { Handle, ProgramBuilder } from "../../../program/builder.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes, mostLanes } from "../../../program/workgroups.ts";
import { addBiasGradient, type AttentionGradientTensors } from "../bias.ts";
import { addHeadKernel, gradientRows, type HeadGroup, type NamedRows, type Rows, stridesOf } from "../head-groups.ts";
import {
  addReduce,
  EXP_FLOPS,
  kernelShape,
  type LinearWork,
  type MovedBytes,
  type Reduction,
  STATISTICS,
  statesUse,
  statisticsRows,
} from "../linear/key-state.ts";
import { addKeyGradient, addQueryGradient } from "../linear/state-gradient.ts";
import { addProjection, projectedRows } from "../projection.ts";
import { type AttentionShape, isProjected } from "../spec.ts";
import {
  addCausalApply,
  addEarlierStates,
  addEfficientQueries,
  addScan,
  causalStates,
  causalWork,
  chooseCausalTile,
  levelRows,
  seenRows,
} from "./chunks.ts";

/**
 * Adds the gradient of causal linear attention. Queries get theirs from the states of earlier chunks, keys and values from the states of the
 * queries of later ones, and all from the rows of their own chunk.
 */
export function planCausalAttentionGradient(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: AttentionGradientTensors,
  scratch: number,
): void {
  const { featureMap, headDim } = shape;
  const made = isProjected(shape);
  const efficient = featureMap === "softmax";
  const rowFloats = STATISTICS + (made ? 4 * shape.features : efficient ? headDim : 0);
  const { work, groups, reduction } = causalWork(program, shape, tensors.lengths, scratch, rowFloats);
  const scratchLeft = program.scratchLeft(scratch);
  const states = causalStates(work, reduction, "states");
  const statistics = statisticsRows(work);
  const { q, k, dq, dk, v: values, dOut: gradients, dv } = gradientRows(shape, tensors);
  const projected = made && {
    queries: projectedRows(work, "projectedQ"),
    keys: projectedRows(work, "projectedK"),
    dq: projectedRows(work, "projectedQGradient"),
    dk: projectedRows(work, "projectedKGradient"),
  };
  const relative = efficient ? projectedRows(work, "efficientQ") : undefined;
  const accumulate = addBiasGradient(program, shape, tensors, scratchLeft());
  for (const group of groups) {
    if (projected) {
      addProjection(work, group, "keys", { from: k, to: projected.keys });
      addProjection(work, group, "queries", { from: q, to: projected.queries });
    }
    const rows = { ...(projected || { queries: relative ?? q, keys: k, dq, dk }), values, gradients, statistics, dv };
    if (states !== undefined) addEarlierStates(work, reduction, group, { ...rows, states });
    if (relative) addEfficientQueries(work, reduction, group, { queries: q, keys: k, states, out: relative });
    addCausalApply(work, reduction, group, { ...rows, states }, { gradients, statistics });
    if (states !== undefined) {
      addQueryGradient(work, reduction, group, { ...rows, states, out: rows.dq, chunked: true });
      addReduce(work, reduction, group, { keys: rows.queries, values: gradients, statistics }, states);
      addScan(work, reduction, group, states, { reverse: true });
      addKeyGradient(work, reduction, group, { ...rows, states, accumulate, chunked: true });
    }
    const several = states !== undefined;
    const accumulated = { out: several, dv: several || accumulate };
    if (!addPatchesGradient(work, reduction, group, rows, accumulated)) {
      const [ofQueries, ofKeys] = [[rows.queries, gradients] as const, [rows.keys, values] as const];
      const common = { rows, accumulate: accumulated };
      addGradientWithinChunks(work, reduction, group, { ...common, of: "queries", own: ofQueries, others: ofKeys, out: rows.dq });
      addGradientWithinChunks(work, reduction, group, { ...common, of: "keys", own: ofKeys, others: ofQueries, out: rows.dk });
    }
    if (relative) addEfficientKeyGradient(work, reduction, group, { queries: q, efficient: relative, gradients: dq, keys: k, dk, states });
    if (projected) {
      addProjection(work, group, "queryGradients", { from: projected.dq, to: dq, rows: q });
      addProjection(work, group, "keyGradients", { from: projected.dk, to: dk, rows: k });
    }
  }
}

/** Adds what the keys of Efficient Attention get through its queries: `gradients` are those of the latter. */
function addEfficientKeyGradient(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  rows: NamedRows<"queries" | "efficient" | "gradients" | "keys" | "dk"> & { readonly states: Handle | undefined },
): void {
  const { shape, features } = work;
  const { length, variableLengths } = shape;
  const { chunks, chunkRows } = reduction;
  const { states } = rows;
  // States without values, in the same scratch.
  const narrow: LinearWork = { ...work, shape: { ...shape, valueDim: 0 } };
  const sums: Reduction = { ...reduction, state: keyStateLayout(features, 0, true), usedBytes: 2 * features * FLOAT_BYTES };
  const vectors = paddedToVec4(features) / 4;
  const base = { length, headDim: features, variableLengths, state: sums.state, chunks, chunkRows, lanes: elementwiseLanes(work.program.limits) };
  const add = (pass: EfficientKeyGradientKernelSpec["pass"], moved: MovedBytes) => {
    const bound = {
      queries: { ...rows.queries, reads: length },
      efficient: { ...rows.efficient, reads: length },
      gradients: { ...rows.gradients, reads: length },
      ...(pass === "apply" && { keys: { ...rows.keys, reads: length }, dk: { ...rows.dk, reads: length, writes: length } }),
    };
    addHeadKernel(work, group, efficientKeyGradientKernel({ ...base, pass, strides: stridesOf(bound) }), {
      elements: chunks * vectors,
      rows: bound,
      uses: { states: statesUse(states, sums, group, chunks, moved) },
      flops: length * features * (EXP_FLOPS + 3),
    });
  };
  if (states !== undefined) {
    add("reduce", { writes: 32 * vectors });
    addScan(narrow, sums, group, states, { reverse: true });
  }
  add("apply", { reads: 32 * vectors });
}

/** How many vectors go through workgroup memory at a time, from the best to what takes the least memory. */
const PATCH_DEPTHS = [16, 8] as const;

/** Adds the gradients from pairs of rows in the same chunk by one kernel, where chunks and the device are made for it: if not, it adds nothing, and is `false`. */
function addPatchesGradient(
  work: LinearWork,
  { chunkRows }: Reduction,
  group: HeadGroup,
  rows: NamedRows<"queries" | "keys" | "values" | "gradients" | "statistics" | "dq" | "dk" | "dv">,
  accumulate: { readonly out: boolean; readonly dv: boolean },
): boolean {
  const {
    program: { limits },
    features,
    shape,
  } = work;
  const { length, valueDim } = shape;
  if (chunkRows !== PATCH_WIDTH || Math.max(features, valueDim) > PATCH_WIDTH || 2 * length <= PATCH_WIDTH) return false;
  const depth = PATCH_DEPTHS.find(
    (most) => patchesGradientBytes({ depth: most, headDim: features, valueDim }) <= limits.maxComputeWorkgroupStorageSize,
  );
  if (!depth || PATCHES_GRADIENT_LANES > mostLanes(limits)) return false;
  const groups = Math.ceil(length / PATCH_WIDTH);
  const reads = groups * PATCH_WIDTH;
  const { queries, keys, values, gradients, statistics, dq, dk, dv } = rows;
  const bound = {
    queries: { ...queries, reads },
    keys: { ...keys, reads: reads + levelRows(work, { rows: PATCH_WIDTH }) },
    values: { ...values, reads },
    gradients: { ...gradients, reads },
    // Each lane of a row reads them.
    statistics: { ...statistics, reads: reads * PATCH_COLUMNS },
    dq: { ...dq, reads: accumulate.out ? length : 0, writes: length },
    dk: { ...dk, reads: accumulate.out ? length : 0, writes: length },
    dv: { ...dv, reads: accumulate.dv ? length : 0, writes: length },
  };
  const kernel = causalPatchesGradientKernel({ ...kernelShape(work), depth, accumulate, strides: stridesOf(bound) });
  // With gradients in one tensor it binds fewer: every layout takes the same kernels.
  if (Object.keys(bound).length + Number(shape.variableLengths) > limits.maxStorageBuffersPerShaderStage) return false;
  addHeadKernel(work, group, kernel, {
    groups,
    rows: bound,
    flops: 2 * EXP_FLOPS * features * length + PATCH_WIDTH * length * (6 * features + 4 * valueDim),
  });
  return true;
}

/** Adds the gradients of queries or of keys and values from pairs of rows in the same chunk. */
function addGradientWithinChunks(
  work: LinearWork,
  { chunkRows }: Reduction,
  group: HeadGroup,
  side: {
    readonly of: "queries" | "keys";
    readonly own: readonly [Rows, Rows];
    readonly others: readonly [Rows, Rows];
    readonly rows: NamedRows<"statistics" | "dv">;
    readonly out: Rows;
    /** Whether they are added to what is there: `out` those of queries or keys, `dv` those of values. */
    readonly accumulate: { readonly out: boolean; readonly dv: boolean };
  },
): void {
  const { features } = work;
  const { length, valueDim } = work.shape;
  const { of, own, others, rows, out, accumulate } = side;
  const tile = chooseCausalTile(work, chunkRows, causalGradientBytes, { width: Math.max(features, valueDim), gradient: true });
  const seen = seenRows(length, chunkRows, tile);
  // Keys go through their others twice.
  const otherRows = of === "keys" ? 2 * seen.later : seen.all;
  const levels = levelRows(work, tile);
  const bound = {
    queries: { ...own[0], reads: length + (of === "keys" ? levels : 0) },
    others: { ...others[0], reads: otherRows + (of === "keys" ? 0 : levels) },
    rowValues: { ...own[1], reads: length },
    otherValues: { ...others[1], reads: otherRows },
    statistics: { ...rows.statistics, reads: of === "keys" ? seen.later : length },
    out: { ...out, reads: accumulate.out ? length : 0, writes: length },
    dv: of === "keys" ? { ...rows.dv, reads: accumulate.dv ? length : 0, writes: length } : undefined,
  };
  addHeadKernel(work, group, causalGradientKernel({ ...kernelShape(work), chunkRows, of, accumulate, ...tile, strides: stridesOf(bound) }), {
    groups: Math.ceil(length / tile.rows),
    rows: bound,
    flops: EXP_FLOPS * features * (length + otherRows) + 2 * (features + valueDim) * otherRows * tile.rows,
  });
}
