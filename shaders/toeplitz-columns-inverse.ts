/**
 * Last of three passes of a long Toeplitz product: the inverse column transforms of both branches, and their sum, n = a·B + b,
 *
 *   out[n, c] = F_A⁻¹(work[0])[a] + D* F_A⁻¹(work[1])[a],   D = exp(−iπn/M) in one dimension, exp(−iπa/A) on a grid.
 *
 * Layout: work as in toeplitz-pass.ts, swapped (im, re) as the rows leave it; out [B·H, N, D]. A column is (c, b, h).
 * Bindings: 0 work, 1 tables (twiddles, roots), 2 out, 3 params.
 */
import { pairElement, storePair } from "./channel-pairs.ts";
import { type Kernel, makeKernel } from "./kernel.ts";
import { rootFunction } from "./roots.ts";
import {
  declareRegisters,
  eachInput,
  eachOutput,
  everyRegister,
  stockhamName,
  stockhamRegisters,
  stockhamStages,
  workgroupLanes,
} from "./stockham.ts";
import { columnOverA, PASS_PARAMS, passDeclarations, type ToeplitzPassSpec } from "./toeplitz-pass.ts";
import { wgsl } from "./wgsl.ts";

export function toeplitzColumnsInverseKernel(spec: ToeplitzPassSpec): Kernel {
  const { shape } = spec;
  const turned = (i: number) => `turn_root(v${i}, ${spec.kind === "sequence" ? `n${i}` : "point"})`;
  const body = wgsl`${stockhamRegisters(shape)}
${declareRegisters(shape, "held")}
${columnOverA(shape)}
  for (var branch = 0u; branch < 2u; branch++) {
    if (active_column) {
${eachInput(shape, (i) => `v${i} = work[work_start + (branch * A + point) * B * params.pairs];`)}
    }
${stockhamStages(shape, spec.twiddles)}
    if (branch == 0u) {
${everyRegister(shape, (i) => `held${i} = v${i};`)}
    }
  }
  if (active_column) {
${eachOutput(shape, (i) => `let n${i} = point * B + b; if (n${i} < N) { store_pair(row + n${i}, pair, (held${i} + ${turned(i)}).yx); }`)}
  }
`;
  return makeKernel({
    label: `toeplitz columns inverse ${spec.a}×${spec.b} (${stockhamName(shape)})`,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "work", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: pairElement(spec.channels) },
    ],
    params: [...PASS_PARAMS, "outBase"],
    declarations: wgsl`${passDeclarations(spec)}${rootFunction(spec.roots)}${storePair(spec.channels)}`,
    body,
  });
}
