/**
 * Features of rows, for sums over positions that come after (Luo et al. 2021): φ(x_id) as it is, or for SIKF relative to the largest key m_d of
 * all: exp(k_jd − m_d) of keys, exp(q_id + m_d − max_d (q_id + m_d)) of queries. Rows from their sequence's length on get zero.
 *
 * Layout: queries [B·H, N, D] (or keys), states [heads of the dispatch, state] for m (KeyStateLayout), out [heads of the dispatch, N, D].
 * A workgroup does `rows` rows of one head. Workgroup → (head, row tile); lanes as in query-features.ts, a row of a lane each.
 * Bindings: 0 queries, 1 out, then those that there are of: states, lengths; then params.
 */
import { featureFunctions, type KernelFeatureMap, type KeyStateLayout } from "../feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes, paddedToVec4 } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams } from "../../wgsl/lengths.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { LOWEST, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface RowFeaturesKernelSpec {
  /** N */
  readonly length: number;
  /** D */
  readonly headDim: number;
  readonly featureMap: KernelFeatureMap;
  readonly of: "queries" | "keys";
  readonly state: KeyStateLayout;
  readonly variableLengths: boolean;
  readonly rows: number;
  readonly rowLanes: number;
}

/** Bytes of workgroup memory. */
export function rowFeaturesBytes({ rows, rowLanes }: Pick<RowFeaturesKernelSpec, "rows" | "rowLanes">): number {
  return workgroupBytes(4 * rows * rowLanes);
}

export function rowFeaturesKernel(spec: RowFeaturesKernelSpec): Kernel {
  const { headDim, rowLanes } = spec;
  const sikf = spec.featureMap === "sikf";
  const relative = sikf && spec.of === "queries";
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const masked = (value: string) =>
    headDim % 4 === 0 ? value : `select(vec4f(${LOWEST}), ${value}, vec4u(4u * c) + vec4u(0u, 1u, 2u, 3u) < vec4u(D))`;
  const body = wgsl`  let head = group / ${u32(rowTiles)};
  let bh = params.firstHead + head;
  let tokens = ${spec.variableLengths ? "length_of(bh)" : "N"};
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
      feature = exponential4((whole + whole_maximum - largest) + ((x - whole) + (maximum - whole_maximum)));
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
    label: `row features of ${spec.of} ${spec.featureMap} ${spec.rows}×${rowLanes}`,
    workgroupSize: spec.rows * rowLanes,
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "out", access: "read_write", element: vectorElement(headDim) },
      ...(sikf ? [{ name: "states", access: "read", element: "vec4f" } as const] : []),
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "outBase", ...lengthParams(spec)],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const VECTORS = ${u32(paddedToVec4(headDim) / 4)};
const ROWS = ${u32(spec.rows)};
const ROW_LANES = ${u32(rowLanes)};
const STATE = ${u32(spec.state.size)};
var<workgroup> partials: array<f32, ${u32(spec.rows * rowLanes)}>;
${featureFunctions(spec.featureMap)}${lengthFunction(spec)}${loadVector("load_queries", "queries", headDim)}${storeVector("store_out", "out", headDim, false)}`,
    body,
  });
}
