/**
 * First of three passes of a long Toeplitz product: for both branches the column transforms, n = a·B + b,
 *
 *   work[branch, k_a, b, c] = r Σ_a exp(−2πi·a·(k_a + branch/2)/A) v[n, c],
 *
 * with r = 1 on a grid, and r = exp(−2πi·b·(k_a + branch/2)/M) in one dimension: the branch in it is the part of D(n) = exp(−iπn/M) that
 * a does not have. See toeplitz/branches.ts for the mathematics, toeplitz/rows.ts and toeplitz/grid-rows.ts for what follows.
 *
 * Layout: values [B·H, N, D], work as in toeplitz/pass.ts. A column is (c, b, h); a workgroup does `shape.columns` of them.
 * Bindings: 0 values, 1 tables (twiddles, roots of order 2A and 2M), 2 work, 3 lengths where there are such; then params.
 */
import { loadPair, pairElement } from "./channel-pairs.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../wgsl/lengths.ts";
import { rootFunction, type RootTable } from "../fft/roots.ts";
import { declareRegisters, eachInput, eachOutput, stockhamName, stockhamRegisters, stockhamStages, workgroupLanes } from "../fft/stockham.ts";
import { columnOverA, PASS_PARAMS, passDeclarations, type ToeplitzPassSpec } from "./pass.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzColumnsSpec extends ToeplitzPassSpec {
  /** Roots of order 2A, A of them. */
  readonly axisRoots: RootTable;
  /** Roots of order 2M in one dimension; `undefined` on a grid. */
  readonly roots: RootTable | undefined;
}

export function toeplitzColumnsKernel(spec: ToeplitzColumnsSpec): Kernel {
  const { shape, roots } = spec;
  const turned = (value: string, branch: number) => (roots ? `turn_root(${value}, b * (2u * point + ${u32(branch)}))` : value);
  const body = wgsl`${stockhamRegisters(shape)}
${declareRegisters(shape, "w")}
${columnOverA(shape)}
  let stride = B * params.pairs;
  let tokens = ${tokensOf(spec, "params.firstHead + h")};
  if (active_column) {
${eachInput(shape, (i) => `let n${i} = point * B + b; if (n${i} < tokens) { v${i} = load_pair(row + n${i}, pair); }`)}
  }
${eachInput(shape, (i) => `w${i} = turn_y(v${i}, point);`)}
${stockhamStages(shape, spec.twiddles, ["v", "w"])}
  if (active_column) {
${eachOutput(shape, (i) => `let to${i} = work_start + point * stride; work[to${i}] = ${turned(`v${i}`, 0)}; work[to${i} + A * stride] = ${turned(`w${i}`, 1)};`)}
  }
`;
  return makeKernel({
    id: "toeplitz/columns",
    label: `toeplitz columns ${spec.a}×${spec.b} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "values", access: "read", element: pairElement(spec, "values", spec.storage) },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "work", access: "read_write", element: "vec2f" },
      ...lengthBinding(spec),
    ],
    params: [...PASS_PARAMS, "valuesBase", ...lengthParams(spec)],
    declarations: [
      ...passDeclarations(spec),
      `${rootFunction(spec.axisRoots, "turn_y")}${roots ? rootFunction(roots) : ""}${lengthFunction(spec)}${loadPair(spec, spec.storage)}`,
    ],
    body,
  });
}
