/**
 * Gradient of the mean cross-entropy (nn/cross-entropy.ts) for the logits:
 *
 *   dx_c = dLoss / count · (exp(x_c − m − l) − s_c),   s_c = (1 − ε)·[c = t] + ε/C,
 *
 * 0 in rows that do not count, NaN where l is. Of the target it is ε − ε/C − (1 − exp(y)) with y = x_t − m − l, and 1 − exp(y) comes from a series near
 * y = 0, so that rows that are sure have gradients as precise as others.
 *
 * Layout: logits [rows, C], targets [rows], statistics (m, l) [rows], rowCounts, whose first is how many count, dLoss [1] → dLogits [rows, C].
 * A workgroup does a chunk of the columns of ROWS rows, ROW_LANES lanes a row; a lane does up to LANE_VECTORS vectors.
 * Bindings: 0 logits, 1 targets, 2 statistics, 3 rowCounts, 4 dLoss, 5 dLogits, 6 params.
 */
import { type ClassRowsSpec, classRowBindings, classRowDeclarations } from "./class-rows.ts";
import { EXPONENTIAL4 } from "../wgsl/exponential.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { NON_FINITE } from "../wgsl/non-finite.ts";
import { storeVector, vectorElement, vectorsOf } from "../wgsl/rows.ts";
import { f32, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

/** Vectors of a lane. */
const LANE_VECTORS = 4;

/** Workgroups that share rows. */
export function columnChunks({ classes, rowLanes }: ClassRowsSpec): number {
  return Math.ceil(vectorsOf(classes) / (rowLanes * LANE_VECTORS));
}

/** `fn lost4(y: vec4f)`: 1 − exp(y) for −½ ≤ y ≤ 0, by nine terms of its series. */
const LOST4 = wgsl`
fn lost4(y: vec4f) -> vec4f {
  var sum = vec4f(1.0);
${unroll([9, 8, 7, 6, 5, 4, 3, 2], (n) => `  sum = fma(sum * y, vec4f(${f32(1 / n)}), vec4f(1.0));`)}
  return -y * sum;
}
`;

export function crossEntropyGradientKernel(spec: ClassRowsSpec): Kernel {
  const { classes, rowLanes } = spec;
  const body = wgsl`  let local_row = group / CHUNKS * ROWS + lane / ROW_LANES;
  if (local_row >= params.rows) { return; }
  let row = params.firstRow + local_row;
  let wanted = targets[row - params.targetsBase];
  let known = statistics[row - params.statisticsBase];
  let counts_here = wanted < CLASSES;
  let factor = dLoss[0] / f32(max(rowCounts[0], 1u));
  let is_none = (bitcast<u32>(known.y) & INFINITE) == INFINITE;
  let begin = group % CHUNKS * CHUNK;
  let end = min(begin + CHUNK, VECTORS);
  for (var column = begin + lane % ROW_LANES; column < end; column += ROW_LANES) {
    // Far below, where −∞ is, too, the exponential is 0.
    let below = max((load_logits(row, column) - known.x) - known.y, vec4f(-100.0));
    let p = exponential4(below);
    let is_target = vec4u(4u * column) + vec4u(0u, 1u, 2u, 3u) == vec4u(wanted);
    let g = factor * select(p - vec4f(SPREAD), vec4f(LACK) - select(1.0 - p, lost4(below), below > vec4f(-0.5)), is_target);
    store_dLogits(row, column, select(vec4f(), select(g, vec4f(of_bits(NO_NUMBER)), is_none), counts_here));
  }
`;
  return makeKernel({
    id: "nn/cross-entropy-gradient",
    label: `cross-entropy gradient of ${classes} classes`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      ...classRowBindings(spec),
      { name: "statistics", access: "read", element: "vec2f" },
      { name: "rowCounts", access: "read", element: "u32" },
      { name: "dLoss", access: "read", element: "f32" },
      { name: "dLogits", access: "read_write", element: vectorElement(classes) },
    ],
    params: ["rows", "firstRow", "logitsBase", "targetsBase", "statisticsBase", "dLogitsBase"],
    declarations: wgsl`${classRowDeclarations(spec)}
const CHUNK = ${u32(rowLanes * LANE_VECTORS)};
const CHUNKS = ${u32(columnChunks(spec))};
${NON_FINITE}${EXPONENTIAL4}${LOST4}${storeVector("store_dLogits", "dLogits", classes, false)}`,
    body,
  });
}
