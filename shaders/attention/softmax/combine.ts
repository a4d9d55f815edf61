/**
 * Brings the splits of softmax attention together (Dao et al. 2023, "Flash-Decoding"): with m_i = max_s m_is of the splits s that row i sees,
 *
 *   out_i = Σ_s exp(scale·(m_is − m_i)) o_is / Σ_s exp(scale·(m_is − m_i)) l_is  (+ out_i, where the Toeplitz product has been put before).
 *
 * Layout: partials, rows of E numbers o, and maxima (m, l) as attention/softmax/forward.ts leaves them; out [B·H, N, E]. Lane → (head, row, four
 * values), values fastest; it goes through the splits, the maximum running along.
 * Bindings: 0 partials, 1 maxima, 2 out, 3 lengths where there are such; then params.
 */
import { EXPONENTIAL } from "../../wgsl/exponential.ts";
import { type Kernel, makeKernel, type Precision } from "../../wgsl/kernel.ts";
import { lengthBinding } from "../../wgsl/lengths.ts";
import { loadVector, storeVector, type Strided, vectorElement } from "../../wgsl/rows.ts";
import { RUNNING_MAXIMUM, splitRowsDeclarations, splitRowsParams, type SplitRowsSpec, splitRowsStart } from "./splits.ts";
import { scoreScale } from "./tiles.ts";
import { f32, LOWEST, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxCombineSpec extends SplitRowsSpec, Strided {
  /** A factor on the products of queries and keys. */
  readonly scale: number;
  /** How out is stored. */
  readonly storage: Precision;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
}

export function softmaxCombineKernel(spec: SoftmaxCombineSpec): Kernel {
  const { width, storage, accumulate, strides = {} } = spec;
  const hasWeight = [...(accumulate ? [] : ["row < tokens"]), ...(spec.masked ? ["total > 0.0"] : [])].join(" && ");
  const body = wgsl`${splitRowsStart(spec, "keys")}
#if ${accumulate}
  if (row >= tokens) { return; }
#endif
  var maximum = ${LOWEST};
  var total = 0.0;
  var sum = vec4f();
  for (var split = begin; split < end; split++) {
    let at = part_row + split * params.blockRows;
    let part = maxima[at - params.maximaBase];
${RUNNING_MAXIMUM}
    total = fma(total, kept, added * part.y);
    sum = fma(sum, vec4f(kept), added * load_partials(at, column));
  }
  store_out(bh * N + row, column, ${hasWeight === "" ? "sum / total" : `select(vec4f(), sum / total, ${hasWeight})`});
`;
  return makeKernel({
    id: "attention/softmax/combine",
    label: `softmax attention splits${accumulate ? " + bias" : ""}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "partials", access: "read", element: vectorElement(width) },
      { name: "maxima", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: vectorElement(width, storage, strides["out"]) },
      ...lengthBinding(spec),
    ],
    params: [...splitRowsParams(spec), "partialsBase", "maximaBase", "outBase"],
    declarations: wgsl`${splitRowsDeclarations(spec)}
const SCALE = ${f32(scoreScale(spec.scale))};
${EXPONENTIAL}${loadVector("load_partials", "partials", width)}${storeVector("store_out", "out", width, accumulate, storage, strides["out"])}`,
    body,
  });
}
