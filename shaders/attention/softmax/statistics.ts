/**
 * What the gradient of softmax attention has to know of each query, in one go through the keys with online softmax as in
 * attention/softmax/forward.ts:
 *
 *   m_i = max_j q_i·k_j,   1/l_i with l_i = Σ_j exp(scale·(q_i·k_j − m_i)),   c_i = Σ_j P_ij (dOut_i·v_j) with P_ij = exp(…)/l_i.
 *
 * m and 1/l stand in place of their log-sum-exp, which would round away small differences of large products. c_i = dOut_i·o_i without o_i:
 * the same numbers dOut_i·v_j that c_i is subtracted from later (Dao et al. 2022, dS = P ∘ (dP − c)).
 *
 * Layout: queries, keys [B·H, N, D], values, gradients of the output [B·H, N, E], statistics [B·H, N] of (m, 1/l, c, 0).
 * Workgroup → (bh, row tile), causal: the longest rows first. Lanes: attention/softmax/tiles.ts, rows being queries, and others keys.
 * Split: statistics (m, l, l·c, 0), for attention/softmax/combine-statistics.ts; layout as in attention/softmax/splits.ts.
 * Bindings: 0 queries, 1 keys, 2 values, 3 gradients, 4 statistics, then those that there are of: bias, lengths, keyMask; then params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction } from "../../wgsl/lengths.ts";
import { loadFunctions, readBindings } from "../../wgsl/rows.ts";
import { maskBinding, maskFunction } from "./key-mask.ts";
import { addLogitBias, biasBinding, biasDeclarations, headParams } from "./logit-bias.ts";
import { firstOther, mayBeEmpty, overKeys, raiseMaximum, seesKey, SOFTMAX_WEIGHT, sumOfPatch, sumOverOthers, tileWeight } from "./online.ts";
import { scoreProduct } from "./products.ts";
import { resultRows, splitParams } from "./splits.ts";
import { patch, softmaxDeclarations, type SoftmaxKernelLayout, type SoftmaxKernelSpec, softmaxLanes } from "./tiles.ts";
import { LOWEST, range, unroll, wgsl } from "../../wgsl/wgsl.ts";

export function softmaxStatisticsLayout(spec: Pick<SoftmaxKernelSpec, "tile" | "otherRows" | "headDim" | "valueDim">): SoftmaxKernelLayout {
  const { tile, otherRows, headDim, valueDim } = spec;
  return { tile, otherRows, scores: [{ width: headDim }, { width: valueDim }], products: [], shares: true, statistics: "none" };
}

export function softmaxStatisticsKernel(spec: SoftmaxKernelSpec): Kernel {
  const { headDim, valueDim, causal, tile, split } = spec;
  const layout = softmaxStatisticsLayout(spec);
  const rows = { queries: headDim, keys: headDim, values: valueDim, gradients: valueDim };
  const vectors = range(tile.rowVectors);
  const body = wgsl`${overKeys(spec, 1)}
${unroll(
  vectors,
  (v) => `  var maximum${v} = vec4f(${LOWEST});
  var total${v} = vec4f();
  var mean${v} = vec4f();`,
)}
  for (var tile_first = ${firstOther(spec, "queries")}; tile_first < end; tile_first += OTHERS) {
${scoreProduct(layout, { own: "queries", other: "keys", width: headDim, sum: "s" })}
${scoreProduct(layout, { own: "gradients", other: "values", width: valueDim, sum: "d" })}
${addLogitBias(spec, tile, "queries")}${raiseMaximum(spec)}
${unroll(
  patch(tile),
  ({ v, p, name }) => `    let w${name} = ${tileWeight(spec, v, name)};
    // Keys that are not seen may hold anything.
    let e${name} = ${causal || spec.window !== undefined ? `select(vec4f(), w${name} * d${name}, ${seesKey(spec, v, p)})` : `w${name} * d${name}`};`,
)}
${unroll(
  vectors,
  (v) => `    total${v} = fma(total${v}, factor${v}, ${sumOfPatch(tile, "w", v)});
    mean${v} = fma(mean${v}, factor${v}, ${sumOfPatch(tile, "e", v)});`,
)}
  }
${sumOverOthers(tile, ["total", "mean"])}
  if (other_group == 0u) {
${vectors
  .flatMap((v) =>
    range(4).map((r) => {
      const row = `first_row + ${4 * v + r}u`;
      const at = `${resultRows(spec)} + ${row} - params.statisticsBase`;
      if (split) return `    if (${row} < tokens) { statistics[${at}] = vec4f(maximum${v}[${r}], total${v}[${r}], mean${v}[${r}], 0.0); }`;
      const seen = mayBeEmpty(spec) ? `${row} < tokens && total${v}[${r}] > 0.0` : `${row} < tokens`;
      const value = `vec4f(maximum${v}[${r}], 1.0 / total${v}[${r}], mean${v}[${r}] / total${v}[${r}], 0.0)`;
      return `    if (${row} < N) { statistics[${at}] = select(vec4f(), ${value}, ${seen}); }`;
    }),
  )
  .join("\n")}
  }
`;
  return makeKernel({
    id: "attention/softmax/statistics",
    label: `softmax attention statistics${causal ? " causal" : ""}${split ? " split" : ""}`,
    constants: spec,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      ...readBindings(rows, "f32", spec.strides),
      { name: "statistics", access: "read_write", element: "vec4f" },
      ...biasBinding(spec),
      ...lengthBinding(spec),
      ...maskBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "keysBase", "valuesBase", "gradientsBase", "statisticsBase", ...splitParams(spec), ...headParams(spec)],
    declarations: [
      ...softmaxDeclarations(spec, layout),
      `${SOFTMAX_WEIGHT}${biasDeclarations(spec)}${lengthFunction(spec)}${maskFunction(spec)}${loadFunctions(rows, "f32", spec.strides)}`,
    ],
    body,
  });
}
