/**
 * Gradient of softmax attention with respect to the queries (Dao et al. 2022):
 *
 *   dq_i = scale Σ_j dS_ij k_j,   dS_ij = P_ij (dOut_i·v_j − c_i),   P_ij = exp(scale·(q_i·k_j − m_i)) / l_i
 *
 * with m_i, 1/l_i and c_i from attention/softmax/statistics.ts. Causal: the sums run over j ≤ i.
 *
 * Layout: queries, keys, out [B·H, N, D], values, gradients of the output [B·H, N, E], statistics [B·H, N] of (m, 1/l, c, 0).
 * Workgroup → (bh, row tile, column tile of the keys), column tile fastest; causal: the longest rows first. Lanes:
 * attention/softmax/tiles.ts, rows being queries, and others keys. Split: out has partial sums for attention/softmax/sum.ts; layout as in
 * attention/softmax/splits.ts.
 * Bindings: 0 queries, 1 keys, 2 values, 3 gradients, 4 statistics, 5 out, then those that there are of: bias, lengths, keyMask; then params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction } from "../../wgsl/lengths.ts";
import { loadFunctions, readBindings, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { maskBinding, maskFunction } from "./key-mask.ts";
import { addLogitBias, biasBinding, biasDeclarations, headParams } from "./logit-bias.ts";
import { firstOther, overKeys, SOFTMAX_WEIGHT } from "./online.ts";
import { declareSums, scoreProduct, storeSums, type WeightedProduct, weightedProduct } from "./products.ts";
import { resultRows, splitParams } from "./splits.ts";
import { otherOffset, patch, softmaxDeclarations, type SoftmaxKernelLayout, type SoftmaxKernelSpec, softmaxLanes } from "./tiles.ts";
import { diagonalTile, visible } from "./visible.ts";
import { range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxQueryGradientSpec extends SoftmaxKernelSpec {
  /** Pieces of a row of keys, each with a workgroup of its own. */
  readonly columnTiles: number;
}

export function softmaxQueryGradientLayout(
  spec: Pick<SoftmaxQueryGradientSpec, "tile" | "otherRows" | "headDim" | "valueDim" | "columnTiles">,
): SoftmaxKernelLayout {
  const { tile, otherRows, headDim, valueDim, columnTiles } = spec;
  return {
    tile,
    otherRows,
    scores: [{ width: headDim }, { width: valueDim }],
    products: [{ width: headDim, columnTiles }],
    shares: false,
    statistics: "own",
  };
}

export function softmaxQueryGradientKernel(spec: SoftmaxQueryGradientSpec): Kernel {
  const { headDim, valueDim, causal, tile, columnTiles, split } = spec;
  const layout = softmaxQueryGradientLayout(spec);
  const out: WeightedProduct = { other: "keys", width: headDim, columnTiles, sum: "sum" };
  const rows = { queries: headDim, keys: headDim, values: valueDim, gradients: valueDim };
  const vectors = range(tile.rowVectors);
  const ofRows = (v: number, component: string) =>
    `vec4f(${range(4)
      .map((r) => `statistics_tile[row_group * PATCH_ROWS + ${u32(4 * v + r)}].${component}`)
      .join(", ")})`;
  const body = wgsl`${overKeys(spec, columnTiles)}
  for (var i = lane; i < ROWS; i += LANES) {
    if (first + i < tokens) { statistics_tile[i] = statistics[bh * N + first + i - params.statisticsBase]; }
  }
  workgroupBarrier();
${unroll(
  vectors,
  (v) => `  let maximum${v} = ${ofRows(v, "x")};
  let inverse${v} = ${ofRows(v, "y")};
  let mean${v} = ${ofRows(v, "z")};`,
)}
${declareSums(tile, out)}
  for (var tile_first = ${firstOther(spec, "queries")}; tile_first < end; tile_first += OTHERS) {
${scoreProduct(layout, { own: "queries", other: "keys", width: headDim, sum: "s" })}
${scoreProduct(layout, { own: "gradients", other: "values", width: valueDim, sum: "d" })}
${addLogitBias(spec, tile, "queries")}${diagonalTile(spec, "queries")}
${unroll(patch(tile), ({ v, p, name }) => {
  const weight = `weight(s${name} - maximum${v}) * inverse${v} * (d${name} - mean${v})`;
  const key = `tile_first + 4u * other_group + ${u32(otherOffset(tile, p))}`;
  return `    let w${name} = ${spec.keyMask ? `select(vec4f(), ${weight}, is_seen(bh, ${key}))` : weight};`;
})}
    workgroupBarrier();
${weightedProduct(layout, out, "w", visible(spec, "queries"))}
  }
${storeSums(tile, out, "out", resultRows(spec), split, (name) => `SCALE * ${name}`)}
`;
  return makeKernel({
    id: "attention/softmax/query-gradient",
    label: `softmax attention query gradient${causal ? " causal" : ""}${split ? " split" : ""}`,
    constants: spec,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      ...readBindings(rows, "f32", spec.strides),
      { name: "statistics", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(headDim, "f32", spec.strides?.["out"]) },
      ...biasBinding(spec),
      ...lengthBinding(spec),
      ...maskBinding(spec),
    ],
    params: [
      "firstHead",
      "queriesBase",
      "keysBase",
      "valuesBase",
      "gradientsBase",
      "statisticsBase",
      "outBase",
      ...splitParams(spec),
      ...headParams(spec),
    ],
    declarations: [
      ...softmaxDeclarations(spec, layout),
      wgsl`${SOFTMAX_WEIGHT}${biasDeclarations(spec)}${lengthFunction(spec)}${maskFunction(spec)}${loadFunctions(rows, "f32", spec.strides)}${storeVector("store_out", "out", headDim, false, "f32", spec.strides?.["out"])}`,
    ],
    body,
  });
}
