/** Plans for FFTs of any length: along one to three axes, complex and real. */
import type { ColumnDigit } from "../../shaders/column-end.ts";
import { complexToRealKernel } from "../../shaders/complex-to-real.ts";
import { ELEMENT_BYTES, storedElement } from "../../shaders/kernel.ts";
import { realToComplexKernel } from "../../shaders/real-to-complex.ts";
import { type AxisLayout, axisLayout } from "../spec/axes.ts";
import { elementCount } from "../spec/check.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import type { FftSpec } from "../spec/operations.ts";
import { addPass, type BufferEnd, type PassEnd, windowPoints } from "./fft-pass.ts";
import { bindableUnits, limitError, type Program, ProgramBuilder, sliceBase, sliceBytes } from "./program.ts";
import { chirpLength, choosePasses, chooseSplit, fitsPass, tooLong } from "./split.ts";
import { chooseShape, fftFlops, fits, hasRadices } from "./stockham.ts";
import { TableLayout } from "./tables.ts";

/** Of the workspaces: what passes leave to each other stays in f32. */
const COMPLEX_BYTES = 8;

export function planFft(caller: string, spec: FftSpec, limits: PlannerLimits): Program {
  const { kind, storage: precision } = spec;
  const half = precision === "f16" ? ", f16" : "";
  const program = new ProgramBuilder(caller, `fft ${spec.direction} ${spec.axes.map((axis) => spec.shape[axis]).join("×")}${half}`, limits);
  const firstAxis = Math.min(...spec.axes);
  const outer = elementCount(spec.shape.slice(0, firstAxis));
  // Bytes of one index of the axes before all transformed ones: they are done one after the other where bindings are small.
  const slabs = {
    input: elementCount(spec.inputShape.slice(firstAxis)) * ELEMENT_BYTES[storedElement(kind === "r2c" ? "single" : "pair", precision)],
    output: elementCount(spec.outputShape.slice(firstAxis)) * ELEMENT_BYTES[storedElement(kind === "c2r" ? "single" : "pair", precision)],
  };
  const x = spec.inPlace ? "out" : program.buffer("x", "input", outer * slabs.input);
  const out = program.buffer("out", spec.inPlace ? "inout" : "output", outer * slabs.output);
  const bindable = bindableUnits(limits, Math.max(slabs.input, slabs.output), outer);
  if (bindable < 1) {
    const needed = Math.max(slabs.input, slabs.output);
    throw limitError(caller, "maxStorageBufferBindingSize", needed, limits.maxStorageBufferBindingSize, "one transform with its inner axes");
  }
  const slice = (first: number, count: number, bytes: number) =>
    bindable === outer ? undefined : sliceBytes(limits, first * bytes, (first + count) * bytes);
  const most = Math.min(bindable, affordableUnits(program, spec, firstAxis));
  for (let first = 0; first < outer; first += most) {
    const count = Math.min(most, outer - first);
    addTransform(program, spec, {
      source: { buffer: x, slice: slice(first, count, slabs.input), firstOuter: first, precision },
      destination: { buffer: out, slice: slice(first, count, slabs.output), firstOuter: first, precision },
      outer: count,
      shape: spec.shape.slice(firstAxis),
      axes: spec.axes.map((axis) => axis - firstAxis),
    });
  }
  return program.finish();
}

const BETWEEN = "between";

/** Whether results wait in a workspace before the next axis. In the tensor, f16 would round or overflow; a real one has no place for them. */
function waits(limits: PlannerLimits, { kind, storage, shape, axes }: FftSpec): boolean {
  if (kind === "c2c") return storage === "f16" && fusedAxes(limits, shape, axes).length > 1;
  return axes.length > 1 && (kind === "c2r" || storage === "f16");
}

/** For how many indices before the transformed axes the results between these can wait at a time. */
function affordableUnits(program: ProgramBuilder, spec: FftSpec, firstAxis: number): number {
  if (!waits(program.limits, spec)) return Infinity;
  const bytes = COMPLEX_BYTES * elementCount((spec.kind === "r2c" ? spec.outputShape : spec.inputShape).slice(firstAxis));
  const available = program.affordable(BETWEEN);
  if (bytes > available) throw limitError(program.caller, "workspaceBytes", bytes, available, "one transform with its inner axes");
  // Transforms of several passes need their share.
  const shared = spec.axes.some((axis) => !fitsPass(program.limits, spec.shape[axis]!));
  return Math.max(1, Math.floor(available / bytes / (shared ? 2 : 1)));
}

interface TransformRequest {
  readonly source: BufferEnd;
  readonly destination: BufferEnd;
  /** Indices before the axes of `shape`. */
  readonly outer: number;
  readonly shape: readonly number[];
  readonly axes: readonly number[];
}

/** Adds the transform of a slab, axis after axis. */
function addTransform(program: ProgramBuilder, spec: FftSpec, request: TransformRequest): void {
  const { outer, shape, axes, destination } = request;
  const inverse = spec.direction === "inverse";
  const last = axes.at(-1)!;
  const half = shape.map((size, axis) => (axis === last ? Math.floor(size / 2) + 1 : size));
  const place = (sizes: readonly number[]): BufferEnd => {
    if (!waits(program.limits, spec)) return destination;
    const bytes = outer * elementCount(sizes) * COMPLEX_BYTES;
    return { buffer: program.workspace(BETWEEN, bytes), slice: program.part(BETWEEN, bytes), firstOuter: 0 };
  };
  // Of a transform of the axis in a slab of this shape; outer indices of the slab count once for each index before the axis.
  const lines = (sizes: readonly number[], axis: number, source: BufferEnd, target: BufferEnd) => {
    const layout = axisLayout(sizes, axis);
    const scaled = (end: BufferEnd): BufferEnd => ({ ...end, firstOuter: end.firstOuter * layout.outer });
    return { layout: { ...layout, outer: outer * layout.outer }, source: scaled(source), destination: scaled(target), inverse };
  };
  const complexSteps = (sizes: readonly number[], list: readonly number[], ends: readonly [BufferEnd, BufferEnd, BufferEnd], scale: number) => {
    const [source, between, final] = ends;
    let from = source;
    const groups = fusedAxes(program.limits, sizes, list);
    for (const [i, group] of groups.entries()) {
      const [target, factor] = i === groups.length - 1 ? [final, scale] : [between, 1];
      if (group.length === 1) addFft(program, { ...lines(sizes, group[0]!, from, target), scale: factor, order: "natural" });
      else addFusedAxes(program, { outer, shape: sizes, axes: group, source: from, destination: target, inverse, scale: factor });
      from = target;
    }
  };
  if (spec.kind === "c2c") {
    complexSteps(shape, axes, [request.source, place(shape), destination], spec.scale);
    return;
  }
  const others = axes.slice(0, -1);
  const between = place(half);
  if (spec.kind === "r2c") {
    addRealToComplex(program, { ...lines(shape, last, request.source, between), scale: others.length > 0 ? 1 : spec.scale });
    complexSteps(half, others, [between, between, destination], spec.scale);
    return;
  }
  complexSteps(half, others, [request.source, between, between], 1);
  const from = others.length > 0 ? between : request.source;
  addComplexToReal(program, { ...lines(shape, last, from, destination), scale: spec.scale });
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
function addFusedAxes(
  program: ProgramBuilder,
  request: {
    readonly outer: number;
    readonly shape: readonly number[];
    readonly axes: readonly number[];
    readonly source: BufferEnd;
    readonly destination: BufferEnd;
    readonly inverse: boolean;
    readonly scale: number;
  },
): void {
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
    back: false,
    scale: request.scale,
  });
}

/** Transforms along the middle of [outer, length, inner]. */
export interface LineRequest {
  readonly layout: AxisLayout;
  readonly source: BufferEnd;
  readonly destination: BufferEnd;
  readonly inverse: boolean;
  readonly scale: number;
}

/** What a line is at its ends besides complex numbers, one for each point. */
type EndKind = Partial<Pick<PassEnd, "element" | "rows" | "wrap" | "limit" | "fold">>;

export interface FftRequest extends LineRequest {
  /** `"transposed"` leaves a two-pass result as [k_a, k_b], k = k_a + A·k_b, which saves scattered stores. */
  readonly order: "natural" | "transposed";
  readonly ends?: { readonly source: EndKind; readonly destination: EndKind };
}

/** Adds the pass or passes of an FFT to a program. */
export function addFft(program: ProgramBuilder, request: FftRequest): void {
  const { length } = request.layout;
  const split = request.order === "transposed" && !fits(program.limits, length) ? chooseSplit(length, program.limits) : undefined;
  const passes = split ? [split.a, split.b] : choosePasses(length, program.limits);
  if (passes?.length === 1) addOnePass(program, request);
  else if (passes) inChunks(program, request, length, (chunk) => addPasses(program, chunk, passes));
  else {
    const rows = chooseSplit(chirpLength(length, program.limits), program.limits);
    if (!rows) throw tooLong(program.caller, length, program.limits);
    inChunks(program, request, rows.a * rows.b, (chunk) => addChirpPasses(program, chunk, [rows.a, rows.b]));
  }
}

const WORK = "work";

/** Runs `add` for as many outer indices at a time as the workspace between passes, of `rows` positions each, can hold. */
function inChunks<T extends LineRequest>(program: ProgramBuilder, request: T, rows: number, add: (chunk: T) => void): void {
  const { layout, source, destination } = request;
  const bytes = rows * layout.inner * COMPLEX_BYTES;
  const most = Math.floor(program.affordable(WORK) / bytes);
  if (most < 1) throw limitError(program.caller, "workspaceBytes", bytes, program.affordable(WORK), "one transform with its inner axes");
  const outer = Math.min(most, layout.outer);
  program.workspace(WORK, outer * bytes);
  for (let first = 0; first < layout.outer; first += outer) {
    const from = (end: BufferEnd): BufferEnd => ({ ...end, firstOuter: end.firstOuter + first });
    const count = Math.min(outer, layout.outer - first);
    add({ ...request, layout: { ...layout, outer: count }, source: from(source), destination: from(destination) });
  }
}

/** A pass over whole lines, of which one point follows the other. */
function addOnePass(program: ProgramBuilder, request: FftRequest): void {
  const { layout, inverse } = request;
  const digits: readonly ColumnDigit[] = [{ name: "inner", size: layout.inner }];
  addPass(program, {
    outer: layout.outer,
    digits,
    lengths: [layout.length],
    source: { ...lineEnd(request.source, layout, { point: 1, digits: [0] }), ...endKind(layout, request.ends?.source) },
    destination: { ...lineEnd(request.destination, layout, { point: 1, digits: [0] }), ...endKind(layout, request.ends?.destination) },
    swapInput: inverse,
    swapOutput: inverse,
    back: false,
    scale: request.scale,
  });
}

/** Complex lines; strides in positions, of a point and of each digit. The first digit is the index after the axis. */
function lineEnd(
  target: BufferEnd,
  layout: Pick<AxisLayout, "length" | "inner">,
  strides: { readonly point: number; readonly digits: readonly number[] },
): PassEnd {
  return {
    ...target,
    element: "complex",
    rows: layout.length,
    inner: layout.inner,
    points: [{ size: layout.length, stride: strides.point }],
    strides: strides.digits,
    outside: strides.digits.map((_, i) => (i === 0 ? 1 : 0)),
    elements: layout.length * layout.inner,
  };
}

/** A kind of end, with the elements that it touches. */
function endKind(layout: AxisLayout, kind: EndKind | undefined): Partial<PassEnd> {
  if (!kind) return {};
  return { ...kind, elements: windowPoints(kind, layout.length) * layout.inner };
}

/**
 * Two passes or more, by the four-step framework. Before pass i the workspace holds [k_1 … k_{i−1}, n_i, rest], rest counting the points
 * of the passes to come; the last pass puts k = k_1 + L_1·(k_2 + L_2·k_3) in order.
 */
function addPasses(program: ProgramBuilder, request: FftRequest, lengths: readonly number[]): void {
  const { layout, inverse } = request;
  const { outer, inner } = layout;
  const work: BufferEnd = { buffer: WORK, slice: program.part(WORK, outer * layout.length * inner * COMPLEX_BYTES), firstOuter: 0 };
  for (const [i, length] of lengths.entries()) {
    const [first, last] = [i === 0, i === lengths.length - 1];
    const done = elementCount(lengths.slice(0, i));
    const rest = elementCount(lengths.slice(i + 1));
    // Each with its strides in the workspace and in the result; the first runs fastest over the lanes.
    const digits: { readonly name: ColumnDigit["name"]; readonly size: number; readonly work: number; readonly result: number }[] = [
      { name: "inner", size: inner, work: 0, result: 0 },
    ];
    if (rest > 1) digits.push({ name: "row", size: rest, work: 1, result: 0 });
    if (last) {
      for (const [j, size] of lengths.slice(0, -1).entries()) {
        const result = elementCount(lengths.slice(0, j));
        digits.push({ name: j === 0 ? "done" : "between", size, work: layout.length / result / size, result });
      }
    } else if (done > 1) {
      digits.push({ name: "done", size: done, work: rest * length, result: 0 });
    }
    const inWork = { point: rest, digits: digits.map((digit) => digit.work) };
    const inResult = request.order === "natural" ? { point: done, digits: digits.map((digit) => digit.result) } : inWork;
    addPass(program, {
      outer,
      digits: digits.map(({ name, size }) => ({ name, size })),
      lengths: [length],
      source: first ? { ...lineEnd(request.source, layout, inWork), ...endKind(layout, request.ends?.source) } : lineEnd(work, layout, inWork),
      destination: last
        ? { ...lineEnd(request.destination, layout, inResult), ...endKind(layout, request.ends?.destination) }
        : lineEnd(work, layout, inWork),
      ...(rest > 1 && { rootsOrder: length * rest }),
      swapInput: first && inverse,
      swapOutput: last && inverse,
      back: false,
      scale: last ? request.scale : 1,
    });
  }
}

/** Any length as a convolution of M = a·b ≥ 2N − 1 points with a chirp (Bluestein 1970), in the three passes of a long convolution. */
function addChirpPasses(program: ProgramBuilder, request: FftRequest, [a, b]: readonly [number, number]): void {
  const { layout, inverse } = request;
  const { outer, inner, length } = layout;
  const period = a * b;
  const padded = { length: period, inner };
  const work: BufferEnd = { buffer: WORK, slice: program.part(WORK, outer * period * inner * COMPLEX_BYTES), firstOuter: 0 };
  const innerDigit: ColumnDigit = { name: "inner", size: inner };
  const columns = { point: b, digits: [0, 1] };
  const common = { outer, swapInput: false, swapOutput: false, back: false, scale: 1 };
  const end = (target: BufferEnd, kind: EndKind | undefined): PassEnd => ({
    ...lineEnd(target, padded, columns),
    rows: length,
    limit: length,
    elements: length * inner,
    ...endKind(layout, kind),
  });
  addPass(program, {
    ...common,
    digits: [innerDigit, { name: "row", size: b }],
    lengths: [a],
    source: end(request.source, request.ends?.source && { limit: length, ...request.ends.source }),
    destination: lineEnd(work, padded, columns),
    chirp: { points: length, end: "source" },
    rootsOrder: period,
    swapInput: inverse,
  });
  const rows = { point: 1, digits: [0, b] };
  addPass(program, {
    ...common,
    digits: [innerDigit, { name: "row", size: a }],
    lengths: [b],
    source: lineEnd(work, padded, rows),
    destination: lineEnd(work, padded, rows),
    product: { kind: "chirp", points: length, rows: [a, b] },
    rootsOrder: period,
  });
  addPass(program, {
    ...common,
    digits: [innerDigit, { name: "row", size: b }],
    lengths: [a],
    source: lineEnd(work, padded, columns),
    destination: end(request.destination, request.ends?.destination),
    chirp: { points: length, end: "destination" },
    back: true,
    swapOutput: inverse,
    scale: request.scale,
  });
}

/** Real lines to the first half of their transforms. */
function addRealToComplex(program: ProgramBuilder, request: LineRequest): void {
  const { layout } = request;
  const { length, inner } = layout;
  const rows = Math.floor(length / 2) + 1;
  if (addHalfLength(program, request, "r2c")) return;
  const passes = choosePasses(length, program.limits);
  if (passes?.length !== 2) {
    const ends = { source: { element: "real" }, destination: { rows, limit: rows } } as const;
    addFft(program, { ...request, order: "natural", ends });
    return;
  }
  // Columns of real points have transforms of which the first half of the rows is enough.
  const [a, b] = passes as [number, number];
  const kept = Math.floor(a / 2) + 1;
  inChunks(program, request, kept * b, ({ layout: { outer }, source, destination }) => {
    const work: BufferEnd = { buffer: WORK, slice: program.part(WORK, outer * kept * b * inner * COMPLEX_BYTES), firstOuter: 0 };
    const half = { length: kept * b, inner };
    const common = { outer, swapInput: false, swapOutput: false, back: false };
    const columns = { point: b, digits: [0, 1] };
    addPass(program, {
      ...common,
      digits: [
        { name: "inner", size: inner },
        { name: "row", size: b },
      ],
      lengths: [a],
      source: { ...lineEnd(source, layout, columns), element: "real" },
      destination: { ...lineEnd(work, half, columns), limit: kept * b },
      rootsOrder: length,
      scale: 1,
    });
    addPass(program, {
      ...common,
      digits: [
        { name: "inner", size: inner },
        { name: "row", size: kept },
      ],
      lengths: [b],
      source: lineEnd(work, half, { point: 1, digits: [0, b] }),
      destination: {
        ...lineEnd(destination, layout, { point: a, digits: [0, 1] }),
        rows,
        fold: length,
        mirroredRows: a,
        elements: rows * inner,
      },
      scale: request.scale,
    });
  });
}

/** The first half of Hermitian lines to their real transforms. */
function addComplexToReal(program: ProgramBuilder, request: LineRequest): void {
  const { layout } = request;
  const { length, inner } = layout;
  const rows = Math.floor(length / 2) + 1;
  if (addHalfLength(program, request, "c2r")) return;
  const passes = choosePasses(length, program.limits);
  if (passes?.length !== 2) {
    const ends = { source: { rows, fold: length }, destination: { element: "real" } } as const;
    addFft(program, { ...request, order: "natural", ends });
    return;
  }
  // Columns row and b − row are conjugate, before and after the first pass: half of them is enough.
  const [a, b] = passes as [number, number];
  const kept = Math.floor(b / 2) + 1;
  inChunks(program, request, a * kept, ({ layout: { outer }, source, destination }) => {
    const work: BufferEnd = { buffer: WORK, slice: program.part(WORK, outer * a * kept * inner * COMPLEX_BYTES), firstOuter: 0 };
    const half = { length: a * kept, inner };
    const common = { outer, swapInput: true, swapOutput: true, back: false };
    addPass(program, {
      ...common,
      digits: [
        { name: "inner", size: inner },
        { name: "row", size: kept },
      ],
      lengths: [a],
      source: { ...lineEnd(source, layout, { point: b, digits: [0, 1] }), rows, fold: length, elements: half.length * inner },
      destination: lineEnd(work, half, { point: kept, digits: [0, 1] }),
      rootsOrder: length,
      scale: 1,
    });
    addPass(program, {
      ...common,
      digits: [
        { name: "inner", size: inner },
        { name: "done", size: a },
      ],
      lengths: [b],
      source: {
        ...lineEnd(work, half, { point: 1, digits: [0, 0] }),
        outside: [1, kept * inner],
        fold: b,
        elements: length * inner,
      },
      destination: { ...lineEnd(destination, layout, { point: a, digits: [0, 1] }), element: "real" },
      scale: request.scale,
    });
  });
}

/** One pass at half the length, where the length is even and the workgroup large enough. */
function addHalfLength(program: ProgramBuilder, request: LineRequest, kind: "r2c" | "c2r"): boolean {
  const { layout, source, destination } = request;
  const { length, inner, outer } = layout;
  const { limits } = program;
  const points = length / 2;
  const columns = outer * inner;
  if (length % 2 !== 0 || !hasRadices(points)) return false;
  const shape = chooseShape({ lengths: [points], columns, lanes: inner === 1 ? "points" : "columns", mirrors: true }, limits);
  if (!shape) return false;
  const tables = new TableLayout();
  const kernel = (kind === "r2c" ? realToComplexKernel : complexToRealKernel)({
    shape,
    twiddles: tables.twiddles(shape.axes),
    inner,
    sourcePrecision: source.precision ?? "f32",
    destinationPrecision: destination.precision ?? "f32",
    roots: tables.roots(length, points),
    // The way there splits even and odd parts, each of which is half a sum.
    scaleOffset: tables.scale(kind === "r2c" ? request.scale / 2 : request.scale),
  });
  const bytesOf = (count: number, values: "single" | "pair", { precision }: BufferEnd) =>
    columns * count * ELEMENT_BYTES[storedElement(values, precision)];
  const real = { count: length, values: "single", row: inner === 1 ? points : length * inner } as const;
  const half = { count: points + 1, values: "pair", row: (points + 1) * inner } as const;
  const [input, output] = kind === "r2c" ? [real, half] : [half, real];
  program.dispatch({
    kernel,
    groups: Math.ceil(columns / shape.columns),
    params: {
      columns,
      sourceBase: sliceBase(kernel, "source", source.slice) - source.firstOuter * input.row,
      destinationBase: sliceBase(kernel, "destination", destination.slice) - destination.firstOuter * output.row,
    },
    uses: {
      source: { buffer: source.buffer, ...(source.slice && { slice: source.slice }), reads: bytesOf(input.count, input.values, source) },
      destination: {
        buffer: destination.buffer,
        ...(destination.slice && { slice: destination.slice }),
        writes: bytesOf(output.count, output.values, destination),
      },
      tables: { buffer: program.table(tables.parts) },
    },
    flops: columns * (fftFlops(points) + 16 * points),
  });
  return true;
}
