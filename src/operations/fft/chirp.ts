/** FFTs of lengths that have no butterflies, as convolutions with a chirp. */
import type { ColumnDigit } from "../../../shaders/fft/column-end.ts";
import { endKind, type EndKind, type FftRequest, lineEnd } from "./line-ends.ts";
import { addPass, type BufferEnd, type PassEnd } from "./pass.ts";
import type { ProgramBuilder } from "../../program/builder.ts";

/** Adds transforms of any length, as a convolution of M = a·b ≥ 2N − 1 points with a chirp (Bluestein 1970), in the three passes of a long convolution. */
export function addChirpPasses(program: ProgramBuilder, request: FftRequest, work: BufferEnd, [a, b]: readonly [number, number]): void {
  const { layout, inverse } = request;
  const { outer, inner, length } = layout;
  const period = a * b;
  const padded = { length: period, inner };
  const innerDigit: ColumnDigit = { name: "inner", size: inner };
  const columns = { point: b, digits: [0, 1] };
  const end = (target: BufferEnd, kind: EndKind | undefined): PassEnd => ({
    ...lineEnd(target, padded, columns),
    rows: length,
    limit: length,
    elements: length * inner,
    ...endKind(layout, kind),
  });
  addPass(program, {
    outer,
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
    outer,
    digits: [innerDigit, { name: "row", size: a }],
    lengths: [b],
    source: lineEnd(work, padded, rows),
    destination: lineEnd(work, padded, rows),
    product: { kind: "chirp", points: length, rows: [a, b] },
    rootsOrder: period,
  });
  addPass(program, {
    outer,
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
