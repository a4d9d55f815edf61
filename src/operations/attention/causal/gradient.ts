/** The gradient of causal linear attention, from the steps of the forward direction and of the gradients that are not causal. */
import { efficientKeyGradientKernel, type EfficientKeyGradientKernelSpec } from "../../../../shaders/attention/causal/efficient-key-gradient.ts";
import { causalGradientBytes, causalGradientKernel } from "../../../../shaders/attention/causal/gradient.ts";
import { keyStateLayout } from "../../../../shaders/attention/feature-map.ts";
import { paddedToVec4 } from "../../../../shaders/wgsl/kernel.ts";
import type { Handle, ProgramBuilder } from "../../../program/builder.ts";
import { bytesOf, FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes } from "../../../program/workgroups.ts";
import { lengthsUse } from "../../lengths.ts";
import { addBiasGradient, type AttentionGradientTensors } from "../bias.ts";
import { gradientRows, groupBytes, groupRows, type HeadGroup, type Rows } from "../head-groups.ts";
import { addReduce, EXP_FLOPS, type LinearWork, type Reduction, STATISTICS, statesUse, statisticsRows } from "../linear/key-state.ts";
import { addKeyGradient, addQueryGradient } from "../linear/state-gradient.ts";
import { addProjection, projectedRows } from "../random-features.ts";
import type { AttentionShape } from "../spec.ts";
import { addCausalApply, addEarlierStates, addEfficientQueries, addScan, causalStates, causalWork, chooseCausalTile, seenRows } from "./chunks.ts";

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
  const random = featureMap === "favor+";
  const efficient = featureMap === "softmax";
  const rowFloats = STATISTICS + (random ? 4 * shape.features : efficient ? headDim : 0);
  const { work, groups, reduction } = causalWork(program, shape, tensors.lengths, scratch, rowFloats);
  const states = causalStates(work, reduction, "states");
  const statistics = statisticsRows(work);
  const { q, k, dq, dk, v: values, dOut: gradients, dv } = gradientRows(shape, tensors);
  const projected = random && {
    queries: projectedRows(work, "projectedQ"),
    keys: projectedRows(work, "projectedK"),
    dq: projectedRows(work, "projectedQGradient"),
    dk: projectedRows(work, "projectedKGradient"),
  };
  const relative = efficient ? projectedRows(work, "efficientQ") : undefined;
  const held = bytesOf(states, statistics.buffer, relative?.buffer, ...(projected ? Object.values(projected).map(({ buffer }) => buffer) : []));
  const accumulate = addBiasGradient(program, shape, tensors, scratch - held);
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
      addQueryGradient(work, reduction, group, { ...rows, states, out: rows.dq, within: reduction });
      addReduce(work, reduction, group, { keys: rows.queries, values: gradients, statistics }, states);
      addScan(work, reduction, group, states, { reverse: true });
      addKeyGradient(work, reduction, group, { ...rows, states, accumulate, within: reduction });
    }
    const several = states !== undefined;
    addCausalGradientWithinChunks(work, reduction, group, rows, { out: several, dv: several || accumulate });
    if (relative) addEfficientKeyGradient(work, reduction, group, { queries: q, efficient: relative, gradients: dq, keys: k, dk, states });
    if (projected) {
      addProjection(work, group, "queryGradients", { from: projected.dq, to: dq });
      addProjection(work, group, "keyGradients", { from: projected.dk, to: dk, keys: k });
    }
  }
}

/** Adds what the keys of Efficient Attention get through its queries: `gradients` are those of the latter. */
function addEfficientKeyGradient(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  rows: {
    readonly queries: Rows;
    readonly efficient: Rows;
    readonly gradients: Rows;
    readonly keys: Rows;
    readonly dk: Rows;
    readonly states: Handle | undefined;
  },
): void {
  const { program, shape, features } = work;
  const { states } = rows;
  // States without values, in the same scratch.
  const narrow: LinearWork = { ...work, shape: { ...shape, valueDim: 0 } };
  const sums: Reduction = { ...reduction, state: keyStateLayout(features, 0, true), usedBytes: 2 * features * FLOAT_BYTES };
  const lanes = elementwiseLanes(program.limits);
  const count = (group.count * reduction.chunks * paddedToVec4(features)) / 4;
  const bytes = groupBytes(shape, group, features);
  const add = (pass: EfficientKeyGradientKernelSpec["pass"]) => {
    const { length, variableLengths } = shape;
    const { chunks, chunkRows } = reduction;
    const kernel = efficientKeyGradientKernel({ length, headDim: features, variableLengths, state: sums.state, chunks, chunkRows, pass, lanes });
    const read = ["queries", "efficient", "gradients", ...(pass === "apply" ? (["keys"] as const) : [])] as const;
    const bound = [...read, ...(pass === "apply" ? (["dk"] as const) : [])].map(
      (name) => [name, groupRows(program, shape, group, kernel, name, rows[name])] as const,
    );
    program.dispatch({
      kernel,
      groups: Math.ceil(count / lanes),
      params: {
        firstHead: group.first,
        count,
        ...Object.fromEntries(bound.map(([name, { base }]) => [`${name}Base`, base])),
        heads: shape.heads,
      },
      uses: {
        ...Object.fromEntries(bound.map(([name, { use }]) => [name, { ...use, reads: bytes, writes: name === "dk" ? bytes : 0 }])),
        ...(states !== undefined && {
          states: { ...statesUse(states, sums, group, chunks), [pass === "reduce" ? "writes" : "reads"]: 32 * count },
        }),
        ...lengthsUse(shape, work.lengths),
      },
      flops: group.count * shape.length * features * (EXP_FLOPS + 3),
    });
  };
  if (states !== undefined) {
    add("reduce");
    addScan(narrow, sums, group, states, { reverse: true });
  }
  add("apply");
}

/** Tensors of the way back, of a group's rows. */
export interface CausalGradientRows {
  readonly queries: Rows;
  readonly keys: Rows;
  readonly values: Rows;
  readonly gradients: Rows;
  readonly statistics: Rows;
  readonly dq: Rows;
  readonly dk: Rows;
  readonly dv: Rows;
}

/** Adds the gradients of pairs of rows in the same chunk, on top of those of other chunks where there are several. */
export function addCausalGradientWithinChunks(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  rows: CausalGradientRows,
  accumulate: { readonly out: boolean; readonly dv: boolean },
): void {
  const { queries, keys, values, gradients } = rows;
  addSide(work, reduction, group, rows, { of: "queries", own: [queries, gradients], others: [keys, values], out: rows.dq, accumulate });
  addSide(work, reduction, group, rows, { of: "keys", own: [keys, values], others: [queries, gradients], out: rows.dk, accumulate });
}

function addSide(
  work: LinearWork,
  { chunkRows }: Reduction,
  group: HeadGroup,
  rows: CausalGradientRows,
  side: {
    readonly of: "queries" | "keys";
    readonly own: readonly [Rows, Rows];
    readonly others: readonly [Rows, Rows];
    readonly out: Rows;
    readonly accumulate: { readonly out: boolean; readonly dv: boolean };
  },
): void {
  const { program, shape, featureMap, features } = work;
  const { length, valueDim, variableLengths } = shape;
  const { of, own, others, accumulate } = side;
  const ofKeys = of === "keys";
  const widest = { width: Math.max(features, valueDim), narrow: true };
  const tile = chooseCausalTile(
    work,
    chunkRows,
    (candidate) => causalGradientBytes({ ...candidate, headDim: features, valueDim, chunkRows }),
    widest,
  );
  const kernel = causalGradientKernel({ length, headDim: features, valueDim, featureMap, variableLengths, chunkRows, of, accumulate, ...tile });
  const bind = (binding: string, what: Rows) => groupRows(program, shape, group, kernel, binding, what);
  const bound = {
    queries: bind("queries", own[0]),
    others: bind("others", others[0]),
    rowValues: bind("rowValues", own[1]),
    otherValues: bind("otherValues", others[1]),
    statistics: bind("statistics", rows.statistics),
    out: bind("out", side.out),
    ...(ofKeys && { dv: bind("dv", rows.dv) }),
  };
  const seen = seenRows(length, chunkRows, tile);
  // Keys go through their others twice.
  const otherRows = group.count * (ofKeys ? 2 * seen.later : seen.all);
  const rowBytes = groupBytes(shape, group, features);
  const valueBytes = groupBytes(shape, group, valueDim);
  const moved: Readonly<Record<keyof typeof bound, { readonly reads?: number; readonly writes?: number }>> = {
    queries: { reads: rowBytes },
    others: { reads: otherRows * features * FLOAT_BYTES },
    rowValues: { reads: valueBytes },
    otherValues: { reads: otherRows * valueDim * FLOAT_BYTES },
    statistics: { reads: ofKeys ? group.count * seen.later * STATISTICS * FLOAT_BYTES : groupBytes(shape, group, STATISTICS) },
    out: { reads: accumulate.out ? rowBytes : 0, writes: rowBytes },
    dv: { reads: accumulate.dv ? valueBytes : 0, writes: valueBytes },
  };
  program.dispatch({
    kernel,
    groups: group.count * Math.ceil(length / tile.rows),
    params: {
      firstHead: group.first,
      ...Object.fromEntries(Object.entries(bound).map(([name, { base }]) => [`${name}Base`, base])),
      heads: shape.heads,
    },
    uses: {
      ...Object.fromEntries(Object.entries(bound).map(([name, { use }]) => [name, { ...use, ...moved[name as keyof typeof bound] }])),
      ...lengthsUse(shape, work.lengths),
    },
    flops: otherRows * tile.rows * (EXP_FLOPS * features + 2 * (features + valueDim)),
  });
}
