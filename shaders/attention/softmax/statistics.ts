/**
 * What the gradient of softmax attention has to know of each query, in one go through the keys with online softmax as in
 * softmax-attention.ts:
 *
 *   m_i = max_j q_i·k_j,   1/l_i with l_i = Σ_j exp(scale·(q_i·k_j − m_i)),   c_i = Σ_j P_ij (dOut_i·v_j) with P_ij = exp(…)/l_i.
 *
 * m and 1/l stand in place of their log-sum-exp, which would round away small differences of large products. c_i = dOut_i·o_i without o_i:
 * the same numbers dOut_i·v_j that c_i is subtracted from later (Dao et al. 2022, dS = P ∘ (dP − c)).
 *
 * Layout: queries, keys [B·H, N, D], values, gradients of the output [B·H, N, E], statistics [B·H, N] of (m, 1/l, c, 0).
 * Workgroup → (bh, row tile), causal: the longest rows first. Lanes: softmax-attention-tiles.ts, rows being queries, and others keys.
 * Bindings: 0 queries, 1 keys, 2 values, 3 gradients, 4 statistics, 5 lengths where there are such; then params.
 */
import { EXPONENTIAL4 } from "../feature-map.ts";
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams } from "../../wgsl/lengths.ts";
import { loadVector, vectorElement } from "../../wgsl/rows.ts";
import {
  overKeys,
  patch,
  raiseMaximum,
  SOFTMAX_WEIGHT,
  scoreProduct,
  seesKey,
  softmaxDeclarations,
  type SoftmaxGradientSpec,
  type SoftmaxKernelLayout,
  softmaxLanes,
  sumOverOthers,
} from "./tiles.ts";
import { f32, LOWEST, range, wgsl } from "../../wgsl/wgsl.ts";

export function softmaxStatisticsLayout({
  tile,
  headDim,
  valueDim,
}: Pick<SoftmaxGradientSpec, "tile" | "headDim" | "valueDim">): SoftmaxKernelLayout {
  return { tile, scores: [{ width: headDim }, { width: valueDim }], products: [], shares: true, statistics: "none" };
}

export function softmaxStatisticsKernel(spec: SoftmaxGradientSpec): Kernel {
  const { headDim, valueDim, causal, tile } = spec;
  const layout = softmaxStatisticsLayout(spec);
  const vectors = range(tile.rowVectors);
  const sum = (terms: readonly string[]) => terms.reduce((left, right) => `(${left} + ${right})`);
  const body = wgsl`${overKeys(spec, 1)}
${vectors
  .map(
    (v) => `  var maximum${v} = vec4f(${LOWEST});
  var total${v} = vec4f();
  var mean${v} = vec4f();`,
  )
  .join("\n")}
  for (var tile_first = 0u; tile_first < end; tile_first += OTHERS) {
${scoreProduct(layout, { own: "queries", other: "keys", width: headDim, sum: "s" }, false)}
${scoreProduct(layout, { own: "gradients", other: "values", width: valueDim, sum: "d" }, false)}
${raiseMaximum(tile, causal)}
${patch(tile)
  .map(
    ({ v, p, name }) => `    let w${name} = weight(s${name} - maximum${v});
    // Keys that are not seen may hold anything.
    let e${name} = ${causal ? `select(vec4f(), w${name} * d${name}, ${seesKey(v, p)})` : `w${name} * d${name}`};`,
  )
  .join("\n")}
${vectors
  .map(
    (v) => `    total${v} = fma(total${v}, factor${v}, ${sum(range(tile.patchOthers).map((p) => `w${v}_${p}`))});
    mean${v} = fma(mean${v}, factor${v}, ${sum(range(tile.patchOthers).map((p) => `e${v}_${p}`))});`,
  )
  .join("\n")}
  }
${sumOverOthers(tile, ["total", "mean"])}
  if (other_group == 0u) {
${vectors
  .flatMap((v) =>
    range(4).map((r) => {
      const row = `first_row + ${4 * v + r}u`;
      const value = `vec4f(maximum${v}[${r}], 1.0 / total${v}[${r}], mean${v}[${r}] / total${v}[${r}], 0.0)`;
      return `    if (${row} < N) { statistics[bh * N + ${row} - params.statisticsBase] = select(vec4f(), ${value}, ${row} < tokens); }`;
    }),
  )
  .join("\n")}
  }
`;
  return makeKernel({
    label: `softmax attention statistics${causal ? " causal" : ""}`,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "keys", access: "read", element: vectorElement(headDim) },
      { name: "values", access: "read", element: vectorElement(valueDim) },
      { name: "gradients", access: "read", element: vectorElement(valueDim) },
      { name: "statistics", access: "read_write", element: "vec4f" },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "keysBase", "valuesBase", "gradientsBase", "statisticsBase", ...lengthParams(spec)],
    declarations: wgsl`${softmaxDeclarations(layout, spec.length)}
const SCALE = ${f32(spec.scale)};
${EXPONENTIAL4}${SOFTMAX_WEIGHT}${lengthFunction(spec)}${loadVector("load_queries", "queries", headDim)}${loadVector("load_keys", "keys", headDim)}${loadVector("load_values", "values", valueDim)}${loadVector("load_gradients", "gradients", valueDim)}`,
    body,
  });
}
