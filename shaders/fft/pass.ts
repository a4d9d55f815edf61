/**
 * One pass of a complex FFT over strided columns.
 *
 *   destination[k] = scale · exp(−2πi·row·k/P) · Σ_n source[n] exp(−2πi nk/L)
 *
 * A transform that fits into workgroup memory is one pass, without the root. A longer one of N = L_1·L_2·… points is several (the
 * four-step framework, Bailey 1990): columns of L_1 points, times exp(−2πi·row·k/N), then columns of L_2 points of what is left, and so
 * on. An inverse transform swaps re and im of its first input and of its last output.
 *
 * With a `product`, the pass multiplies its transform by a spectrum and transforms back: a convolution. With a `chirp`, input and output
 * are turned by exp(−iπn²/N), which makes a convolution of any transform (Bluestein 1970).
 *
 * Layout: a column is numbered by its digits, fastest first; what is left is the outer index. Its points lie in the source and the
 * destination as `ColumnEnd` says. A workgroup does `shape.columns` columns; lane → (slot, thread) as in fft/stockham.ts.
 *
 * Bindings, in this order: source, destination, or `data` for both; tables (twiddles, roots, chirp, scale); spectrum, if it is a tensor;
 * params.
 */
import { type ColumnDigit, type ColumnEnd, endElement, lineExpression, loadFunction, startExpression, storeFunction } from "./column-end.ts";
import { scaleFunction } from "../wgsl/complex.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { rootFunction, type RootTable } from "./roots.ts";
import {
  eachInput,
  eachOutput,
  reversedAxes,
  stockhamColumn,
  stockhamDeclarations,
  stockhamName,
  stockhamProduct,
  stockhamRegisters,
  type StockhamTransform,
  stockhamStages,
  workgroupLanes,
} from "./stockham.ts";
import { u32, unroll, wgsl } from "../wgsl/wgsl.ts";

/** Turns by exp(−iπn²/N), which stand in the table, for n along the whole transform (`at`) or within the column (`point`). */
export interface Chirp {
  readonly offset: number;
  readonly along: "at" | "point";
  readonly ends: readonly ("source" | "destination")[];
}

/** Where the factors of a convolution are. */
export type Product =
  | {
      /** The factors stand in the table: one set for all columns, or [rows, L] for the digit `row`. */
      readonly kind: "table";
      readonly offset: number;
      readonly byRow: boolean;
    }
  | {
      /** The factors stand in the binding `spectrum`, [kernels, rows, L]: for the outer index modulo `kernels`, and for the digit `row`. */
      readonly kind: "tensor";
      readonly kernels: number;
    };

export interface FftKernelSpec extends StockhamTransform {
  /** Points of a column; fewer than the shape's where these are padded with zeros. */
  readonly points: number;
  readonly digits: readonly ColumnDigit[];
  readonly source: ColumnEnd;
  readonly destination: ColumnEnd;
  /** Source and destination are one buffer, which a workgroup reads before it writes. */
  readonly inPlace: boolean;
  /** Roots of order P, for a pass that multiplies by exp(−2πi·row·k/P); a pass that leaves re and im swapped thereby takes the conjugate. */
  readonly roots: RootTable | undefined;
  readonly chirp: Chirp | undefined;
  readonly product: Product | undefined;
  readonly swapInput: boolean;
  /** Swap re and im after the transform: a product leaves them swapped, so that the transform back, here or in a later pass, is a forward one. */
  readonly back: boolean;
  readonly swapOutput: boolean;
  /** Offset of the scale in the table; `undefined` for a factor of 1. */
  readonly scaleOffset: number | undefined;
}

export function fftKernel(spec: FftKernelSpec): Kernel {
  const { shape, chirp, product } = spec;
  const rows = spec.digits.find((digit) => digit.name === "row")?.size;
  const row = rows === undefined ? "0u" : "row";
  const padded = spec.points < shape.length;
  const turned = (end: "source" | "destination", value: string) => {
    if (!chirp?.ends.includes(end)) return value;
    return `turn_by(${value}, tables[${u32(chirp.offset)} + ${chirp.along}])`;
  };
  const guard = padded ? `if (point < ${u32(spec.points)}) ` : "";
  const input = (i: number) => {
    const value = `load_at(source_start, at)${spec.swapInput ? ".yx" : ""}`;
    return `${guard}{ let at = source_at(source_line, point); v${i} = ${turned("source", value)}; }`;
  };
  const output = (i: number) => {
    const restored = spec.back ? `v${i}.yx` : `v${i}`;
    const scaled = spec.scaleOffset === undefined ? restored : `scale(${restored})`;
    const chirped = turned("destination", scaled);
    const value = `${spec.roots ? `turn_root(${chirped}, row * point)` : chirped}${spec.swapOutput ? ".yx" : ""}`;
    return `${guard}{ let at = destination_at(destination_line, point); store_at(destination_start, at, ${row}, ${value}); }`;
  };
  const transform =
    product === undefined
      ? stockhamStages(shape, spec.twiddles)
      : stockhamProduct(
          shape,
          spec.twiddles,
          (i) => `v${i} = complex_multiply(v${i}, ${product.kind === "tensor" ? "spectrum" : "tables"}[spectrum_start + point]).yx;`,
        );
  return makeKernel({
    id: "fft/pass",
    label: `fft ${spec.points}${spec.roots ? " × roots" : ""}${product ? " × spectrum" : ""} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      ...(spec.inPlace
        ? [{ name: "data", access: "read_write" as const, element: endElement(spec.source) }]
        : [
            { name: "source", access: "read" as const, element: endElement(spec.source) },
            { name: "destination", access: "read_write" as const, element: endElement(spec.destination) },
          ]),
      { name: "tables", access: "read", element: "vec2f" },
      ...(product?.kind === "tensor" ? [{ name: "spectrum", access: "read" as const, element: "vec2f" as const }] : []),
    ],
    params: ["columns", "sourceBase", "destinationBase", ...(product?.kind === "tensor" ? ["firstOuter", "spectrumBase"] : [])],
    declarations: [
      ...stockhamDeclarations(shape),
      spec.roots ? rootFunction(spec.roots) : "",
      spec.scaleOffset === undefined ? "" : scaleFunction(spec.scaleOffset),
      loadFunction(spec.source, spec.inPlace ? "data" : "source"),
      storeFunction(spec.destination, spec.inPlace ? "data" : "destination"),
    ],
    body: wgsl`${stockhamRegisters(shape)}
${stockhamColumn(shape)}
  // Column → digits, fastest first; the outermost is what is left, so that a batch of any size shares the kernel.
  var outer = column;
${unroll(spec.digits, (digit) => `  let ${digit.name} = outer % ${u32(digit.size)}; outer = outer / ${u32(digit.size)};`)}
  let source_start = ${startExpression(spec.source, spec.digits)} - params.sourceBase;
  let source_line = ${lineExpression(spec.source, spec.digits)};
  let destination_start = ${startExpression(spec.destination, spec.digits)} - params.destinationBase;
  let destination_line = ${lineExpression(spec.destination, spec.digits)};
${product ? spectrumStart(product, rows ?? 1, row, shape.length) : ""}
  if (active_column) {
${eachInput(shape, input)}
  }
${transform}
  if (active_column) {
${eachOutput(product ? reversedAxes(shape) : shape, output)}
  }
`,
  });
}

function spectrumStart(product: Product, rows: number, row: string, length: number): string {
  if (product.kind === "table") {
    return wgsl`  let spectrum_start = ${u32(product.offset)} + ${product.byRow ? row : "0u"} * ${u32(length)};`;
  }
  const kernel = `(params.firstOuter + outer) % ${u32(product.kernels)}`;
  return wgsl`  let spectrum_start = (${kernel} * ${u32(rows)} + ${row}) * ${u32(length)} - params.spectrumBase;`;
}
