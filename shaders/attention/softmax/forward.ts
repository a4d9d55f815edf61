/**
 * Softmax attention with online softmax (Milakov and Gimelshein 2018; Dao et al. 2022 and 2023):
 *
 *   out_i = Σ_j exp(scale·(q_i·k_j − m_i)) v_j / Σ_j exp(scale·(q_i·k_j − m_i))  (+ out_i, where the Toeplitz product has been put before)
 *
 * with m_i = max_j q_i·k_j, which runs along: where a tile of keys raises it, the sums so far are scaled. It is that of the products without
 * the scale, in units of a power of two (attention/softmax/tiles.ts), so that the largest exponent is 0 and those near it are exact, however large the
 * products. Causal: the sums run over j ≤ i, and tiles above the diagonal are skipped. In a window they run over |i − j| < w:
 * attention/softmax/visible.ts.
 *
 * Layout: queries, keys [B·H, N, D], values, out [B·H, N, E]. Workgroup → (bh, row tile, column tile of the values), column tile fastest;
 * causal: the longest rows first. Lanes: attention/softmax/tiles.ts, rows being queries, and others keys. Split: out has the sums as they are,
 * and maxima (m, l), l being the sum of weights, for attention/softmax/combine.ts; layout as in attention/softmax/splits.ts.
 * Bindings: 0 queries, 1 keys, 2 values, 3 out, then those that there are of: maxima, bias, lengths, keyMask; then params.
 */
import { type Kernel, makeKernel, type Precision } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction } from "../../wgsl/lengths.ts";
import { loadFunctions, readBindings, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { maskBinding, maskFunction } from "./key-mask.ts";
import { addLogitBias, biasBinding, biasDeclarations, headParams } from "./logit-bias.ts";
import { firstOther, overKeys, quotient, raiseMaximum, SOFTMAX_WEIGHT, sumOfPatch, sumOverOthers, tileWeight } from "./online.ts";
import { resultRows, splitParams } from "./splits.ts";
import { declareSums, type ScoreProduct, scoreProduct, storeSums, sumNames, type WeightedProduct, weightedProduct } from "./products.ts";
import { patch, softmaxDeclarations, type SoftmaxKernelLayout, type SoftmaxKernelSpec, softmaxLanes } from "./tiles.ts";
import { diagonalTile, visible } from "./visible.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxAttentionSpec extends SoftmaxKernelSpec {
  /** How queries, keys, values and out are stored; split, out is float32. */
  readonly storage: Precision;
  /** Add to what `out` holds instead of overwriting it; not where it is split. */
  readonly accumulate: boolean;
  /** Pieces of a row of values, each with a workgroup of its own. */
  readonly columnTiles: number;
}

function products({ headDim, valueDim, columnTiles }: Pick<SoftmaxAttentionSpec, "headDim" | "valueDim" | "columnTiles">) {
  const score: ScoreProduct = { own: "queries", other: "keys", width: headDim, sum: "s" };
  const out: WeightedProduct = { other: "values", width: valueDim, columnTiles, sum: "sum" };
  return { score, out };
}

export function softmaxAttentionLayout(
  spec: Pick<SoftmaxAttentionSpec, "tile" | "otherRows" | "headDim" | "valueDim" | "columnTiles">,
): SoftmaxKernelLayout {
  const { score, out } = products(spec);
  return { tile: spec.tile, otherRows: spec.otherRows, scores: [score], products: [out], shares: true, statistics: "none" };
}

export function softmaxAttentionKernel(spec: SoftmaxAttentionSpec): Kernel {
  const { headDim, valueDim, causal, tile, columnTiles, split } = spec;
  const outStorage = split ? "f32" : spec.storage;
  const layout = softmaxAttentionLayout(spec);
  const { score, out } = products(spec);
  const rows = { queries: headDim, keys: headDim, values: valueDim };
  const vectors = range(tile.rowVectors);
  const body = wgsl`${overKeys(spec, columnTiles)}
${unroll(
  vectors,
  (v) => `  var maximum${v} = vec4f(${LOWEST});
  var total${v} = vec4f();`,
)}
${declareSums(tile, out)}
  for (var tile_first = ${firstOther(spec, "queries")}; tile_first < end; tile_first += OTHERS) {
${scoreProduct(layout, score)}
${addLogitBias(spec, tile, "queries")}${diagonalTile(spec, "queries")}
${raiseMaximum(spec)}
${unroll(patch(tile), ({ v, name }) => `    let w${name} = ${tileWeight(spec, v, name)};`)}
${unroll(vectors, (v) => `    total${v} = fma(total${v}, factor${v}, ${sumOfPatch(tile, "w", v)});`)}
${unroll(sumNames(tile, out), ({ v, r, name }) => `    ${name} *= factor${v}[${r}];`)}
${weightedProduct(layout, out, "w", visible(spec, "queries"))}
  }
${sumOverOthers(tile, ["total"])}
#if ${split}
${storeSums(tile, out, "out", resultRows(spec), true, (name) => name)}
  if (other_group == 0u${columnTiles > 1 ? " && column_tile == 0u" : ""}) {
${unroll(
  vectors.flatMap((v) => range(4).map((r) => ({ v, r, row: `first_row + ${u32(4 * v + r)}` }))),
  ({ v, r, row }) => `    if (${row} < tokens) { maxima[part_rows + ${row} - params.maximaBase] = vec2f(maximum${v}[${r}], total${v}[${r}]); }`,
)}
  }
#else
${storeSums(tile, out, "out", resultRows(spec), spec.accumulate, (name, v, r) => quotient(spec, name, `total${v}[${r}]`))}
#endif
`;
  return makeKernel({
    id: "attention/softmax/forward",
    label: `softmax attention${causal ? " causal" : ""}${split ? " split" : ""}${spec.accumulate ? " + bias" : ""}`,
    constants: spec,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      ...readBindings(rows, spec.storage, spec.strides),
      { name: "out", access: "read_write", element: vectorElement(valueDim, outStorage, spec.strides?.["out"]) },
      ...(split ? [{ name: "maxima", access: "read_write", element: "vec2f" } as const] : []),
      ...biasBinding(spec),
      ...lengthBinding(spec),
      ...maskBinding(spec),
    ],
    params: [
      "firstHead",
      "queriesBase",
      "keysBase",
      "valuesBase",
      "outBase",
      ...(split ? ["maximaBase"] : []),
      ...splitParams(spec),
      ...headParams(spec),
    ],
    declarations: [
      ...softmaxDeclarations(spec, layout),
      wgsl`${SOFTMAX_WEIGHT}${biasDeclarations(spec)}${lengthFunction(spec)}${maskFunction(spec)}${loadFunctions(rows, spec.storage, spec.strides)}${storeVector("store_out", "out", valueDim, spec.accumulate, outStorage, spec.strides?.["out"])}`,
    ],
    body,
  });
}
