import { paddedToVec4 } from "../../shaders/wgsl/kernel.ts";
import { chirpSpectrum, squares } from "../math/chirp.ts";
import { featureRows } from "../math/random-features.ts";
import { partEntries, tableBytes, type TablePart } from "./tables.ts";

/** The table's contents, rounded once from float64; roots.ts says what an entry holds. */
export function tableData(parts: readonly TablePart[]): Float32Array {
  const data = new Float32Array(tableBytes(parts) / 4);
  const bits = new Uint32Array(data.buffer);
  let at = 0;
  /** Writes W − 1 of the reduced angle with its quarter turns, and returns what was lost in rounding. */
  const push = (i: number, order: number): readonly [number, number] => {
    const { quarters, re, im } = reducedRoot(i, order);
    data[at] = Math.min(re, -SMALLEST_ENTRY);
    bits[at] = (bits[at]! & ~3) | quarters;
    data[at + 1] = im;
    const lost = [re - data[at]!, im - data[at + 1]!] as const;
    at += 2;
    return lost;
  };
  for (const part of parts) {
    switch (part.kind) {
      case "twiddles": {
        let before = 1;
        for (const [stage, radix] of part.radices.entries()) {
          if (stage > 0 && part.fused) {
            for (let points = 2; points <= radix; points *= 2) {
              for (let i = 0; i < before * Math.max(1, points / 4); i++) {
                const angle = (2 * Math.PI * i) / (before * points);
                data[at++] = Math.cos(angle);
                data[at++] = -Math.sin(angle);
              }
            }
          } else if (stage > 0) {
            for (let r = 1; r < radix; r++) for (let k = 0; k < before; k++) push(r * k, before * radix);
          }
          before *= radix;
        }
        break;
      }
      case "roots":
        for (let i = 0; i < part.count; i++) push(i, part.order);
        break;
      case "coarseRoots":
        for (let i = 0; i < part.order; i += 2 ** part.fineBits) {
          const [re, im] = push(i, part.order);
          data[at++] = re;
          data[at++] = im;
        }
        break;
      case "fineRoots":
        for (let i = 0; i < 2 ** part.fineBits; i++) {
          const { re, im } = reducedRoot(i, part.order); // no quarter turns: the fine part is far below one
          data[at++] = re;
          data[at++] = im;
        }
        break;
      case "chirp":
        for (const square of squares(part.points)) push(square, 2 * part.points);
        break;
      case "chirpSpectrum":
        data.set(chirpSpectrum(part.points, part.rows), at);
        at += 2 * partEntries(part);
        break;
      case "randomFeatures":
        data.set(featureRows(part, paddedToVec4(part.to === "features" ? part.count : part.dim)), at);
        at += 2 * partEntries(part);
        break;
      case "scale": {
        const power = 2 ** Math.round(Math.log2(part.factor));
        data[at++] = part.factor / power - 1;
        data[at++] = power;
        break;
      }
    }
  }
  return data;
}

/** Holds the quarter turns where cos θ − 1 is 0: far below every rounding error, yet no denormal that a GPU might flush. */
const SMALLEST_ENTRY = 2 ** -100;

/** exp(−2πi·i/order) = (−i)^quarters (1 + re + i·im), with the rest of the angle within an eighth of a turn. */
function reducedRoot(i: number, order: number): { readonly quarters: number; readonly re: number; readonly im: number } {
  const index = i % order;
  const quarters = Math.round((4 * index) / order);
  const angle = (2 * Math.PI * (index - (quarters * order) / 4)) / order;
  const half = Math.sin(angle / 2);
  // cos x − 1 = −2 sin²(x/2) keeps its digits for small x.
  return { quarters: quarters % 4, re: -2 * half * half, im: -Math.sin(angle) };
}
