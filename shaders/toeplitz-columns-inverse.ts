/**
 * Last of three passes of a long Toeplitz product: the inverse column transforms of both branches, and their sum,
 *
 *   out[n, c] = F_A⁻¹(work[0])[a] + exp(+iπn/M) F_A⁻¹(work[1])[a],   n = a·B + b < N.
 *
 * Layout: work [2, A, B, pairs] complex, swapped (im, re) as toeplitz-rows.ts leaves it; out [B·H, N, D]. A column is (c, b), c fastest.
 * Bindings: 0 work, 1 tables (twiddles, roots of order 2M), 2 out, 3 params.
 */
import { pairElement, storePair } from "./channel-pairs.ts";
import { type Kernel, makeKernel } from "./kernel.ts";
import { rootFunction } from "./roots.ts";
import {
  declareRegisters,
  eachInput,
  eachOutput,
  everyRegister,
  stockhamDeclarations,
  stockhamRegisters,
  stockhamStages,
  workgroupLanes,
} from "./stockham.ts";
import { type ToeplitzPassSpec, toeplitzPassConstants } from "./toeplitz-pass.ts";
import { u32, wgsl } from "./wgsl.ts";

export function toeplitzColumnsInverseKernel(spec: ToeplitzPassSpec): Kernel {
  const { shape } = spec;
  const body = wgsl`${stockhamRegisters(shape)}
${declareRegisters(shape, "held")}
  let column = group * ${u32(shape.columns)} + slot;
  let active_column = column < params.pairs * B;
  let c = column % params.pairs;
  let b = column / params.pairs;
  let pair = (params.firstPair + c) % PAIRS;
  let row = (params.firstPair + c) / PAIRS * N;
  for (var branch = 0u; branch < 2u; branch++) {
    if (active_column) {
${eachInput(shape, (i) => `v${i} = work[((branch * A + point) * B + b) * params.pairs + c];`)}
    }
${stockhamStages(shape, spec.twiddleOffset)}
    if (branch == 0u) {
${everyRegister(shape, (i) => `held${i} = v${i};`)}
    }
  }
  if (active_column) {
${eachOutput(shape, (i) => `let n${i} = point * B + b; if (n${i} < N) { store_pair(row + n${i}, pair, (held${i} + turn_root(v${i}, n${i})).yx); }`)}
  }
`;
  return makeKernel({
    label: `toeplitz columns inverse ${spec.a}×${spec.b} (${shape.radices.join("·")})`,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "work", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: pairElement(spec.channels) },
    ],
    params: ["pairs", "firstPair", "outBase"],
    declarations: wgsl`${toeplitzPassConstants(spec)}
${stockhamDeclarations(shape)}${rootFunction(spec.roots)}${storePair(spec.channels)}`,
    body,
  });
}
