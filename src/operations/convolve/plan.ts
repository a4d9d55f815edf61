/**
 * Plans for convolutions: a kernel to its spectrum, and the product, in one dispatch where the axes fit into a workgroup together, in
 * three beyond.
 */
import type { ColumnDigit, Window } from "../../../shaders/fft/column-end.ts";
import { elementCount } from "../../core/check.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { limitError, type Planner } from "../../program/ranges.ts";
import { forSlices } from "../../program/slices.ts";
import { COMPLEX_BYTES, FLOAT_BYTES } from "../../program/units.ts";
import { lineEnd } from "../fft/line-ends.ts";
import { addFft, inRounds } from "../fft/lines.ts";
import { addPass, type BufferEnd, type PassEnd, type PassProduct, windowPoints } from "../fft/pass.ts";
import { splitLength } from "../fft/split.ts";
import { convolutionLength, convolutionLengths, fits, hasRadices } from "../fft/stockham.ts";
import type { ConvolveAxis, ConvolveSpec, KernelAxis, KernelSpectrumSpec } from "./spec.ts";

/** How a convolution is done: all axes in one pass, or in three. */
type ConvolveMethod = { readonly kind: "fused"; readonly periods: readonly number[] } | LongMethod;

/** One axis by the four-step framework, or two axes one after the other: columns, rows, columns back. */
interface LongMethod {
  readonly kind: "fourStep" | "axes";
  /** Points of each axis. */
  readonly periods: readonly number[];
  readonly columnLength: number;
  readonly rowLength: number;
}

function chooseMethod(planner: Planner, spec: ConvolveSpec | KernelSpectrumSpec, circular: boolean): ConvolveMethod {
  const { caller, limits } = planner;
  const periods = choosePeriods(spec.axes, circular, limits);
  if (fits(limits, ...periods)) return { kind: "fused", periods };
  const [columnLength, rowLength] = [periods[0]!, periods[1]];
  if (rowLength === undefined) {
    const { a, b } = splitLength(caller, columnLength, limits);
    return { kind: "fourStep", periods, columnLength: a, rowLength: b };
  }
  for (const period of periods) {
    if (fits(limits, period)) continue;
    throw limitError(planner, "maxComputeWorkgroupStorageSize", FLOAT_BYTES * period, `one axis of a convolution of period ${period}`);
  }
  return { kind: "axes", periods, columnLength, rowLength };
}

/** Points of the spectrum of one kernel. */
export function spectrumPoints(axes: readonly KernelAxis[], circular: boolean, limits: PlannerLimits): number {
  return elementCount(choosePeriods(axes, circular, limits));
}

/** Lengths with codelets in which nothing wanted wraps around; of circular convolutions these lengths, or twice that where there are no codelets. */
function choosePeriods(axes: readonly KernelAxis[], circular: boolean, limits: PlannerLimits): readonly number[] {
  if (!circular) {
    return convolutionLengths(
      axes.map((axis) => axis.period),
      limits,
    );
  }
  return axes.map(({ period }) => (hasRadices(period) ? period : convolutionLength(2 * period - 1, limits)));
}

/** The places of the kernel's points in the period. */
function kernelWindow(axis: KernelAxis, period: number, circular: boolean): Window {
  // Every offset from −(N − 1) to N − 1 has its own place in a longer period.
  return { limit: axis.kernel, ...(circular && period > axis.period && { wrap: { order: axis.period, period } }) };
}

function inputWindow(axis: ConvolveAxis): Window {
  return { limit: axis.length };
}

function outputWindow(axis: ConvolveAxis): Window {
  return { shift: axis.offset, limit: axis.output };
}

function elementBytes(spec: ConvolveSpec | KernelSpectrumSpec): number {
  return spec.dtype === "f32" ? FLOAT_BYTES : COMPLEX_BYTES;
}

/** Adds the transforms of the kernels into `spectrum`. @throws FastRpbError code `"limit"` where the device is too small for them */
export function planKernelSpectrum(
  program: ProgramBuilder,
  spec: KernelSpectrumSpec,
  tensors: NamedHandles<"kernel" | "spectrum">,
  scratch: number,
): void {
  const method = chooseMethod(program, spec, spec.circular);
  const { periods } = method;
  const sizes = spec.axes.map((axis) => axis.kernel);
  const points = elementCount(sizes);
  const period = elementCount(periods);
  const kernelBytes = points * elementBytes(spec);
  const spectrumBytes = period * COMPLEX_BYTES;
  const element = spec.dtype === "f32" ? "real" : "complex";
  const windows = spec.axes.map((axis, i) => kernelWindow(axis, periods[i]!, spec.circular));
  const scale = 1 / period;
  forSlices(program, "one row", spec.kernels, [kernelBytes, spectrumBytes], (first, count, [kernelSlice, spectrumSlice]) => {
    const source: BufferEnd = { buffer: tensors.kernel, slice: kernelSlice, firstOuter: first };
    const destination: BufferEnd = { buffer: tensors.spectrum, slice: spectrumSlice, firstOuter: first };
    if (periods.length === 1) {
      const ends = { source: { element, rows: points, ...windows[0] }, destination: {} } as const;
      const layout = { outer: count, length: period, inner: 1 };
      addFft(program, { layout, source, destination, inverse: false, scale, order: "transposed", ends }, scratch);
      return;
    }
    if (method.kind === "fused") {
      addPass(program, {
        outer: count,
        digits: [],
        lengths: periods,
        source: axesEnd(source, { element, inner: 1, digits: [], sizes, windows, periods }),
        // In the order in which the transform leaves it, and the product reads it.
        destination: lineEnd(destination, { length: period, inner: 1 }, { point: 1, digits: [] }),
        scale,
      });
      return;
    }
    const [ky, kx] = [sizes[0]!, sizes[1]!];
    const [my, mx] = [periods[0]!, periods[1]!];
    // Rows of the kernel first, so that rows of zeros are not transformed.
    const rowBytes = count * ky * mx * COMPLEX_BYTES;
    const rows: BufferEnd = { buffer: program.temporary("rows", rowBytes), slice: undefined, firstOuter: 0 };
    const common = { inverse: false, order: "natural" } as const;
    const ofKernel = {
      layout: { outer: count * ky, length: mx, inner: 1 },
      source: { ...source, firstOuter: first * ky },
      destination: rows,
      scale: 1,
    };
    addFft(program, { ...common, ...ofKernel, ends: { source: { element, rows: kx, ...windows[1] }, destination: {} } }, scratch - rowBytes);
    const ofRows = { layout: { outer: count, length: my, inner: mx }, source: rows, destination, scale };
    addFft(program, { ...common, ...ofRows, ends: { source: { rows: ky, ...windows[0] }, destination: {} } }, scratch - rowBytes);
  });
}

/** An end with all axes in one column, the last one fastest. */
function axesEnd(
  target: BufferEnd,
  end: Pick<PassEnd, "element" | "inner"> &
    Readonly<Record<"digits" | "sizes" | "periods", readonly number[]>> & { readonly windows: readonly Window[] },
): PassEnd {
  const { element, inner, digits, sizes, windows, periods } = end;
  const points = sizes.map((_, i) => ({ size: periods[i]!, stride: elementCount(sizes.slice(i + 1)), ...windows[i] })).reverse();
  const elements = inner * elementCount(windows.map((window, i) => windowPoints(window, periods[i]!)));
  return { ...lineEnd(target, { length: elementCount(sizes), inner }, { point: 1, digits }), element, points, elements };
}

/** Two real sequences side by side, along the axes after those of the kernel, are one complex one: the kernel is real. Half the transforms. */
function inPairs(spec: ConvolveSpec): ConvolveSpec {
  return spec.dtype === "f32" && spec.inner % 2 === 0 ? { ...spec, dtype: "complex64", inner: spec.inner / 2 } : spec;
}

/** Adds the convolutions of `x` with the kernels that `spectrum` is of, into `out`. @throws FastRpbError code `"limit"` */
export function planConvolve(
  program: ProgramBuilder,
  options: ConvolveSpec,
  { x, spectrum, out }: NamedHandles<"x" | "spectrum" | "out">,
  scratch: number,
): void {
  const spec = inPairs(options);
  const method = chooseMethod(program, spec, spec.mode === "circular");
  const outer = spec.repeats * spec.kernels;
  const bytes = elementBytes(spec);
  const inputBytes = elementCount(spec.axes.map((axis) => axis.length)) * spec.inner * bytes;
  const outputBytes = elementCount(spec.axes.map((axis) => axis.output)) * spec.inner * bytes;
  const spectrumBytes = elementCount(method.periods) * COMPLEX_BYTES;
  const spectraBytes = spec.kernels * spectrumBytes;
  if (spectraBytes > program.limits.maxStorageBufferBindingSize) {
    throw limitError(program, "maxStorageBufferBindingSize", spectraBytes, "the spectra of all kernels");
  }
  forSlices(program, "one row", outer, [inputBytes, outputBytes], (first, count, [inputSlice, outputSlice]) => {
    const request: ProductRequest = {
      spec,
      outer: count,
      source: { buffer: x, slice: inputSlice, firstOuter: first },
      destination: { buffer: out, slice: outputSlice, firstOuter: first },
      spectrum: { buffer: spectrum, slice: undefined, firstOuter: 0 },
      spectrumBytes,
    };
    if (method.kind === "fused") addFusedProduct(program, request, method.periods);
    else addLongProduct(program, request, method, scratch);
  });
}

/** Convolutions of some rows of x. */
interface ProductRequest {
  readonly spec: ConvolveSpec;
  readonly outer: number;
  readonly source: BufferEnd;
  readonly destination: BufferEnd;
  readonly spectrum: BufferEnd;
  /** Bytes of the spectrum of one kernel. */
  readonly spectrumBytes: number;
}

/** The product of the rows of a request, each with the spectrum of its kernel. */
function productOf({ spec, outer, source, spectrum, spectrumBytes }: ProductRequest): PassProduct {
  const { kernels } = spec;
  return { kind: "tensor", spectrum, kernels, firstOuter: source.firstOuter, reads: Math.min(outer, kernels) * spectrumBytes };
}

/** Everything in one dispatch: a workgroup holds the period. */
function addFusedProduct(program: ProgramBuilder, request: ProductRequest, periods: readonly number[]): void {
  const { spec, outer } = request;
  const { inner, axes } = spec;
  const element = spec.dtype === "f32" ? "real" : "complex";
  const common = { element, inner, digits: [0], periods } as const;
  addPass(program, {
    outer,
    digits: [{ name: "inner", size: inner }],
    lengths: periods,
    source: axesEnd(request.source, { ...common, sizes: axes.map((axis) => axis.length), windows: axes.map(inputWindow) }),
    destination: axesEnd(request.destination, { ...common, sizes: axes.map((axis) => axis.output), windows: axes.map(outputWindow) }),
    product: productOf(request),
    back: true,
  });
}

/**
 * Three dispatches: columns; rows × spectrum and back, in place; columns back. Along one axis columns and rows are those of the
 * four-step framework, along two they are the axes themselves.
 */
function addLongProduct(program: ProgramBuilder, request: ProductRequest, method: LongMethod, scratch: number): void {
  const { spec } = request;
  const [, rowAxis] = spec.axes;
  // Points of a row that are kept between the passes.
  const kept = rowAxis ? Math.max(rowAxis.length, rowAxis.output) : method.rowLength;
  const bytes = method.columnLength * kept * spec.inner * COMPLEX_BYTES;
  inRounds(program, "the transform of one row", { ...request, bytes }, scratch, (round, work) => {
    addLongPasses(program, { ...request, ...round }, method, work, kept);
  });
}

function addLongPasses(program: ProgramBuilder, request: ProductRequest, method: LongMethod, work: BufferEnd, kept: number): void {
  const { spec, outer } = request;
  const { inner } = spec;
  const { columnLength, rowLength } = method;
  const element = spec.dtype === "f32" ? "real" : "complex";
  const [axis, rowAxis] = [spec.axes[0]!, spec.axes[1]];
  const innerDigit: ColumnDigit = { name: "inner", size: inner };
  const fourStep = method.kind === "fourStep";
  /** The columns of a tensor: all of one axis, `width` of them, or those of the four-step framework. */
  const columns = (target: BufferEnd, window: Window, rows: number, width: number, elements: number): PassEnd => ({
    ...target,
    element,
    rows,
    inner: fourStep ? inner : width * inner,
    points: [{ size: columnLength, stride: fourStep ? rowLength : 1 }],
    strides: [0, fourStep ? 1 : 0],
    outside: [1, fourStep ? 0 : inner],
    ...window,
    elements,
  });
  const workColumns = (width: number): PassEnd => ({
    ...lineEnd(work, { length: columnLength, inner: kept * inner }, { point: 1, digits: [0, 0] }),
    outside: [1, inner],
    elements: columnLength * width * inner,
  });
  const inputs = rowAxis?.length ?? rowLength;
  const outputs = rowAxis?.output ?? rowLength;
  const rootsOrder = fourStep ? { rootsOrder: columnLength * rowLength } : {};
  addPass(program, {
    outer,
    digits: [innerDigit, { name: "row", size: inputs }],
    lengths: [columnLength],
    source: columns(request.source, inputWindow(axis), axis.length, inputs, axis.length * (fourStep ? 1 : inputs) * inner),
    destination: workColumns(inputs),
    ...rootsOrder,
  });
  const rows = (window: Window, points: number): PassEnd => ({
    ...lineEnd(work, { length: columnLength * kept, inner }, { point: 1, digits: [0, 0] }),
    points: [{ size: rowLength, stride: 1, ...window }],
    outside: [1, kept * inner],
    elements: columnLength * points * inner,
  });
  addPass(program, {
    outer,
    digits: [innerDigit, { name: "row", size: columnLength }],
    lengths: [rowLength],
    source: rows(rowAxis ? inputWindow(rowAxis) : {}, inputs),
    destination: rows(rowAxis ? outputWindow(rowAxis) : {}, outputs),
    product: productOf(request),
    // Of one axis, the columns have yet to be transformed back: re and im stay swapped for that.
    back: !fourStep,
    ...rootsOrder,
  });
  addPass(program, {
    outer,
    digits: [innerDigit, { name: "row", size: outputs }],
    lengths: [columnLength],
    source: workColumns(outputs),
    destination: columns(request.destination, outputWindow(axis), axis.output, outputs, axis.output * (fourStep ? 1 : outputs) * inner),
    swapInput: !fourStep,
    back: true,
  });
}
