/** FFTs along the middle of [outer, length, inner], in one pass or several. */
import type { ColumnDigit } from "../../../shaders/fft/column-end.ts";
import type { AxisLayout } from "../../core/axes.ts";
import { elementCount } from "../../core/check.ts";
import { addPass, type BufferEnd, type PassEnd, windowPoints } from "./pass.ts";
import { need } from "../parts.ts";
import { limitError, type ProgramBuilder } from "../../program/program.ts";
import { chirpLength, choosePasses, chooseSplit, tooLong } from "./split.ts";
import { fits } from "./stockham.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";

/** Transforms along the middle of [outer, length, inner]. */
export interface LineRequest {
  readonly layout: AxisLayout;
  readonly source: BufferEnd;
  readonly destination: BufferEnd;
  readonly inverse: boolean;
  readonly scale: number;
}

/** What a line is at its ends besides complex numbers, one for each point. */
export type EndKind = Partial<Pick<PassEnd, "element" | "rows" | "wrap" | "limit" | "fold" | "pairs">>;

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
  else if (passes) lineChunks(program, request, length, (part, work) => addPasses(program, part, work, passes));
  else {
    const rows = chooseSplit(chirpLength(length, program.limits), program.limits);
    if (!rows) throw tooLong(program.caller, length, program.limits);
    const { addChirpPasses } = need("chirp");
    lineChunks(program, request, rows.a * rows.b, (part, work) => addChirpPasses(program, part, work, [rows.a, rows.b]));
  }
}

/** What is too much for a limit, where one line with its neighbours is. */
export const LINE = "one transform with its inner axes";
const WORK = "work";

/** Part of some transforms, which follow one another in both buffers. */
export interface Chunk {
  readonly outer: number;
  readonly source: BufferEnd;
  readonly destination: BufferEnd;
}

/**
 * Runs `add` for as many outer indices at a time as the workspace between passes can hold, with that workspace.
 *
 * @param request its `bytes` are those of the workspace for one outer index
 * @throws FastRpbError code `"limit"` where there is not room for one; `what` names it
 */
export function inChunks(
  program: ProgramBuilder,
  what: string,
  request: Chunk & { readonly bytes: number },
  add: (chunk: Chunk, work: BufferEnd) => void,
): void {
  const { source, destination, bytes } = request;
  const affordable = program.affordable(WORK);
  const most = Math.floor(affordable / bytes);
  if (most < 1) throw limitError(program.caller, "workspaceBytes", bytes, affordable, what);
  const step = Math.min(most, request.outer);
  program.workspace(WORK, step * bytes);
  for (let first = 0; first < request.outer; first += step) {
    const from = (end: BufferEnd): BufferEnd => ({ ...end, firstOuter: end.firstOuter + first });
    const outer = Math.min(step, request.outer - first);
    const work: BufferEnd = { buffer: WORK, slice: program.part(WORK, outer * bytes), firstOuter: 0 };
    add({ outer, source: from(source), destination: from(destination) }, work);
  }
}

/** The same for lines, of which `rows` positions wait between passes. */
export function lineChunks<T extends LineRequest>(program: ProgramBuilder, request: T, rows: number, add: (part: T, work: BufferEnd) => void): void {
  const { layout, source, destination } = request;
  const bytes = rows * layout.inner * COMPLEX_BYTES;
  inChunks(program, LINE, { outer: layout.outer, source, destination, bytes }, ({ outer, ...ends }, work) => {
    add({ ...request, ...ends, layout: { ...layout, outer } }, work);
  });
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
export function lineEnd(
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
export function endKind(layout: AxisLayout, kind: EndKind | undefined): Partial<PassEnd> {
  if (!kind) return {};
  return { ...kind, elements: windowPoints(kind, layout.length) * layout.inner };
}

/**
 * Two passes or more, by the four-step framework. Before pass i the workspace holds [k_1 … k_{i−1}, n_i, rest], rest counting the points
 * of the passes to come; the last pass puts k = k_1 + L_1·(k_2 + L_2·k_3) in order.
 */
function addPasses(program: ProgramBuilder, request: FftRequest, work: BufferEnd, lengths: readonly number[]): void {
  const { layout, inverse } = request;
  const { outer, inner } = layout;
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
