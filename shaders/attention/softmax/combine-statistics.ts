/**
 * Brings together what the splits of softmax attention know of each query: with m_i = max_s m_is of the splits s that row i sees, and
 * f_is = exp(scale·(m_is − m_i)),
 *
 *   out_i = (m_i, 1/l_i, Σ_s f_is (l·c)_is / l_i, 0),   l_i = Σ_s f_is l_is.
 *
 * Layout: partials (m, l, l·c, 0) as attention/softmax/statistics.ts leaves them, out [B·H, N], the statistics. Lane → (head, row); it goes through the
 * splits, the maximum running along.
 * Bindings: 0 partials, 1 out, 2 lengths where there are such; then params.
 */
import { EXPONENTIAL } from "../../wgsl/exponential.ts";
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding } from "../../wgsl/lengths.ts";
import { RUNNING_MAXIMUM, splitRowsDeclarations, splitRowsParams, type SplitRowsSpec, splitRowsStart } from "./splits.ts";
import { scoreScale } from "./tiles.ts";
import { f32, LOWEST, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxCombineStatisticsSpec extends Omit<SplitRowsSpec, "width"> {
  /** A factor on the products of queries and keys. */
  readonly scale: number;
}

export function softmaxCombineStatisticsKernel(spec: SoftmaxCombineStatisticsSpec): Kernel {
  const rows: SplitRowsSpec = { ...spec, width: 4 };
  const body = wgsl`${splitRowsStart(rows, "keys")}
  var maximum = ${LOWEST};
  var total = 0.0;
  var mean = 0.0;
  for (var split = begin; split < end; split++) {
    let part = partials[part_row + split * params.blockRows - params.partialsBase];
${RUNNING_MAXIMUM}
    total = fma(total, kept, added * part.y);
    mean = fma(mean, kept, added * part.z);
  }
  out[bh * N + row - params.outBase] = select(vec4f(), vec4f(maximum, 1.0 / total, mean / total, 0.0), row < tokens${spec.masked ? " && total > 0.0" : ""});
`;
  return makeKernel({
    id: "attention/softmax/combine-statistics",
    label: "softmax attention statistics of splits",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "partials", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: "vec4f" },
      ...lengthBinding(spec),
    ],
    params: [...splitRowsParams(rows), "partialsBase", "outBase"],
    declarations: wgsl`${splitRowsDeclarations(rows)}
const SCALE = ${f32(scoreScale(spec.scale))};
${EXPONENTIAL}`,
    body,
  });
}
