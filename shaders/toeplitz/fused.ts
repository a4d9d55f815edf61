/**
 * Toeplitz product in one dispatch, for sizes whose transform fits into workgroup memory: out = T v for every pair of channels, in one
 * dimension or on a grid [H, W], token n = y·W + x. v is read once and the result written once: the branches of T
 * (toeplitz/branches.ts, toeplitz/embed.ts) stay in registers.
 *
 * Layout: values, out [B·H, N, D]; spectrum [H, branches, M], on a grid [H, 4, M_x, M_y]. A column is a pair of channels of one head,
 * pairs fastest. A workgroup does `shape.columns` columns; lane → (slot, thread) as in fft/stockham.ts.
 * Bindings: 0 values, 1 spectrum, 2 tables (twiddles, roots of twice each period), 3 out, 4 lengths where there are such; then params.
 */
import { type ChannelRows, loadPair, pairElement, storePair } from "./channel-pairs.ts";
import { type Kernel, makeKernel, type Precision } from "../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, tokensOf } from "../wgsl/lengths.ts";
import { eachInput, stockhamDeclarations, stockhamName, stockhamRegisters, workgroupLanes } from "../fft/stockham.ts";
import { branchCount, branchDeclarations, branchesOutput, tokenFunctions, toeplitzBranches, type ToeplitzBranchesSpec } from "./branches.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzFusedKernelSpec extends ToeplitzBranchesSpec, ChannelRows {
  /** How values and out are stored. */
  readonly storage: Precision;
  /** Possible in one dimension only. */
  readonly variableLengths: boolean;
}

export function toeplitzFusedKernel(spec: ToeplitzFusedKernelSpec): Kernel {
  const { shape, axes } = spec;
  const tokens = axes.reduce((product, axis) => product * axis.size, 1);
  const body = wgsl`${stockhamRegisters(shape)}
  let local_column = group * ${u32(shape.columns)} + slot;
  let active_column = local_column < params.columns;
  let column = params.firstColumn + min(local_column, params.columns - 1u); // idle ones read no other head's spectrum
  let pair = column % PAIRS;
  let bh = column / PAIRS;
  let row = bh * N;
  let tokens = ${tokensOf(spec)};
  let spectrum_start = (bh % params.heads) * ${u32(branchCount(axes) * shape.length)} - params.spectrumBase;
  if (active_column) {
${eachInput(shape, (i) => `if (${spec.variableLengths ? "point < tokens" : "is_token(point)"}) { v${i} = load_pair(row + token(point), pair); }`)}
  }
${toeplitzBranches(spec, shape.length)}
  if (active_column) {
${branchesOutput(spec, (i) => `if (is_token(point)) { store_pair(row + token(point), pair, ${spec.variableLengths ? `select(v${i}.yx, vec2f(), point >= tokens)` : `v${i}.yx`}); }`)}
  }
`;
  return makeKernel({
    id: "toeplitz/fused",
    label: `toeplitz fused ${spec.storage === "f16" ? "f16 " : ""}${spec.transposed ? "transposed " : ""}${axes.map((axis) => axis.size).join("×")} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "values", access: "read", element: pairElement(spec, "values", spec.storage) },
      { name: "spectrum", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: pairElement(spec, "out", spec.storage) },
      ...lengthBinding(spec),
    ],
    params: ["columns", "firstColumn", "heads", "valuesBase", "spectrumBase", "outBase"],
    declarations: [
      wgsl`const N = ${u32(tokens)};
const PAIRS = ${u32(Math.ceil(spec.channels / 2))};`,
      ...stockhamDeclarations(shape),
      `${branchDeclarations(spec)}${tokenFunctions(spec)}${lengthFunction(spec)}${loadPair(spec, spec.storage)}${storePair(spec, spec.storage)}`,
    ],
    body,
  });
}
