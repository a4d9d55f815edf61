/** FFTs of lengths that have no butterflies, as convolutions with a chirp, and the spectrum of that. */
import type { ColumnDigit } from "../../../shaders/fft/column-end.ts";
import { createFft } from "../../math/fft.ts";
import { endKind, type EndKind, type FftRequest, lineEnd } from "./lines.ts";
import { addPass, type BufferEnd, type PassEnd } from "./pass.ts";
import type { ProgramBuilder } from "../../program/program.ts";
import { squares } from "../../program/tables.ts";

/** Any length as a convolution of M = a·b ≥ 2N − 1 points with a chirp (Bluestein 1970), in the three passes of a long convolution. */
export function addChirpPasses(program: ProgramBuilder, request: FftRequest, work: BufferEnd, [a, b]: readonly [number, number]): void {
  const { layout, inverse } = request;
  const { outer, inner, length } = layout;
  const period = a * b;
  const padded = { length: period, inner };
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

/** The table `"chirpSpectrum"`. */
export function chirpSpectrum(points: number, [a, b]: readonly [number, number]): Float32Array {
  const period = a * b;
  const chirp = new Float64Array(2 * period);
  let n = 0;
  for (const square of squares(points)) {
    const angle = (Math.PI * square) / points;
    for (const at of [n, (period - n) % period]) {
      chirp[2 * at] = Math.cos(angle) / period;
      chirp[2 * at + 1] = Math.sin(angle) / period;
    }
    n++;
  }
  createFft(period).transform(chirp, "forward");
  const rows = new Float32Array(2 * period);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) rows.set(chirp.subarray(2 * (i + a * j), 2 * (i + a * j) + 2), 2 * (i * b + j));
  }
  return rows;
}
