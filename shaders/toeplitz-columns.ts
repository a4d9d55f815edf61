/**
 * First of three passes of a long Toeplitz product, M = A·B: for both branches the column transforms,
 *
 *   work[branch, k_a, b, c] = exp(−2πi·b·k_a/M) Σ_a exp(−2πi·a·k_a/A) D_branch(n) v[n, c],   n = a·B + b,
 *
 * with D_0 = 1 and D_1(n) = exp(−iπn/M). See toeplitz-fused.ts for the mathematics, toeplitz-rows.ts for what follows.
 *
 * Layout: values [B·H, N, D]; c counts the pairs of channels of this group, `pairs` of them from `firstPair` on, fastest in memory and
 * over the lanes; work [2, A, B, pairs] complex. A column is (c, b); a workgroup does `shape.columns` of them.
 * Bindings: 0 values, 1 tables (twiddles, roots of order 2M), 2 work, 3 params.
 */
import { loadPair, pairElement } from "./channel-pairs.ts";
import { type Kernel, makeKernel } from "./kernel.ts";
import { rootFunction } from "./roots.ts";
import { declareRegisters, eachInput, eachOutput, stockhamDeclarations, stockhamRegisters, stockhamStages, workgroupLanes } from "./stockham.ts";
import { type ToeplitzPassSpec, toeplitzPassConstants } from "./toeplitz-pass.ts";
import { u32, wgsl } from "./wgsl.ts";

export function toeplitzColumnsKernel(spec: ToeplitzPassSpec): Kernel {
  const { shape } = spec;
  const body = wgsl`${stockhamRegisters(shape)}
${declareRegisters(shape, "held")}
  let column = group * ${u32(shape.columns)} + slot;
  let active_column = column < params.pairs * B;
  let c = column % params.pairs;
  let b = column / params.pairs;
  let pair = (params.firstPair + c) % PAIRS;
  let row = (params.firstPair + c) / PAIRS * N;
${eachInput(shape, (i) => `let n${i} = point * B + b; if (active_column && n${i} < N) { v${i} = load_pair(row + n${i}, pair); } held${i} = v${i};`)}
  for (var branch = 0u; branch < 2u; branch++) {
${stockhamStages(shape, spec.twiddleOffset)}
    if (active_column) {
${eachOutput(shape, (i) => `work[((branch * A + point) * B + b) * params.pairs + c] = turn_root(v${i}, 2u * b * point);`)}
    }
    if (branch == 0u) {
${eachInput(shape, (i) => `if (active_column) { v${i} = turn_root(held${i}, point * B + b); }`)}
    }
  }
`;
  return makeKernel({
    label: `toeplitz columns ${spec.a}×${spec.b} (${shape.radices.join("·")})`,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "values", access: "read", element: pairElement(spec.channels) },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "work", access: "read_write", element: "vec2f" },
    ],
    params: ["pairs", "firstPair", "valuesBase"],
    declarations: wgsl`${toeplitzPassConstants(spec)}
${stockhamDeclarations(shape)}${rootFunction(spec.roots)}${loadPair(spec.channels)}`,
    body,
  });
}
