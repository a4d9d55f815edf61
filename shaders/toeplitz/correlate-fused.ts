/**
 * Correlations whose transforms fit into workgroup memory: the spectrum, of twice the period M along each axis, of Σ_i conj(g_i) v_{i+n} over the
 * batch and the pairs of channels. Its even frequencies are those of the vectors, the odd ones those of D times them (toeplitz/branches.ts):
 *
 *   sums[part, slot, h, 2k + s] = Σ conj(F D_s g)[k] (F D_s v)[k],
 *
 * on a grid along both axes. A workgroup goes through a part of a head's columns, `shape.columns` at a time, for one branch s; the sums stay in
 * registers until the end. Workgroup → (h, s, part).
 *
 * Layout: gradients, values [B·H, N, D], sums [parts, slots, H, points]. A column is (batch entry, pair), pairs fastest.
 * Bindings: 0 gradients, 1 values, 2 tables (twiddles, roots of twice each period), 3 sums, 4 lengths where there are such; then params.
 */
import {
  declareRegisters,
  eachInput,
  eachOutput,
  everyRegister,
  stockhamDeclarations,
  stockhamName,
  stockhamRegisters,
  stockhamStages,
  workgroupLanes,
} from "../fft/stockham.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, tokensOf } from "../wgsl/lengths.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { branchCount, branchDeclarations, tokenFunctions, type ToeplitzBranchesSpec } from "./branches.ts";
import { type ChannelRows, loadPair, pairElement } from "./channel-pairs.ts";

export interface ToeplitzCorrelateFusedKernelSpec extends Omit<ToeplitzBranchesSpec, "transposed">, ChannelRows {
  /** Possible in one dimension only. */
  readonly variableLengths: boolean;
}

export function toeplitzCorrelateFusedKernel(spec: ToeplitzCorrelateFusedKernelSpec): Kernel {
  const { shape, axes, channels } = spec;
  const { length, columns } = shape;
  const branches = u32(branchCount(axes));
  const tokens = axes.reduce((product, axis) => product * axis.size, 1);
  const inside = spec.variableLengths ? "point < tokens" : "is_token(point)";
  const [y, x] = [u32(axes[0]!.period), u32(axes.at(-1)!.period)];
  const place = axes.length === 1 ? "2u * point + branch" : `(2u * (point % ${y}) + branch / 2u) * 2u * ${x} + 2u * (point / ${y}) + branch % 2u`;
  const body = wgsl`${stockhamRegisters(shape)}
${declareRegisters(shape, "held")}
${declareRegisters(shape, "sum")}
  let part = group % params.parts;
  let branch = group / params.parts % ${branches};
  let h = group / params.parts / ${branches};
  let sum_start = ((part * ${u32(columns)} + slot) * params.heads + h) * ${branches} * ${u32(length)};
  for (var first = part * ${u32(columns)}; first < params.columns; first += params.parts * ${u32(columns)}) {
    let column = first + slot;
    let pair = column % PAIRS;
    let bh = column / PAIRS * params.heads + h;
    let row = bh * N;
    let tokens = ${tokensOf(spec, "min(column, params.columns - 1u) / PAIRS * params.heads")};
    for (var second = 0u; second < 2u; second++) { // gradients, values
${eachInput(
  shape,
  (i) => `v${i} = vec2f();
      if (column < params.columns && ${inside}) {
        if (second == 0u) { v${i} = load_gradient(row + token(point), pair); } else { v${i} = load_pair(row + token(point), pair); }
        v${i} = turn_branch(v${i}, branch, point);
      }`,
)}
${stockhamStages(shape, spec.twiddles)}
      if (second == 0u) {
${everyRegister(shape, (i) => `held${i} = v${i} * vec2f(1.0, -1.0);`)}
      } else {
${everyRegister(shape, (i) => `sum${i} += complex_multiply(held${i}, v${i});`)}
      }
    }
  }
${eachOutput(shape, (i) => `sums[sum_start + ${place}] = sum${i};`)}
`;
  return makeKernel({
    id: "toeplitz/correlate-fused",
    label: `toeplitz correlate fused ${axes.map((axis) => axis.size).join("×")} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "gradients", access: "read", element: pairElement(spec, "gradients") },
      { name: "values", access: "read", element: pairElement(spec, "values") },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "sums", access: "read_write", element: "vec2f" },
      ...lengthBinding(spec),
    ],
    params: ["columns", "parts", "heads", "gradientsBase", "valuesBase"],
    declarations: [
      wgsl`const N = ${u32(tokens)};
const PAIRS = ${u32(Math.ceil(channels / 2))};`,
      ...stockhamDeclarations(shape),
      `${branchDeclarations(spec)}${tokenFunctions(spec)}${lengthFunction(spec)}${loadPair(spec)}${loadPair(spec, "f32", "gradients", "load_gradient")}`,
    ],
    body,
  });
}
