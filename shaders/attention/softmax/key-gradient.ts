/**
 * Gradients of softmax attention with respect to the keys, the values, or both (Dao et al. 2022):
 *
 *   dk_j = scale Σ_i dS_ij q_i,   dv_j = Σ_i P_ij dOut_i  (+ dv_j, where the part of a bias has been put before)
 *
 * with P and dS as in attention/softmax/query-gradient.ts. A workgroup has its keys, and goes through the queries: nothing is added across
 * workgroups, unless the queries are split. Causal: the sums run over i ≥ j, from the tile that begins with the first key.
 *
 * Layout: queries, keys, dk [B·H, N, D], values, gradients of the output, dv [B·H, N, E], statistics [B·H, N] of (m, 1/l, c, 0).
 * Workgroup → (bh, row tile, column tile of the output), column tile fastest. Lanes: attention/softmax/tiles.ts, rows being keys, and
 * others queries. With a mask over keys, rows of keys that are not seen get any numbers. Split: dk and dv have partial sums for
 * attention/softmax/sum.ts; layout as in attention/softmax/splits.ts.
 * Bindings: 0 queries, 1 keys, 2 values (for dk only), 3 gradients, 4 statistics, then those that there are of: dk, dv, bias, lengths; then params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction } from "../../wgsl/lengths.ts";
import { loadFunctions, readBindings, storeBases, storeBindings, storeVector } from "../../wgsl/rows.ts";
import { addLogitBias, biasBinding, biasDeclarations, headParams } from "./logit-bias.ts";
import { firstOther, othersBetween, SOFTMAX_WEIGHT, softmaxStart } from "./online.ts";
import { declareSums, scoreProduct, storeSums, type WeightedProduct, weightedProduct } from "./products.ts";
import { resultRows, splitParams } from "./splits.ts";
import { otherOffset, patch, softmaxDeclarations, type SoftmaxKernelLayout, type SoftmaxKernelSpec, softmaxLanes } from "./tiles.ts";
import { diagonalTile, othersOf, visible } from "./visible.ts";
import { range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxKeyGradientSpec extends SoftmaxKernelSpec {
  /** Which gradients it computes; `"both"` only where a workgroup does whole rows. */
  readonly gradients: "dk" | "dv" | "both";
  /** Add to what `dv` holds instead of overwriting it; not where it is split. */
  readonly accumulate: boolean;
  /** Pieces of a row of the output, each with a workgroup of its own. */
  readonly columnTiles: number;
}

type Shape = Pick<SoftmaxKeyGradientSpec, "tile" | "otherRows" | "headDim" | "valueDim" | "gradients" | "columnTiles">;

function products({ headDim, valueDim, gradients, columnTiles }: Shape) {
  const dk: WeightedProduct = { other: "queries", width: headDim, columnTiles, sum: "dk" };
  const dv: WeightedProduct = { other: "gradients", width: valueDim, columnTiles, sum: "dv" };
  return { dk: gradients === "dv" ? undefined : dk, dv: gradients === "dk" ? undefined : dv };
}

export function softmaxKeyGradientLayout(spec: Shape): SoftmaxKernelLayout {
  const { tile, otherRows, headDim, valueDim } = spec;
  const { dk, dv } = products(spec);
  return {
    tile,
    otherRows,
    scores: [{ width: headDim }, ...(dk ? [{ width: valueDim }] : [])],
    products: [...(dv ? [dv] : []), ...(dk ? [dk] : [])],
    shares: false,
    statistics: "other",
  };
}

export function softmaxKeyGradientKernel(spec: SoftmaxKeyGradientSpec): Kernel {
  const { headDim, valueDim, causal, tile, columnTiles, split, strides = {} } = spec;
  const layout = softmaxKeyGradientLayout(spec);
  const { dk, dv } = products(spec);
  const rows = { queries: headDim, keys: headDim, ...(dk && { values: valueDim }), gradients: valueDim };
  const seen = visible(spec, "keys");
  const body = wgsl`${softmaxStart(spec, columnTiles, false)}
${othersBetween(spec, "keys")}
${dv ? declareSums(tile, dv) : ""}
${dk ? declareSums(tile, dk) : ""}
  for (var tile_first = ${firstOther(spec, "keys")}; tile_first < end; tile_first += OTHERS) {
    // Those of queries beyond the end are zero: such queries have no weight.
    for (var i = lane; i < OTHERS; i += LANES) {
      var loaded = vec4f();
      if (tile_first + i < end) { loaded = statistics[bh * ${othersOf(spec)} + tile_first + i - params.statisticsBase]; }
      statistics_tile[i] = loaded;
    }
${scoreProduct(layout, { own: "keys", other: "queries", width: headDim, sum: "s" })}
${dk ? scoreProduct(layout, { own: "values", other: "gradients", width: valueDim, sum: "d" }) : ""}
${addLogitBias(spec, tile, "keys")}${diagonalTile(spec, "keys")}
${unroll(range(tile.patchOthers), (p) => `    let statistics${p} = statistics_tile[4u * other_group + ${u32(otherOffset(tile, p))}];`)}
${unroll(patch(tile), ({ p, name }) => `    let w${name} = weight(s${name} - statistics${p}.x) * statistics${p}.y;`)}
    workgroupBarrier();
${dv ? weightedProduct(layout, dv, "w", seen) : ""}
#if ${dk !== undefined && dv !== undefined}
    workgroupBarrier();
#endif
#if ${dk !== undefined}
${unroll(patch(tile), ({ p, name }) => `    let g${name} = w${name} * (d${name} - statistics${p}.z);`)}
${dk ? weightedProduct(layout, dk, "g", seen) : ""}
#endif
  }
${dv ? storeSums(tile, dv, "dv", resultRows(spec), split || spec.accumulate, (name) => name) : ""}
${dk ? storeSums(tile, dk, "dk", resultRows(spec), split, (name) => `SCALE * ${name}`) : ""}
`;
  return makeKernel({
    id: "attention/softmax/key-gradient",
    label: `softmax attention ${{ dk: "key", dv: "value", both: "key and value" }[spec.gradients]} gradient${causal ? " causal" : ""}${split ? " split" : ""}${dv && spec.accumulate ? " + bias" : ""}`,
    constants: spec,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      ...readBindings(rows, "f32", strides),
      { name: "statistics", access: "read", element: "vec4f" },
      ...storeBindings({ ...(dk && { dk: headDim }), ...(dv && { dv: valueDim }) }, strides),
      ...biasBinding(spec),
      ...lengthBinding(spec),
    ],
    params: [
      "firstHead",
      "queriesBase",
      "keysBase",
      ...(dk ? ["valuesBase"] : []),
      ...storeBases([...(dk ? ["dk"] : []), ...(dv ? ["dv"] : [])], strides),
      "gradientsBase",
      "statisticsBase",
      ...splitParams(spec),
      ...headParams({ ...spec, keyMask: undefined }),
    ],
    declarations: [
      ...softmaxDeclarations(spec, layout),
      wgsl`${SOFTMAX_WEIGHT}${biasDeclarations(spec)}${lengthFunction(spec)}${loadFunctions(rows, "f32", strides)}${dk ? storeVector("store_dk", "dk", headDim, false, "f32", strides["dk"]) : ""}${dv ? storeVector("store_dv", "dv", valueDim, spec.accumulate, "f32", strides["dv"]) : ""}`,
    ],
    body,
  });
}
