import { writeRoot } from "../roots.ts";
import { createCodelets } from "./codelets.ts";
import { type Pass, TILE } from "./tile.ts";

let codelets: ReturnType<typeof createTileCodelets> | undefined;

/** Codelets over one tile, which all transforms share: they run one at a time. */
export function sharedCodelets() {
  return (codelets ??= createTileCodelets());
}

/*
 * The tile holds columns side by side, each a transform of its own: row n of column q is at n · columns + q. It lies in two constant arrays, whose
 * addresses and lengths V8 then compiles into the code: a fifth of the time. It does so for constants of a function that ran once, where an inner
 * function names them outside of its loops; hence the closures, and `re = real` at the head of each codelet. (Bundlers turn constants of a module into
 * variables.) A radix of 8 does not pay: its numbers and twiddles are too many for sixteen registers.
 */
function createTileCodelets() {
  // Were the parts of a number a multiple of 4 KiB apart, they would contend for the same lines of the cache.
  const memory = new ArrayBuffer(2 * 8 * TILE + 64);
  const real = new Float64Array(memory, 0, TILE);
  const imaginary = new Float64Array(memory, 8 * TILE + 64, TILE);
  const codelets = createCodelets(real, imaginary);
  const { two, three, four, fourOfSpanFour, five, seven } = codelets;

  /** Runs a pass over all columns of the tile; there are `blocks` groups of span · radix points. */
  function runPass(pass: Pass, blocks: number, columns: number): void {
    const { radix, span } = pass;
    if (radix === 4 && span === 4) fourOfSpanFour(pass, blocks, columns);
    else if (radix === 4) four(pass, blocks, columns);
    else if (radix === 2) two(pass, blocks, columns);
    else if (radix === 3) three(pass, blocks, columns);
    else if (radix === 5) five(pass, blocks, columns);
    else if (radix === 7) seven(pass, blocks, columns);
    else oddPrime(pass, blocks, columns);
  }

  /** Of the radix that runs. */
  const oddRoots = new Float64Array(2 * 13);
  /** a_j + a_{r−j} and a_j − a_{r−j} of one butterfly. */
  const oddParts = new Float64Array(4 * 7);

  /** Any odd radix up to 13, from a table of its roots. */
  function oddPrime({ radix, span, twiddles }: Pass, blocks: number, columns: number): void {
    const re = real;
    const im = imaginary;
    const roots = oddRoots;
    const parts = oddParts;
    const half = (radix - 1) / 2;
    const leg = (span * columns) & 0x3fffffff;
    for (let k = 0; k < radix; k++) writeRoot(roots, 2 * k, k, radix);
    for (let p = 0; p < span; p++) {
      for (let block = 0, start = p * columns; block < blocks; block++, start += radix * leg) {
        for (let q = 0; q < columns; q++) {
          const i = (start + q) & 0x3fffffff;
          const ar = re[i]!;
          const ai = im[i]!;
          let sumR = ar;
          let sumI = ai;
          for (let j = 1; j <= half; j++) {
            const low = (i + j * leg) & 0x3fffffff;
            const high = (i + (radix - j) * leg) & 0x3fffffff;
            const t = (2 * ((radix - 1) * p + j - 1)) & 0x3fffffff;
            const u = (2 * ((radix - 1) * p + radix - j - 1)) & 0x3fffffff;
            const br = re[low]! * twiddles[t]! - im[low]! * twiddles[t + 1]!;
            const bi = re[low]! * twiddles[t + 1]! + im[low]! * twiddles[t]!;
            const cr = re[high]! * twiddles[u]! - im[high]! * twiddles[u + 1]!;
            const ci = re[high]! * twiddles[u + 1]! + im[high]! * twiddles[u]!;
            parts[4 * j] = br + cr;
            parts[4 * j + 1] = bi + ci;
            parts[4 * j + 2] = br - cr;
            parts[4 * j + 3] = bi - ci;
            sumR += br + cr;
            sumI += bi + ci;
          }
          re[i] = sumR;
          im[i] = sumI;
          for (let k = 1; k <= half; k++) {
            let er = ar;
            let ei = ai;
            let fr = 0;
            let fi = 0;
            for (let j = 1, turn = k; j <= half; j++, turn = turn + k < radix ? turn + k : turn + k - radix) {
              const cos = roots[2 * turn]!;
              const sin = -roots[2 * turn + 1]!;
              er += parts[4 * j]! * cos;
              ei += parts[4 * j + 1]! * cos;
              fr += parts[4 * j + 2]! * sin;
              fi += parts[4 * j + 3]! * sin;
            }
            const low = (i + k * leg) & 0x3fffffff;
            const high = (i + (radix - k) * leg) & 0x3fffffff;
            re[low] = er + fi;
            im[low] = ei - fr;
            re[high] = er - fi;
            im[high] = ei + fr;
          }
        }
      }
    }
  }

  return { runPass, ...codelets };
}
