/**
 * One pass of a complex FFT over strided columns.
 *
 *   destination[k] = scale · exp(−2πi·row·k/N) · Σ_n source[n] exp(−2πi nk/length)
 *
 * A transform that fits into workgroup memory is one pass, without the root. A longer one of N = A·B points is two (the four-step
 * framework, Bailey 1990): columns of A points, times exp(−2πi·b·k_a/N), then rows of B points. An inverse transform swaps re and im of
 * its first input and of its last output.
 *
 * Layout: a column is numbered by its digits, fastest first; digit d adds `value·sourceStride` to where the column starts in the
 * source, `value·destinationStride` in the destination. Points of a column are `sourceStride` and `destinationStride` apart.
 * A workgroup does `shape.columns` columns; lane → (slot, thread) as in stockham.ts.
 *
 * Bindings: 0 source, 1 destination, 2 tables (twiddles, roots, scale), 3 params.
 */
import { scaleFunction } from "./complex.ts";
import { type Kernel, makeKernel } from "./kernel.ts";
import { rootFunction, type RootTable } from "./roots.ts";
import { eachInput, eachOutput, stockhamDeclarations, stockhamRegisters, type StockhamShape, stockhamStages, workgroupLanes } from "./stockham.ts";
import { u32, wgsl } from "./wgsl.ts";

export interface ColumnDigit {
  readonly name: "inner" | "row";
  readonly size: number;
  readonly sourceStride: number;
  readonly destinationStride: number;
}

export interface FftKernelSpec {
  readonly shape: StockhamShape;
  readonly twiddleOffset: number;
  /** All but the outermost. */
  readonly digits: readonly ColumnDigit[];
  readonly outer: Pick<ColumnDigit, "sourceStride" | "destinationStride">;
  readonly sourceStride: number;
  readonly destinationStride: number;
  /** Roots of order N, for the pass that multiplies by exp(−2πi·row·k/N). */
  readonly roots: RootTable | undefined;
  readonly swapInput: boolean;
  readonly swapOutput: boolean;
  /** Offset of the scale in the table; `undefined` for a factor of 1. */
  readonly scaleOffset: number | undefined;
}

export function fftKernel(spec: FftKernelSpec): Kernel {
  const { shape } = spec;
  const input = spec.swapInput ? ".yx" : "";
  const output = (v: string) => {
    const turned = spec.roots ? `turn_root(${v}, row * point)` : v;
    const scaled = spec.scaleOffset === undefined ? turned : `scale(${turned})`;
    return spec.swapOutput ? `${scaled}.yx` : scaled;
  };
  const declarations = wgsl`${stockhamDeclarations(shape)}
#if ${spec.roots !== undefined}
${spec.roots ? rootFunction(spec.roots) : ""}
#endif
#if ${spec.scaleOffset !== undefined}
${scaleFunction(spec.scaleOffset ?? 0)}
#endif
`;
  const body = wgsl`${stockhamRegisters(shape)}
  let column = group * ${u32(shape.columns)} + slot;
  let active_column = column < params.columns;
  // Column → digits, fastest first; the outermost is what is left, so that a batch of any size shares the kernel.
  var outer = column;
${spec.digits.map((digit) => `  let ${digit.name} = outer % ${u32(digit.size)}; outer = outer / ${u32(digit.size)};`).join("\n")}
  let source_start = ${address(spec, "sourceStride")} - params.sourceBase;
  let destination_start = ${address(spec, "destinationStride")} - params.destinationBase;
  if (active_column) {
${eachInput(shape, (i) => `v${i} = source[source_start + point * ${u32(spec.sourceStride)}]${input};`)}
  }
${stockhamStages(shape, spec.twiddleOffset)}
  if (active_column) {
${eachOutput(shape, (i) => `destination[destination_start + point * ${u32(spec.destinationStride)}] = ${output(`v${i}`)};`)}
  }
`;
  return makeKernel({
    label: `fft ${shape.length}${spec.roots ? " × roots" : ""} (${shape.radices.join("·")})`,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "source", access: "read", element: "vec2f" },
      { name: "destination", access: "read_write", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: ["columns", "sourceBase", "destinationBase"],
    declarations,
    body,
  });
}

function address(spec: FftKernelSpec, stride: "sourceStride" | "destinationStride"): string {
  return [...spec.digits, { name: "outer", ...spec.outer }].map((digit) => `${digit.name} * ${u32(digit[stride])}`).join(" + ");
}
