/**
 * First of three passes of a long Toeplitz product: for both branches the column transforms, n = a·B + b,
 *
 *   in one dimension  work[branch, k_a, b, c] = exp(−2πi·b·k_a/M) Σ_a exp(−2πi·a·k_a/A) D_branch(n) v[n, c],  D_1(n) = exp(−iπn/M);
 *   on a grid         work[branch, k_a, b, c] = Σ_a exp(−2πi·a·k_a/A) D_branch(a) v[n, c],                    D_1(a) = exp(−iπa/A),
 *
 * D_0 = 1. See toeplitz-branches.ts for the mathematics, toeplitz-rows.ts and toeplitz-grid-rows.ts for what follows.
 *
 * Layout: values [B·H, N, D], work as in toeplitz-pass.ts. A column is (c, b, h); a workgroup does `shape.columns` of them.
 * Bindings: 0 values, 1 tables (twiddles, roots), 2 work, 3 params.
 */
import { loadPair, pairElement } from "./channel-pairs.ts";
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

export function toeplitzColumnsKernel(spec: ToeplitzPassSpec): Kernel {
  const { shape } = spec;
  const sequence = spec.kind === "sequence";
  const body = wgsl`${stockhamRegisters(shape)}
${declareRegisters(shape, "held")}
${columnOverA(shape)}
  if (active_column) {
${eachInput(shape, (i) => `let n${i} = point * B + b; if (n${i} < N) { v${i} = load_pair(row + n${i}, pair); }`)}
  }
${everyRegister(shape, (i) => `held${i} = v${i};`)}
  for (var branch = 0u; branch < 2u; branch++) {
${stockhamStages(shape, spec.twiddles)}
    if (active_column) {
${eachOutput(shape, (i) => `work[work_start + (branch * A + point) * B * params.pairs] = ${sequence ? `turn_root(v${i}, 2u * b * point)` : `v${i}`};`)}
    }
    if (branch == 0u) {
${eachInput(shape, (i) => `v${i} = turn_root(held${i}, ${sequence ? "point * B + b" : "point"});`)}
    }
  }
`;
  return makeKernel({
    label: `toeplitz columns ${spec.a}×${spec.b} (${stockhamName(shape)})`,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "values", access: "read", element: pairElement(spec.channels) },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "work", access: "read_write", element: "vec2f" },
    ],
    params: [...PASS_PARAMS, "valuesBase"],
    declarations: wgsl`${passDeclarations(spec)}${rootFunction(spec.roots)}${loadPair(spec.channels)}`,
    body,
  });
}
