/**
 * Last of three passes of a long Toeplitz product: the inverse column transforms of both branches, and their sum, n = a·B + b,
 *
 *   out[n, c] = F_A⁻¹(work[0])[a] + exp(+iπa/A) F_A⁻¹(work[1])[a].
 *
 * Layout: work as in toeplitz/pass.ts, swapped (im, re) as the rows leave it; out [B·H, N, D]. A column is (c, b, h).
 * Bindings: 0 work, 1 tables (twiddles, roots of order 2A), 2 out, 3 lengths where there are such; then params.
 */
import { pairElement, storePair } from "./channel-pairs.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../wgsl/lengths.ts";
import { rootFunction, type RootTable } from "../fft/roots.ts";
import { declareRegisters, eachInput, eachOutput, stockhamName, stockhamRegisters, stockhamStages, workgroupLanes } from "../fft/stockham.ts";
import { columnOverA, PASS_PARAMS, passDeclarations, type ToeplitzPassSpec } from "./pass.ts";
import { wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzColumnsInverseSpec extends ToeplitzPassSpec {
  /** Roots of order 2A, A of them. */
  readonly axisRoots: RootTable;
}

export function toeplitzColumnsInverseKernel(spec: ToeplitzColumnsInverseSpec): Kernel {
  const { shape } = spec;
  const body = wgsl`${stockhamRegisters(shape)}
${declareRegisters(shape, "w")}
${columnOverA(shape)}
#if ${spec.variableLengths}
  let tokens = ${tokensOf(spec, "params.firstHead + h")};
#endif
  let stride = B * params.pairs;
  if (active_column) {
${eachInput(shape, (i) => `let from${i} = work_start + point * stride; v${i} = work[from${i}]; w${i} = work[from${i} + A * stride];`)}
  }
${stockhamStages(shape, spec.twiddles, ["v", "w"])}
  if (active_column) {
${eachOutput(shape, (i) => `let n${i} = point * B + b; if (n${i} < N) { store_pair(row + n${i}, pair, ${spec.variableLengths ? `select((v${i} + turn_y(w${i}, point)).yx, vec2f(), n${i} >= tokens)` : `(v${i} + turn_y(w${i}, point)).yx`}); }`)}
  }
`;
  return makeKernel({
    id: "toeplitz/columns-inverse",
    label: `toeplitz columns inverse ${spec.a}×${spec.b} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "work", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: pairElement(spec, "out", spec.storage) },
      ...lengthBinding(spec),
    ],
    params: [...PASS_PARAMS, "outBase", ...lengthParams(spec)],
    declarations: [...passDeclarations(spec), `${rootFunction(spec.axisRoots, "turn_y")}${lengthFunction(spec)}${storePair(spec, spec.storage)}`],
    body,
  });
}
