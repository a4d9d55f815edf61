import { SMALL_PRIMES } from "../spec/smooth.ts";
import { float64Array } from "./memory.ts";

/** A float64 transform of one length, with its tables and scratch memory. */
export interface Fft {
  readonly length: number;
  /**
   * X_k = Σ_n x_n exp(∓2πi kn/N), minus for `"forward"`; unscaled.
   *
   * @param data `length` complex numbers, interleaved (re, im); overwritten with the result
   */
  transform(data: Float64Array, direction: "forward" | "inverse"): void;
}

/** One Stockham pass, which splits transforms of length `radix · count` that lie `stride` apart. */
interface Pass {
  readonly radix: number;
  readonly count: number;
  readonly stride: number;
}

/** Tables for a 7-smooth `length`. @throws RangeError for any other length */
export function createFft(length: number): Fft {
  const passes = planPasses(length);
  const roots = rootsOfUnity(length);
  const scratch = float64Array("cpu fft", 2 * length);
  return {
    length,
    transform(data, direction) {
      if (data.length !== 2 * length) throw new RangeError(`fft: ${data.length} floats for ${length} complex numbers`);
      const sign = direction === "forward" ? 1 : -1;
      let from = data;
      let to = scratch;
      for (const pass of passes) {
        if (pass.radix === 4) passOfFour(pass, from, to, roots, sign);
        else if (pass.radix === 2) passOfTwo(pass, from, to, roots, sign);
        else passOfAny(pass, from, to, roots, sign);
        [from, to] = [to, from];
      }
      if (from !== data) data.set(from);
    },
  };
}

function planPasses(length: number): readonly Pass[] {
  const passes: Pass[] = [];
  let rest = length;
  for (const radix of [4, ...SMALL_PRIMES]) {
    while (rest >= radix && rest % radix === 0) {
      passes.push({ radix, count: rest / radix, stride: length / rest });
      rest /= radix;
    }
  }
  if (rest !== 1) throw new RangeError(`createFft: length ${length} is not a product of 2, 3, 5 and 7`);
  return passes;
}

/** exp(−2πi k/N) for k < N, interleaved. */
function rootsOfUnity(length: number): Float64Array {
  const roots = float64Array("cpu fft", 2 * length);
  for (let k = 0; k < length; k++) {
    const angle = (-2 * Math.PI * k) / length;
    roots[2 * k] = Math.cos(angle);
    roots[2 * k + 1] = Math.sin(angle);
  }
  return roots;
}

/*
 * Every pass, for p < count and q < stride, reads a_j = from[q + stride·(p + count·j)] and writes
 * to[q + stride·(radix·p + k)] = exp(−2πi pk / (radix·count)) · Σ_j a_j exp(−2πi jk / radix).
 * The twiddle's index in the table of N roots is p·k·stride. `sign` = −1 conjugates every root.
 */

function passOfTwo(pass: Pass, from: Float64Array, to: Float64Array, roots: Float64Array, sign: number): void {
  const { count, stride } = pass;
  const far = 2 * stride * count;
  for (let p = 0; p < count; p++) {
    const wr = roots[2 * p * stride]!;
    const wi = sign * roots[2 * p * stride + 1]!;
    let source = 2 * stride * p;
    let target = 4 * stride * p;
    for (let q = 0; q < stride; q++, source += 2, target += 2) {
      const ar = from[source]!;
      const ai = from[source + 1]!;
      const br = from[source + far]!;
      const bi = from[source + far + 1]!;
      to[target] = ar + br;
      to[target + 1] = ai + bi;
      const dr = ar - br;
      const di = ai - bi;
      to[target + 2 * stride] = dr * wr - di * wi;
      to[target + 2 * stride + 1] = dr * wi + di * wr;
    }
  }
}

function passOfFour(pass: Pass, from: Float64Array, to: Float64Array, roots: Float64Array, sign: number): void {
  const { count, stride } = pass;
  const far = 2 * stride * count;
  const near = 2 * stride;
  for (let p = 0; p < count; p++) {
    const step = 2 * p * stride;
    const w1r = roots[step]!;
    const w1i = sign * roots[step + 1]!;
    const w2r = roots[2 * step]!;
    const w2i = sign * roots[2 * step + 1]!;
    const w3r = roots[3 * step]!;
    const w3i = sign * roots[3 * step + 1]!;
    let source = near * p;
    let target = 4 * near * p;
    for (let q = 0; q < stride; q++, source += 2, target += 2) {
      const ar = from[source]!;
      const ai = from[source + 1]!;
      const br = from[source + far]!;
      const bi = from[source + far + 1]!;
      const cr = from[source + 2 * far]!;
      const ci = from[source + 2 * far + 1]!;
      const dr = from[source + 3 * far]!;
      const di = from[source + 3 * far + 1]!;
      const acr = ar + cr;
      const aci = ai + ci;
      const bdr = br + dr;
      const bdi = bi + di;
      to[target] = acr + bdr;
      to[target + 1] = aci + bdi;
      const er = acr - bdr;
      const ei = aci - bdi;
      to[target + 2 * near] = er * w2r - ei * w2i;
      to[target + 2 * near + 1] = er * w2i + ei * w2r;
      // (a − c) ∓ i (b − d)
      const ur = ar - cr;
      const ui = ai - ci;
      const vr = sign * (bi - di);
      const vi = sign * (dr - br);
      to[target + near] = (ur + vr) * w1r - (ui + vi) * w1i;
      to[target + near + 1] = (ur + vr) * w1i + (ui + vi) * w1r;
      to[target + 3 * near] = (ur - vr) * w3r - (ui - vi) * w3i;
      to[target + 3 * near + 1] = (ur - vr) * w3i + (ui - vi) * w3r;
    }
  }
}

function passOfAny(pass: Pass, from: Float64Array, to: Float64Array, roots: Float64Array, sign: number): void {
  const { radix, count, stride } = pass;
  const length = roots.length / 2;
  const turn = length / radix;
  for (let p = 0; p < count; p++) {
    for (let k = 0; k < radix; k++) {
      const wr = roots[2 * p * k * stride]!;
      const wi = sign * roots[2 * p * k * stride + 1]!;
      for (let q = 0; q < stride; q++) {
        let re = 0;
        let im = 0;
        for (let j = 0; j < radix; j++) {
          const source = 2 * (q + stride * (p + count * j));
          const root = 2 * turn * ((j * k) % radix);
          const cos = roots[root]!;
          const sin = sign * roots[root + 1]!;
          re += from[source]! * cos - from[source + 1]! * sin;
          im += from[source]! * sin + from[source + 1]! * cos;
        }
        const target = 2 * (q + stride * (radix * p + k));
        to[target] = re * wr - im * wi;
        to[target + 1] = re * wi + im * wr;
      }
    }
  }
}
