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
 * causal: the longest rows first. Lanes: softmax-attention-tiles.ts, rows being queries, and others keys.
 * Bindings: 0 queries, 1 keys, 2 values, 3 out, 4 lengths where there are such; then params.
 */
import { EXPONENTIAL4 } from "../feature-map.ts";
import { type Kernel, makeKernel, type Precision } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams } from "../../wgsl/lengths.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import {
  declareSums,
  loadOwn,
  SOFTMAX_WEIGHT,
  overKeys,
  patch,
  raiseMaximum,
  type ScoreProduct,
  scorePieces,
  scoreProduct,
  softmaxDeclarations,
  type SoftmaxKernelLayout,
  softmaxLanes,
  type SoftmaxTile,
  storeSums,
  sumNames,
  sumOverOthers,
  type WeightedProduct,
  weightedProduct,
} from "./tiles.ts";
import { f32, LOWEST, range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxAttentionSpec {
  /** N */
  readonly length: number;
  /** D, E */
  readonly headDim: number;
  readonly valueDim: number;
  readonly scale: number;
  readonly causal: boolean;
  readonly variableLengths: boolean;
  /** Of queries, keys, values and out. */
  readonly storage: Precision;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
  readonly tile: SoftmaxTile;
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
  const vectors = range(tile.rowVectors);
  const stay = queriesStay(spec);
  const body = wgsl`${overKeys(spec, columnTiles)}
${vectors
  .map(
    (v) => `  var maximum${v} = vec4f(${LOWEST});
  var total${v} = vec4f();`,
  )
  .join("\n")}
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
${patch(tile)
  .map(({ v, name }) => `    let w${name} = weight(s${name} - maximum${v});`)
  .join("\n")}
${vectors
  .map(
    (v) =>
      `    total${v} = fma(total${v}, factor${v}, ${range(tile.patchOthers).reduce((sum, p) => (p === 0 ? `w${v}_0` : `(${sum} + w${v}_${p})`), "")});`,
  )
  .join("\n")}
${sumNames(tile, out)
  .map(({ v, r, name }) => `    ${name} *= factor${v}[${r}];`)
  .join("\n")}
${weightedProduct(layout, out, "w", causal ? (row, other) => `${other} <= ${row}` : undefined)}
  }
${sumOverOthers(tile, ["total"])}
${storeSums(tile, out, "out", spec.accumulate, (name, v, r) => `${name} / total${v}[${r}]`)}
`;
  return makeKernel({
    label: `softmax attention${causal ? " causal" : ""}${spec.accumulate ? " + bias" : ""}`,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, spec.storage) },
      { name: "keys", access: "read", element: vectorElement(headDim, spec.storage) },
      { name: "values", access: "read", element: vectorElement(valueDim, spec.storage) },
      { name: "out", access: "read_write", element: vectorElement(valueDim, spec.storage) },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "keysBase", "valuesBase", "outBase", ...lengthParams(spec)],
    declarations: wgsl`${softmaxDeclarations(layout, spec.length)}
const COLUMN_TILES = ${u32(columnTiles)};
const SCALE = ${f32(spec.scale)};
${EXPONENTIAL4}${SOFTMAX_WEIGHT}${lengthFunction(spec)}${loadVector("load_queries", "queries", headDim, spec.storage)}${loadVector("load_keys", "keys", headDim, spec.storage)}${loadVector("load_values", "values", valueDim, spec.storage)}${storeVector("store_out", "out", valueDim, spec.accumulate, spec.storage)}`,
    body,
  });
}
