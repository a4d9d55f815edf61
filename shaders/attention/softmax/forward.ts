/**
 * Softmax attention with online softmax (Milakov and Gimelshein 2018; Dao et al. 2022 and 2023):
 *
 *   out_i = Σ_j exp(scale·(q_i·k_j − m_i)) v_j / Σ_j exp(scale·(q_i·k_j − m_i))  (+ out_i, where the Toeplitz product has been put before)
 *
 * with m_i = max_j q_i·k_j, which runs along: where a tile of keys raises it, the sums so far are scaled. It is that of the products without
 * the scale, so that the largest exponent is 0 and those near it are exact, however large the products. Causal: the sums run over j ≤ i, and
 * tiles above the diagonal are skipped.
 *
 * Layout: queries, keys [B·H, N, D], values, out [B·H, N, E]. Workgroup → (bh, row tile, column tile of the values), column tile fastest;
 * causal: the longest rows first. Lanes: attention/softmax/tiles.ts, rows being queries, and others keys.
 * Bindings: 0 queries, 1 keys, 2 values, 3 out, 4 lengths where there are such; then params.
 */
import { type Kernel, makeKernel, type Precision } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams } from "../../wgsl/lengths.ts";
import { loadFunctions, readBindings, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { overKeys, raiseMaximum, SOFTMAX_WEIGHT, sumOfPatch, sumOverOthers } from "./online.ts";
import { declareSums, loadOwn, type ScoreProduct, scoreProduct, storeSums, sumNames, type WeightedProduct, weightedProduct } from "./products.ts";
import { patch, scorePieces, softmaxDeclarations, type SoftmaxKernelLayout, type SoftmaxKernelSpec, softmaxLanes } from "./tiles.ts";
import { LOWEST, range, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxAttentionSpec extends SoftmaxKernelSpec {
  /** How queries, keys, values and out are stored. */
  readonly storage: Precision;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
  /** Pieces of a row of values, each with a workgroup of its own. */
  readonly columnTiles: number;
}

function products({ headDim, valueDim, columnTiles }: Pick<SoftmaxAttentionSpec, "headDim" | "valueDim" | "columnTiles">) {
  const score: ScoreProduct = { own: "queries", other: "keys", width: headDim, sum: "s" };
  const out: WeightedProduct = { other: "values", width: valueDim, columnTiles, sum: "sum" };
  return { score, out };
}

export function softmaxAttentionLayout(spec: Pick<SoftmaxAttentionSpec, "tile" | "headDim" | "valueDim" | "columnTiles">): SoftmaxKernelLayout {
  const { score, out } = products(spec);
  return { tile: spec.tile, scores: [score], products: [out], shares: true, statistics: "none" };
}

/** Whether queries stay in workgroup memory: they come from memory once then, and else once for every tile of keys. */
export function queriesStay({ tile, headDim }: Pick<SoftmaxAttentionSpec, "tile" | "headDim">): boolean {
  return scorePieces(tile, headDim) === 1;
}

export function softmaxAttentionKernel(spec: SoftmaxAttentionSpec): Kernel {
  const { headDim, valueDim, causal, tile, columnTiles } = spec;
  const layout = softmaxAttentionLayout(spec);
  const { score, out } = products(spec);
  const rows = { queries: headDim, keys: headDim, values: valueDim };
  const vectors = range(tile.rowVectors);
  const stay = queriesStay(spec);
  const body = wgsl`${overKeys(spec, columnTiles)}
${unroll(
  vectors,
  (v) => `  var maximum${v} = vec4f(${LOWEST});
  var total${v} = vec4f();`,
)}
${declareSums(tile, out)}
#if ${stay}
${loadOwn(layout, score, "0u")}
#endif
  for (var tile_first = 0u; tile_first < end; tile_first += OTHERS) {
${scoreProduct(layout, score, stay)}
#if ${causal}
    let diagonal = tile_first + OTHERS > first + 1u;
#endif
${raiseMaximum(tile, causal)}
${unroll(patch(tile), ({ v, name }) => `    let w${name} = weight(s${name} - maximum${v});`)}
${unroll(vectors, (v) => `    total${v} = fma(total${v}, factor${v}, ${sumOfPatch(tile, "w", v)});`)}
${unroll(sumNames(tile, out), ({ v, r, name }) => `    ${name} *= factor${v}[${r}];`)}
${weightedProduct(layout, out, "w", causal ? (row, other) => `${other} <= ${row}` : undefined)}
  }
${sumOverOthers(tile, ["total"])}
${storeSums(tile, out, "out", spec.accumulate, (name, v, r) => `${name} / total${v}[${r}]`)}
`;
  return makeKernel({
    id: "attention/softmax/forward",
    label: `softmax attention${causal ? " causal" : ""}${spec.accumulate ? " + bias" : ""}`,
    constants: spec,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      ...readBindings(rows, spec.storage),
      { name: "out", access: "read_write", element: vectorElement(valueDim, spec.storage) },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "keysBase", "valuesBase", "outBase", ...lengthParams(spec)],
    declarations: [
      ...softmaxDeclarations(spec, layout),
      wgsl`${SOFTMAX_WEIGHT}${lengthFunction(spec)}${loadFunctions(rows, spec.storage)}${storeVector("store_out", "out", valueDim, spec.accumulate, spec.storage)}`,
    ],
    body,
  });
}
