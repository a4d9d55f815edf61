/** FFTs along the middle of [outer, length, inner], in one pass or several. */
import type { ColumnDigit } from "../../../shaders/fft/column-end.ts";
import { elementCount } from "../../core/check.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { firstBytes, largestScratch, limitError } from "../../program/ranges.ts";
import { spansOf } from "../../program/slices.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";
import { addChirpPasses } from "./chirp.ts";
import { endKind, type FftRequest, lineEnd, type LineRequest } from "./line-ends.ts";
import { addPass, type BufferEnd } from "./pass.ts";
import { chirpLength, choosePasses, chooseSplit, tooLong } from "./split.ts";
import { fits } from "./stockham.ts";

/** Adds the pass or passes of an FFT to a program; several take scratch, at most so many bytes. @throws FastRpbError code `"limit"` */
export function addFft(program: ProgramBuilder, request: FftRequest, scratch: number): void {
  const { length } = request.layout;
  const split = request.order === "transposed" && !fits(program.limits, length) ? chooseSplit(length, program.limits) : undefined;
  const passes = split ? [split.a, split.b] : choosePasses(length, program.limits);
  if (passes?.length === 1) addOnePass(program, request);
  else if (passes) lineRounds(program, request, length, scratch, (round, work) => addPasses(program, round, work, passes));
  else {
    const rows = chooseSplit(chirpLength(length, program.limits), program.limits);
    if (!rows) throw tooLong(program.caller, length, program.limits);
    lineRounds(program, request, rows.a * rows.b, scratch, (round, work) => addChirpPasses(program, round, work, [rows.a, rows.b]));
  }
}

/** The name in errors of a line with its neighbours, where that is too much for a limit. */
export const LINE = "one transform with its inner axes";

/** Some of the transforms, which follow one another in both buffers. */
export interface Round {
  readonly outer: number;
  readonly source: BufferEnd;
  readonly destination: BufferEnd;
}

/**
 * Runs `add` for as many outer indices at a time as there is scratch between passes, with that scratch.
 *
 * @param request its `bytes` are those of the scratch for one outer index
 * @throws FastRpbError code `"limit"` where there is not room for one; `what` names it
 */
export function inRounds(
  program: ProgramBuilder,
  what: string,
  request: Round & { readonly bytes: number },
  scratch: number,
  add: (round: Round, work: BufferEnd) => void,
): void {
  const { source, destination, bytes } = request;
  const affordable = largestScratch(program.limits, scratch);
  const most = Math.floor(affordable / bytes);
  if (most < 1) throw limitError(program, "workspaceBytes", bytes, what, affordable);
  const step = Math.min(most, request.outer);
  const work = program.temporary("work", step * bytes);
  for (const { first, count: outer } of spansOf(request.outer, step)) {
    const from = (end: BufferEnd): BufferEnd => ({ ...end, firstOuter: end.firstOuter + first });
    add({ outer, source: from(source), destination: from(destination) }, { buffer: work, slice: firstBytes(outer * bytes), firstOuter: 0 });
  }
}

/**
 * Runs `add` for as many lines at a time as there is scratch between passes, with that scratch: {@link inRounds}.
 *
 * @param rows positions of a line that wait between passes
 * @throws FastRpbError code `"limit"` where there is not room for one
 */
export function lineRounds<T extends LineRequest>(
  program: ProgramBuilder,
  request: T,
  rows: number,
  scratch: number,
  add: (round: T, work: BufferEnd) => void,
): void {
  const { layout, source, destination } = request;
  const bytes = rows * layout.inner * COMPLEX_BYTES;
  inRounds(program, LINE, { outer: layout.outer, source, destination, bytes }, scratch, ({ outer, ...ends }, work) => {
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
    scale: request.scale,
  });
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
      scale: last ? request.scale : 1,
    });
  }
}
