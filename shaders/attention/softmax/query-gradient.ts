/**
 * Gradient of softmax attention with respect to the queries (Dao et al. 2022):
 *
 *   dq_i = scale Σ_j dS_ij k_j,   dS_ij = P_ij (dOut_i·v_j − c_i),   P_ij = exp(scale·(q_i·k_j − m_i)) / l_i
 *
 * with m_i, 1/l_i and c_i from softmax-attention-statistics.ts. Causal: the sums run over j ≤ i.
 *
 * Layout: queries, keys, out [B·H, N, D], values, gradients of the output [B·H, N, E], statistics [B·H, N] of (m, 1/l, c, 0).
 * Workgroup → (bh, row tile, column tile of the keys), column tile fastest; causal: the longest rows first. Lanes:
 * softmax-attention-tiles.ts, rows being queries, and others keys.
 * Bindings: 0 queries, 1 keys, 2 values, 3 gradients, 4 statistics, 5 out, 6 lengths where there are such; then params.
 */
import { EXPONENTIAL4 } from "../feature-map.ts";
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams } from "../../wgsl/lengths.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import {
  declareSums,
  overKeys,
  patch,
  scoreProduct,
  softmaxDeclarations,
  type SoftmaxGradientSpec,
  type SoftmaxKernelLayout,
  softmaxLanes,
  storeSums,
  type WeightedProduct,
  weightedProduct,
} from "./tiles.ts";
import { f32, range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxQueryGradientSpec extends SoftmaxGradientSpec {
  /** Pieces of a row of keys, each with a workgroup of its own. */
  readonly columnTiles: number;
}

export function softmaxQueryGradientLayout(
  spec: Pick<SoftmaxQueryGradientSpec, "tile" | "headDim" | "valueDim" | "columnTiles">,
): SoftmaxKernelLayout {
  const { tile, headDim, valueDim, columnTiles } = spec;
  return {
    tile,
    scores: [{ width: headDim }, { width: valueDim }],
    products: [{ width: headDim, columnTiles }],
    shares: false,
    statistics: "own",
  };
}

export function softmaxQueryGradientKernel(spec: SoftmaxQueryGradientSpec): Kernel {
  const { headDim, valueDim, causal, tile, columnTiles } = spec;
  const layout = softmaxQueryGradientLayout(spec);
  const out: WeightedProduct = { other: "keys", width: headDim, columnTiles, sum: "sum" };
  const vectors = range(tile.rowVectors);
  const ofRows = (v: number, part: string) =>
    `vec4f(${range(4)
      .map((r) => `statistics_tile[row_group * PATCH_ROWS + ${u32(4 * v + r)}].${part}`)
      .join(", ")})`;
  const body = wgsl`${overKeys(spec, columnTiles)}
  for (var i = lane; i < ROWS; i += LANES) {
    if (first + i < tokens) { statistics_tile[i] = statistics[bh * N + first + i - params.statisticsBase]; }
  }
  workgroupBarrier();
${vectors
  .map(
    (v) => `  let maximum${v} = ${ofRows(v, "x")};
  let inverse${v} = ${ofRows(v, "y")};
  let mean${v} = ${ofRows(v, "z")};`,
  )
  .join("\n")}
${declareSums(tile, out)}
  for (var tile_first = 0u; tile_first < end; tile_first += OTHERS) {
${scoreProduct(layout, { own: "queries", other: "keys", width: headDim, sum: "s" }, false)}
${scoreProduct(layout, { own: "gradients", other: "values", width: valueDim, sum: "d" }, false)}
#if ${causal}
    let diagonal = tile_first + OTHERS > first + 1u;
#endif
${patch(tile)
  .map(({ v, name }) => `    let w${name} = exponential4(min(SCALE * (s${name} - maximum${v}), vec4f())) * inverse${v} * (d${name} - mean${v});`)
  .join("\n")}
    workgroupBarrier();
${weightedProduct(layout, out, "w", causal ? (row, other) => `${other} <= ${row}` : undefined)}
  }
${storeSums(tile, out, "out", false, (name) => `SCALE * ${name}`)}
`;
  return makeKernel({
    label: `softmax attention query gradient${causal ? " causal" : ""}`,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "keys", access: "read", element: vectorElement(headDim) },
      { name: "values", access: "read", element: vectorElement(valueDim) },
      { name: "gradients", access: "read", element: vectorElement(valueDim) },
      { name: "statistics", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(headDim) },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "keysBase", "valuesBase", "gradientsBase", "statisticsBase", "outBase", ...lengthParams(spec)],
    declarations: wgsl`${softmaxDeclarations(layout, spec.length)}
const COLUMN_TILES = ${u32(columnTiles)};
const SCALE = ${f32(spec.scale)};
${EXPONENTIAL4}${lengthFunction(spec)}${loadVector("load_queries", "queries", headDim)}${loadVector("load_keys", "keys", headDim)}${loadVector("load_values", "values", valueDim)}${loadVector("load_gradients", "gradients", valueDim)}${storeVector("store_out", "out", headDim, false)}`,
    body,
  });
}
