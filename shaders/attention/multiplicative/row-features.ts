/**
 * Features of rows, for sums over positions that come after (Luo et al. 2021): φ(x_id) as it is, or for SIKF relative to the largest key m_d of
 * all: exp(k_jd − m_d) of keys, exp(q_id + m_d − max_d (q_id + m_d)) of queries. Rows from their sequence's length on get zero.
 *
 * Layout: queries [B·H, N, D] (or keys), states [heads of the dispatch, state] for m (KeyStateLayout), out [heads of the dispatch, N, D].
 * A workgroup does `rows` rows of one head. Workgroup → (head, row tile); lanes as in attention/query-features.ts, each with one row.
 * Bindings: 0 queries, 1 out, then those that there are of: states, lengths; then params.
 */
import { type ChunkedStates, exponentialOfSum, featureFunctions, wholeAndRest, type KernelFeatureMap } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, workgroupBytes } from "../../wgsl/kernel.ts";
import { partials } from "../../wgsl/lanes.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../../wgsl/lengths.ts";
import { loadVector, storeVector, vectorElement, vectorsOf, withinRow } from "../../wgsl/rows.ts";
import { LOWEST, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface RowFeaturesKernelSpec extends Omit<HeadShape, "valueDim">, Pick<ChunkedStates, "state"> {
  readonly featureMap: KernelFeatureMap;
  /** The tensor that the rows are of. */
  readonly of: "queries" | "keys";
  readonly variableLengths: boolean;
  /** Rows of a workgroup. */
  readonly rows: number;
  /** Lanes of a row. */
  readonly rowLanes: number;
}

type Tile = Pick<RowFeaturesKernelSpec, "rows" | "rowLanes">;

function largestOfLanes({ rows, rowLanes }: Tile) {
  return partials("f32", rows * rowLanes);
}

/** Bytes of workgroup memory of a row features kernel. */
export function rowFeaturesBytes(tile: Tile): number {
  return workgroupBytes([largestOfLanes(tile)]);
}

export function rowFeaturesKernel(spec: RowFeaturesKernelSpec): Kernel {
  const { headDim, rowLanes } = spec;
  const sikf = spec.featureMap === "sikf";
  const relative = sikf && spec.of === "queries";
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const masked = (value: string) => (headDim % 4 === 0 ? value : `select(vec4f(${LOWEST}), ${value}, ${withinRow("c", "D")})`);
  const body = wgsl`  let head = group / ${u32(rowTiles)};
  let bh = params.firstHead + head;
  let tokens = ${tokensOf(spec)};
  let column = lane % ROW_LANES;
  let row = group % ${u32(rowTiles)} * ROWS + lane / ROW_LANES;
#if ${relative}
  var largest = ${LOWEST};
  if (row < tokens) {
    for (var c = column; c < VECTORS; c += ROW_LANES) {
      let whole = ${masked("round(load_queries(bh * N + row, c)) + round(states[head * (STATE / 4u) + c])")};
      largest = max(largest, max(max(whole.x, whole.y), max(whole.z, whole.w)));
    }
  }
  partials[lane] = largest;
  workgroupBarrier();
  for (var i = 0u; i < ROW_LANES; i++) { largest = max(largest, partials[lane - column + i]); }
#endif
  if (row >= N) { return; }
  for (var c = column; c < VECTORS; c += ROW_LANES) {
    var feature = vec4f();
    if (row < tokens) {
      let x = load_queries(bh * N + row, c);
#if ${sikf}
      let maximum = states[head * (STATE / 4u) + c];
#endif
#if ${relative}
      let whole = round(x);
      let whole_maximum = round(maximum);
      feature = ${exponentialOfSum(wholeAndRest("x", "whole"), wholeAndRest("maximum", "whole_maximum"), "largest")};
#elif ${sikf}
      feature = exponential4(x - maximum);
#else
      feature = feature4(x);
#endif
    }
    store_out(head * N + row, c, feature);
  }
`;
  return makeKernel({
    id: "attention/multiplicative/row-features",
    label: `row features of ${spec.of} ${spec.featureMap} ${spec.rows}×${rowLanes}`,
    constants: spec,
    workgroupSize: spec.rows * rowLanes,
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "out", access: "read_write", element: vectorElement(headDim) },
      ...(sikf ? [{ name: "states", access: "read", element: "vec4f" } as const] : []),
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "outBase", ...lengthParams(spec)],
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const VECTORS = ${u32(vectorsOf(headDim))};
const ROWS = ${u32(spec.rows)};
const ROW_LANES = ${u32(rowLanes)};
const STATE = ${u32(spec.state.size)};`,
      largestOfLanes(spec),
      wgsl`${featureFunctions(spec.featureMap)}${lengthFunction(spec)}${loadVector("load_queries", "queries", headDim)}${storeVector("store_out", "out", headDim, false)}`,
    ],
    body,
  });
}
