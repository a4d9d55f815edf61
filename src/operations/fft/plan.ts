/** Plans for FFTs of any length: along one to three axes, complex and real. */
import type { ColumnDigit } from "../../../shaders/fft/column-end.ts";
import { ELEMENT_BYTES, storedElement } from "../../../shaders/wgsl/kernel.ts";
import { axisLayout } from "../../core/axes.ts";
import { elementCount } from "../../core/check.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { firstBytes, largestScratch, limitError } from "../../program/ranges.ts";
import { forSlices } from "../../program/slices.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";
import { addFft, LINE } from "./lines.ts";
import { addPass, type BufferEnd, type PassEnd } from "./pass.ts";
import { addComplexToReal, addRealToComplex } from "./real.ts";
import type { FftSpec } from "./spec.ts";
import { fitsPass } from "./split.ts";
import { fits } from "./stockham.ts";

/** Adds the transform of `x` into `out`, which are one where it is done in place. @throws FastRpbError code `"limit"` */
export function planFft(
  program: ProgramBuilder,
  spec: FftSpec,
  { out, x = out }: { readonly x?: Handle; readonly out: Handle },
  scratch: number,
): void {
  const { kind, storage: precision } = spec;
  const firstAxis = Math.min(...spec.axes);
  const outer = elementCount(spec.shape.slice(0, firstAxis));
  // Bytes of one index of the axes before all transformed ones: they are done one after the other where bindings are small.
  const slabs = {
    input: elementCount(spec.inputShape.slice(firstAxis)) * ELEMENT_BYTES[storedElement(kind === "r2c" ? "single" : "pair", precision)],
    output: elementCount(spec.outputShape.slice(firstAxis)) * ELEMENT_BYTES[storedElement(kind === "c2r" ? "single" : "pair", precision)],
  };
  const add = (first: number, count: number, [input, output]: readonly BufferEnd["slice"][]) => {
    const request: TransformRequest = {
      source: { buffer: x, slice: input, firstOuter: first, precision },
      destination: { buffer: out, slice: output, firstOuter: first, precision },
      outer: count,
      shape: spec.shape.slice(firstAxis),
      axes: spec.axes.map((axis) => axis - firstAxis),
    };
    addTransform(program, spec, request, scratch);
  };
  forSlices(program, LINE, outer, [slabs.input, slabs.output], add, () => affordableUnits(program, spec, firstAxis, scratch));
}

/** Whether results wait in scratch before the next axis. In the tensor, f16 would round or overflow; a real one has no place for them. */
function waits(limits: PlannerLimits, { kind, storage, shape, axes }: FftSpec): boolean {
  if (kind === "c2c") return storage === "f16" && fusedAxes(limits, shape, axes).length > 1;
  return axes.length > 1 && (kind === "c2r" || storage === "f16");
}

/** For how many indices before the transformed axes the results between these can wait at a time. */
function affordableUnits(program: ProgramBuilder, spec: FftSpec, firstAxis: number, scratch: number): number {
  if (!waits(program.limits, spec)) return Infinity;
  const bytes = COMPLEX_BYTES * elementCount((spec.kind === "r2c" ? spec.outputShape : spec.inputShape).slice(firstAxis));
  const available = largestScratch(program.limits, scratch);
  if (bytes > available) throw limitError(program, "workspaceBytes", bytes, LINE, available);
  // Transforms of several passes need their share.
  const shared = spec.axes.some((axis) => !fitsPass(program.limits, spec.shape[axis]!));
  return Math.max(1, Math.floor(available / bytes / (shared ? 2 : 1)));
}

/** The transform of a slab of a tensor. */
interface TransformRequest {
  readonly source: BufferEnd;
  readonly destination: BufferEnd;
  /** Indices before the axes of `shape`. */
  readonly outer: number;
  readonly shape: readonly number[];
  readonly axes: readonly number[];
}

/** Adds the transform of a slab, axis after axis. */
function addTransform(program: ProgramBuilder, spec: FftSpec, request: TransformRequest, scratch: number): void {
  const { outer, shape, axes, destination } = request;
  const { pairFactor } = spec;
  const inverse = spec.direction === "inverse";
  const last = axes.at(-1)!;
  const half = shape.map((size, axis) => (axis === last ? Math.floor(size / 2) + 1 : size));
  // Where results wait for the next axis, of a slab of the largest shape on the way.
  const waitingBytes = waits(program.limits, spec) ? outer * elementCount(spec.kind === "c2c" ? shape : half) * COMPLEX_BYTES : 0;
  const between: BufferEnd =
    waitingBytes === 0 ? destination : { buffer: program.temporary("between", waitingBytes), slice: firstBytes(waitingBytes), firstOuter: 0 };
  const rest = scratch - waitingBytes;
  // Of a transform of the axis in a slab of this shape; outer indices of the slab count once for each index before the axis.
  const lines = (sizes: readonly number[], axis: number, source: BufferEnd, target: BufferEnd) => {
    const layout = axisLayout(sizes, axis);
    const scaled = (end: BufferEnd): BufferEnd => ({ ...end, firstOuter: end.firstOuter * layout.outer });
    return { layout: { ...layout, outer: outer * layout.outer }, source: scaled(source), destination: scaled(target), inverse };
  };
  const complexSteps = (sizes: readonly number[], list: readonly number[], ends: readonly [BufferEnd, BufferEnd, BufferEnd], scale: number) => {
    const [source, middle, final] = ends;
    let from = source;
    const groups = fusedAxes(program.limits, sizes, list);
    for (const [i, group] of groups.entries()) {
      const [target, factor] = i === groups.length - 1 ? [final, scale] : [middle, 1];
      if (group.length === 1) addFft(program, { ...lines(sizes, group[0]!, from, target), scale: factor, order: "natural" }, rest);
      else addFusedAxes(program, { outer, shape: sizes, axes: group, source: from, destination: target, inverse, scale: factor });
      from = target;
    }
  };
  if (spec.kind === "c2c") {
    complexSteps(shape, axes, [request.source, between, destination], spec.scale);
    return;
  }
  const others = axes.slice(0, -1);
  if (spec.kind === "r2c") {
    addRealToComplex(program, { ...lines(shape, last, request.source, between), scale: others.length > 0 ? 1 : spec.scale, pairFactor }, rest);
    complexSteps(half, others, [between, between, destination], spec.scale);
    return;
  }
  complexSteps(half, others, [request.source, between, between], 1);
  const from = others.length > 0 ? between : request.source;
  addComplexToReal(program, { ...lines(shape, last, from, destination), scale: spec.scale, pairFactor }, rest);
}

/** Axes that one dispatch transforms together: all, two neighbours in the list, or none. */
function fusedAxes(limits: PlannerLimits, shape: readonly number[], axes: readonly number[]): readonly (readonly number[])[] {
  const fitting = (group: readonly number[]) => fits(limits, ...group.map((axis) => shape[axis]!));
  if (axes.length === 0) return [];
  if (axes.length > 1 && fitting(axes)) return [axes];
  if (axes.length === 3 && fitting(axes.slice(1))) return [axes.slice(0, 1), axes.slice(1)];
  if (axes.length === 3 && fitting(axes.slice(0, 2))) return [axes.slice(0, 2), axes.slice(2)];
  return axes.map((axis) => [axis]);
}

/** Several axes in one dispatch: a workgroup holds their product. */
function addFusedAxes(program: ProgramBuilder, request: TransformRequest & { readonly inverse: boolean; readonly scale: number }): void {
  const { shape } = request;
  const axes = [...request.axes].sort((a, b) => a - b);
  const slab = elementCount(shape);
  const stride = (axis: number) => elementCount(shape.slice(axis + 1));
  // The other axes are digits of the column, neighbours together; the position counts elements.
  const digits: { name: ColumnDigit["name"]; size: number; stride: number }[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (axes.includes(axis)) continue;
    const inGroup = axis + 1 < shape.length && !axes.includes(axis + 1);
    if (inGroup) digits.at(-1)!.size *= shape[axis]!;
    else digits.push({ name: (["inner", "between", "done"] as const)[digits.length]!, size: shape[axis]!, stride: stride(axis) });
  }
  const end = (target: BufferEnd, points: PassEnd["points"]): PassEnd => ({
    ...target,
    element: "complex",
    rows: slab,
    inner: 1,
    points,
    strides: digits.map(() => 0),
    outside: digits.map((digit) => digit.stride),
    elements: slab,
  });
  const points = axes.map((axis) => ({ size: shape[axis]!, stride: stride(axis) }));
  addPass(program, {
    outer: request.outer,
    digits: digits.map(({ name, size }) => ({ name, size })),
    lengths: axes.map((axis) => shape[axis]!),
    source: end(request.source, [...points].reverse()), // the last axis is the fastest
    destination: end(request.destination, points), // axes reversed
    swapInput: request.inverse,
    swapOutput: request.inverse,
    scale: request.scale,
  });
}
