import { writeRoot } from "../roots.ts";

/**
 * One of Stockham's passes, which split transforms of length radix · count; `stride` of them lie side by side. For p < count and q < stride
 * it reads a_j = from[q + stride · (p + count · j)] and writes
 *
 *     to[q + stride · (radix · p + k)] = w_pk Σ_j a_j exp(−2πi jk / radix),   w_pk = exp(−2πi pk / (radix · count)).
 */
export interface Pass {
  readonly radix: number;
  readonly count: number;
  readonly stride: number;
  /** w_pk for each p and each k > 0, interleaved. */
  readonly twiddles: Float64Array;
}

/** The odd radices that there are codelets for; the even ones are 2, 4, 8 and, where count is 1, 16. */
export const ODD_RADICES = [3, 5, 7, 11, 13] as const;

/**
 * Runs a pass. `part` is the place of the real part in each pair of floats. With 1 both parts change places, which turns a transform into
 * its inverse.
 */
export function runPass(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { radix, count, stride } = pass;
  if (radix === 8) {
    if (count === 1) eightPlain(pass, from, to, part);
    else if (stride === 1) eightFirst(pass, from, to, part);
    else eight(pass, from, to, part);
  } else if (radix === 4) {
    if (count === 1) fourPlain(pass, from, to, part);
    else four(pass, from, to, part);
  } else if (radix === 16) sixteenPlain(pass, from, to, part);
  else if (radix === 2) two(pass, from, to, part);
  else if (radix === 3) three(pass, from, to, part);
  else if (radix === 5) five(pass, from, to, part);
  else if (radix === 7) seven(pass, from, to, part);
  else oddPrime(pass, from, to, part);
}

/*
 * The codelets. `leg` and `way` count floats from a_0 to a_j and from k = 0 to k. The imaginary part is the other float of its pair: index ^ 1.
 * The masks tell V8 that an index and its sums stay in a machine word, which saves a check on each access; they have to be literals.
 */

/** Radix 2. */
function two(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { count, stride, twiddles } = pass;
  const way1 = (2 * stride) & 0x3fffffff;
  const leg1 = (2 * stride * count) & 0x3fffffff;
  for (let p = 0; p < count; p++) {
    const t = (2 * p) & 0x3fffffff;
    const w1r = twiddles[t]!;
    const w1i = twiddles[t + 1]!;
    const source = 2 * stride * p + part;
    const target = 4 * stride * p + part;
    for (let q = 0; q < stride; q++) {
      const i = (source + 2 * q) & 0x3fffffff;
      const o = (target + 2 * q) & 0x3fffffff;
      const ar = from[i]!;
      const ai = from[i ^ 1]!;
      const br = from[i + leg1]!;
      const bi = from[(i + leg1) ^ 1]!;
      to[o] = ar + br;
      to[o ^ 1] = ai + bi;
      const y1r = ar - br;
      const y1i = ai - bi;
      to[o + way1] = y1r * w1r - y1i * w1i;
      to[(o + way1) ^ 1] = y1r * w1i + y1i * w1r;
    }
  }
}

/**
 * Radix 3. In every odd radix r, X_k and X_{r−k} are e_k ∓ i f_k with e_k = a_0 + Σ_j (a_j + a_{r−j}) cos and f_k = Σ_j (a_j − a_{r−j}) sin.
 * The cosines c_m and sines s_m of m/r of a turn are literals: Math.cos would get an angle that is rounded.
 */
function three(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { count, stride, twiddles } = pass;
  const way1 = (2 * stride) & 0x3fffffff;
  const way2 = (2 * way1) & 0x3fffffff;
  const leg1 = (2 * stride * count) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const c1 = -0.5;
  const s1 = 0.8660254037844386;
  for (let p = 0; p < count; p++) {
    const t = (4 * p) & 0x3fffffff;
    const w1r = twiddles[t]!;
    const w1i = twiddles[t + 1]!;
    const w2r = twiddles[t + 2]!;
    const w2i = twiddles[t + 3]!;
    const source = 2 * stride * p + part;
    const target = 6 * stride * p + part;
    for (let q = 0; q < stride; q++) {
      const i = (source + 2 * q) & 0x3fffffff;
      const o = (target + 2 * q) & 0x3fffffff;
      const ar = from[i]!;
      const ai = from[i ^ 1]!;
      const br = from[i + leg1]!;
      const bi = from[(i + leg1) ^ 1]!;
      const cr = from[i + leg2]!;
      const ci = from[(i + leg2) ^ 1]!;
      const p1r = br + cr;
      const p1i = bi + ci;
      const d1r = br - cr;
      const d1i = bi - ci;
      to[o] = ar + p1r;
      to[o ^ 1] = ai + p1i;
      const e1r = ar + c1 * p1r;
      const e1i = ai + c1 * p1i;
      const f1r = s1 * d1r;
      const f1i = s1 * d1i;
      const y1r = e1r + f1i;
      const y1i = e1i - f1r;
      to[o + way1] = y1r * w1r - y1i * w1i;
      to[(o + way1) ^ 1] = y1r * w1i + y1i * w1r;
      const y2r = e1r - f1i;
      const y2i = e1i + f1r;
      to[o + way2] = y2r * w2r - y2i * w2i;
      to[(o + way2) ^ 1] = y2r * w2i + y2i * w2r;
    }
  }
}

/** Radix 4 without twiddles: the last pass. */
function fourPlain(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { stride } = pass;
  const leg1 = (2 * stride) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const leg3 = (3 * leg1) & 0x3fffffff;
  for (let q = 0; q < stride; q++) {
    const i = (2 * q + part) & 0x3fffffff;
    const ar = from[i]!;
    const ai = from[i ^ 1]!;
    const i1 = i + leg1;
    const br = from[i1]!;
    const bi = from[i1 ^ 1]!;
    const i2 = i + leg2;
    const cr = from[i2]!;
    const ci = from[i2 ^ 1]!;
    const i3 = i + leg3;
    const dr = from[i3]!;
    const di = from[i3 ^ 1]!;
    const acr = ar + cr;
    const aci = ai + ci;
    const bdr = br + dr;
    const bdi = bi + di;
    to[i] = acr + bdr;
    to[i ^ 1] = aci + bdi;
    to[i2] = acr - bdr;
    to[i2 ^ 1] = aci - bdi;
    const ur = ar - cr;
    const ui = ai - ci;
    const vr = bi - di;
    const vi = dr - br;
    to[i1] = ur + vr;
    to[i1 ^ 1] = ui + vi;
    to[i3] = ur - vr;
    to[i3 ^ 1] = ui - vi;
  }
}

/** Radix 4. */
function four(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { count, stride, twiddles } = pass;
  const way1 = (2 * stride) & 0x3fffffff;
  const way2 = (2 * way1) & 0x3fffffff;
  const way3 = (3 * way1) & 0x3fffffff;
  const leg1 = (2 * stride * count) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const leg3 = (3 * leg1) & 0x3fffffff;
  for (let p = 0; p < count; p++) {
    const t = (6 * p) & 0x3fffffff;
    const w1r = twiddles[t]!;
    const w1i = twiddles[t + 1]!;
    const w2r = twiddles[t + 2]!;
    const w2i = twiddles[t + 3]!;
    const w3r = twiddles[t + 4]!;
    const w3i = twiddles[t + 5]!;
    const source = 2 * stride * p + part;
    const target = 8 * stride * p + part;
    for (let q = 0; q < stride; q++) {
      const i = (source + 2 * q) & 0x3fffffff;
      const o = (target + 2 * q) & 0x3fffffff;
      const ar = from[i]!;
      const ai = from[i ^ 1]!;
      const i1 = i + leg1;
      const br = from[i1]!;
      const bi = from[i1 ^ 1]!;
      const i2 = i + leg2;
      const cr = from[i2]!;
      const ci = from[i2 ^ 1]!;
      const i3 = i + leg3;
      const dr = from[i3]!;
      const di = from[i3 ^ 1]!;
      const acr = ar + cr;
      const aci = ai + ci;
      const bdr = br + dr;
      const bdi = bi + di;
      to[o] = acr + bdr;
      to[o ^ 1] = aci + bdi;
      const o2 = o + way2;
      const y2r = acr - bdr;
      const y2i = aci - bdi;
      to[o2] = y2r * w2r - y2i * w2i;
      to[o2 ^ 1] = y2r * w2i + y2i * w2r;
      const ur = ar - cr;
      const ui = ai - ci;
      const vr = bi - di;
      const vi = dr - br;
      const o1 = o + way1;
      const y1r = ur + vr;
      const y1i = ui + vi;
      to[o1] = y1r * w1r - y1i * w1i;
      to[o1 ^ 1] = y1r * w1i + y1i * w1r;
      const o3 = o + way3;
      const y3r = ur - vr;
      const y3i = ui - vi;
      to[o3] = y3r * w3r - y3i * w3i;
      to[o3 ^ 1] = y3r * w3i + y3i * w3r;
    }
  }
}

/** Radix 5. */
function five(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { count, stride, twiddles } = pass;
  const way1 = (2 * stride) & 0x3fffffff;
  const way2 = (2 * way1) & 0x3fffffff;
  const way3 = (3 * way1) & 0x3fffffff;
  const way4 = (4 * way1) & 0x3fffffff;
  const leg1 = (2 * stride * count) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const leg3 = (3 * leg1) & 0x3fffffff;
  const leg4 = (4 * leg1) & 0x3fffffff;
  const c1 = 0.30901699437494745;
  const s1 = 0.9510565162951535;
  const c2 = -0.8090169943749475;
  const s2 = 0.5877852522924731;
  for (let p = 0; p < count; p++) {
    const t = (8 * p) & 0x3fffffff;
    const w1r = twiddles[t]!;
    const w1i = twiddles[t + 1]!;
    const w2r = twiddles[t + 2]!;
    const w2i = twiddles[t + 3]!;
    const w3r = twiddles[t + 4]!;
    const w3i = twiddles[t + 5]!;
    const w4r = twiddles[t + 6]!;
    const w4i = twiddles[t + 7]!;
    const source = 2 * stride * p + part;
    const target = 10 * stride * p + part;
    for (let q = 0; q < stride; q++) {
      const i = (source + 2 * q) & 0x3fffffff;
      const o = (target + 2 * q) & 0x3fffffff;
      const ar = from[i]!;
      const ai = from[i ^ 1]!;
      const br = from[i + leg1]!;
      const bi = from[(i + leg1) ^ 1]!;
      const cr = from[i + leg2]!;
      const ci = from[(i + leg2) ^ 1]!;
      const dr = from[i + leg3]!;
      const di = from[(i + leg3) ^ 1]!;
      const er = from[i + leg4]!;
      const ei = from[(i + leg4) ^ 1]!;
      const p1r = br + er;
      const p1i = bi + ei;
      const d1r = br - er;
      const d1i = bi - ei;
      const p2r = cr + dr;
      const p2i = ci + di;
      const d2r = cr - dr;
      const d2i = ci - di;
      to[o] = ar + p1r + p2r;
      to[o ^ 1] = ai + p1i + p2i;
      const e1r = ar + c1 * p1r + c2 * p2r;
      const e1i = ai + c1 * p1i + c2 * p2i;
      const f1r = s1 * d1r + s2 * d2r;
      const f1i = s1 * d1i + s2 * d2i;
      const y1r = e1r + f1i;
      const y1i = e1i - f1r;
      to[o + way1] = y1r * w1r - y1i * w1i;
      to[(o + way1) ^ 1] = y1r * w1i + y1i * w1r;
      const y4r = e1r - f1i;
      const y4i = e1i + f1r;
      to[o + way4] = y4r * w4r - y4i * w4i;
      to[(o + way4) ^ 1] = y4r * w4i + y4i * w4r;
      const e2r = ar + c2 * p1r + c1 * p2r;
      const e2i = ai + c2 * p1i + c1 * p2i;
      const f2r = s2 * d1r - s1 * d2r;
      const f2i = s2 * d1i - s1 * d2i;
      const y2r = e2r + f2i;
      const y2i = e2i - f2r;
      to[o + way2] = y2r * w2r - y2i * w2i;
      to[(o + way2) ^ 1] = y2r * w2i + y2i * w2r;
      const y3r = e2r - f2i;
      const y3i = e2i + f2r;
      to[o + way3] = y3r * w3r - y3i * w3i;
      to[(o + way3) ^ 1] = y3r * w3i + y3i * w3r;
    }
  }
}

/** Radix 7. */
function seven(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { count, stride, twiddles } = pass;
  const way1 = (2 * stride) & 0x3fffffff;
  const way2 = (2 * way1) & 0x3fffffff;
  const way3 = (3 * way1) & 0x3fffffff;
  const way4 = (4 * way1) & 0x3fffffff;
  const way5 = (5 * way1) & 0x3fffffff;
  const way6 = (6 * way1) & 0x3fffffff;
  const leg1 = (2 * stride * count) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const leg3 = (3 * leg1) & 0x3fffffff;
  const leg4 = (4 * leg1) & 0x3fffffff;
  const leg5 = (5 * leg1) & 0x3fffffff;
  const leg6 = (6 * leg1) & 0x3fffffff;
  const c1 = 0.6234898018587335;
  const s1 = 0.7818314824680298;
  const c2 = -0.2225209339563144;
  const s2 = 0.9749279121818236;
  const c3 = -0.9009688679024191;
  const s3 = 0.4338837391175581;
  for (let p = 0; p < count; p++) {
    const t = (12 * p) & 0x3fffffff;
    const w1r = twiddles[t]!;
    const w1i = twiddles[t + 1]!;
    const w2r = twiddles[t + 2]!;
    const w2i = twiddles[t + 3]!;
    const w3r = twiddles[t + 4]!;
    const w3i = twiddles[t + 5]!;
    const w4r = twiddles[t + 6]!;
    const w4i = twiddles[t + 7]!;
    const w5r = twiddles[t + 8]!;
    const w5i = twiddles[t + 9]!;
    const w6r = twiddles[t + 10]!;
    const w6i = twiddles[t + 11]!;
    const source = 2 * stride * p + part;
    const target = 14 * stride * p + part;
    for (let q = 0; q < stride; q++) {
      const i = (source + 2 * q) & 0x3fffffff;
      const o = (target + 2 * q) & 0x3fffffff;
      const ar = from[i]!;
      const ai = from[i ^ 1]!;
      const br = from[i + leg1]!;
      const bi = from[(i + leg1) ^ 1]!;
      const cr = from[i + leg2]!;
      const ci = from[(i + leg2) ^ 1]!;
      const dr = from[i + leg3]!;
      const di = from[(i + leg3) ^ 1]!;
      const er = from[i + leg4]!;
      const ei = from[(i + leg4) ^ 1]!;
      const fr = from[i + leg5]!;
      const fi = from[(i + leg5) ^ 1]!;
      const gr = from[i + leg6]!;
      const gi = from[(i + leg6) ^ 1]!;
      const p1r = br + gr;
      const p1i = bi + gi;
      const d1r = br - gr;
      const d1i = bi - gi;
      const p2r = cr + fr;
      const p2i = ci + fi;
      const d2r = cr - fr;
      const d2i = ci - fi;
      const p3r = dr + er;
      const p3i = di + ei;
      const d3r = dr - er;
      const d3i = di - ei;
      to[o] = ar + p1r + p2r + p3r;
      to[o ^ 1] = ai + p1i + p2i + p3i;
      const e1r = ar + c1 * p1r + c2 * p2r + c3 * p3r;
      const e1i = ai + c1 * p1i + c2 * p2i + c3 * p3i;
      const f1r = s1 * d1r + s2 * d2r + s3 * d3r;
      const f1i = s1 * d1i + s2 * d2i + s3 * d3i;
      const y1r = e1r + f1i;
      const y1i = e1i - f1r;
      to[o + way1] = y1r * w1r - y1i * w1i;
      to[(o + way1) ^ 1] = y1r * w1i + y1i * w1r;
      const y6r = e1r - f1i;
      const y6i = e1i + f1r;
      to[o + way6] = y6r * w6r - y6i * w6i;
      to[(o + way6) ^ 1] = y6r * w6i + y6i * w6r;
      const e2r = ar + c2 * p1r + c3 * p2r + c1 * p3r;
      const e2i = ai + c2 * p1i + c3 * p2i + c1 * p3i;
      const f2r = s2 * d1r - s3 * d2r - s1 * d3r;
      const f2i = s2 * d1i - s3 * d2i - s1 * d3i;
      const y2r = e2r + f2i;
      const y2i = e2i - f2r;
      to[o + way2] = y2r * w2r - y2i * w2i;
      to[(o + way2) ^ 1] = y2r * w2i + y2i * w2r;
      const y5r = e2r - f2i;
      const y5i = e2i + f2r;
      to[o + way5] = y5r * w5r - y5i * w5i;
      to[(o + way5) ^ 1] = y5r * w5i + y5i * w5r;
      const e3r = ar + c3 * p1r + c1 * p2r + c2 * p3r;
      const e3i = ai + c3 * p1i + c1 * p2i + c2 * p3i;
      const f3r = s3 * d1r - s1 * d2r + s2 * d3r;
      const f3i = s3 * d1i - s1 * d2i + s2 * d3i;
      const y3r = e3r + f3i;
      const y3i = e3i - f3r;
      to[o + way3] = y3r * w3r - y3i * w3i;
      to[(o + way3) ^ 1] = y3r * w3i + y3i * w3r;
      const y4r = e3r - f3i;
      const y4i = e3i + f3r;
      to[o + way4] = y4r * w4r - y4i * w4i;
      to[(o + way4) ^ 1] = y4r * w4i + y4i * w4r;
    }
  }
}

/** Radix 8 without twiddles: the last pass. */
function eightPlain(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { stride } = pass;
  const leg1 = (2 * stride) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const leg3 = (3 * leg1) & 0x3fffffff;
  const leg4 = (4 * leg1) & 0x3fffffff;
  const leg5 = (5 * leg1) & 0x3fffffff;
  const leg6 = (6 * leg1) & 0x3fffffff;
  const leg7 = (7 * leg1) & 0x3fffffff;
  for (let q = 0; q < stride; q++) {
    const i = (2 * q + part) & 0x3fffffff;
    const ar = from[i]!;
    const ai = from[i ^ 1]!;
    const i1 = i + leg1;
    const br = from[i1]!;
    const bi = from[i1 ^ 1]!;
    const i2 = i + leg2;
    const cr = from[i2]!;
    const ci = from[i2 ^ 1]!;
    const i3 = i + leg3;
    const dr = from[i3]!;
    const di = from[i3 ^ 1]!;
    const i4 = i + leg4;
    const er = from[i4]!;
    const ei = from[i4 ^ 1]!;
    const i5 = i + leg5;
    const fr = from[i5]!;
    const fi = from[i5 ^ 1]!;
    const i6 = i + leg6;
    const gr = from[i6]!;
    const gi = from[i6 ^ 1]!;
    const i7 = i + leg7;
    const hr = from[i7]!;
    const hi = from[i7 ^ 1]!;
    const aer = ar + er;
    const aei = ai + ei;
    const cgr = cr + gr;
    const cgi = ci + gi;
    const bfr = br + fr;
    const bfi = bi + fi;
    const dhr = dr + hr;
    const dhi = di + hi;
    // Even outputs: a DFT of the four sums.
    const pr = aer + cgr;
    const pi = aei + cgi;
    const qr = bfr + dhr;
    const qi = bfi + dhi;
    to[i] = pr + qr;
    to[i ^ 1] = pi + qi;
    to[i4] = pr - qr;
    to[i4 ^ 1] = pi - qi;
    const sr = aer - cgr;
    const si = aei - cgi;
    const tr = bfi - dhi;
    const ti = dhr - bfr;
    to[i2] = sr + tr;
    to[i2 ^ 1] = si + ti;
    to[i6] = sr - tr;
    to[i6 ^ 1] = si - ti;
    // Odd outputs: a DFT of the four differences, turned by eighths.
    const aeDr = ar - er;
    const aeDi = ai - ei;
    const cgDr = cr - gr;
    const cgDi = ci - gi;
    const bfDr = br - fr;
    const bfDi = bi - fi;
    const dhDr = dr - hr;
    const dhDi = di - hi;
    const ur = aeDr + cgDi;
    const ui = aeDi - cgDr;
    const vr = aeDr - cgDi;
    const vi = aeDi + cgDr;
    const kr = bfDr + dhDi;
    const ki = bfDi - dhDr;
    const lr = bfDr - dhDi;
    const li = bfDi + dhDr;
    const xr = Math.SQRT1_2 * (kr + ki);
    const xi = Math.SQRT1_2 * (ki - kr);
    const zr = Math.SQRT1_2 * (li - lr);
    const zi = -Math.SQRT1_2 * (lr + li);
    to[i1] = ur + xr;
    to[i1 ^ 1] = ui + xi;
    to[i5] = ur - xr;
    to[i5 ^ 1] = ui - xi;
    to[i3] = vr + zr;
    to[i3 ^ 1] = vi + zi;
    to[i7] = vr - zr;
    to[i7 ^ 1] = vi - zi;
  }
}

/** Radix 8 with stride 1: the first pass, where every butterfly has its own twiddles. */
function eightFirst(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { count, twiddles } = pass;
  const leg1 = (2 * count) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const leg3 = (3 * leg1) & 0x3fffffff;
  const leg4 = (4 * leg1) & 0x3fffffff;
  const leg5 = (5 * leg1) & 0x3fffffff;
  const leg6 = (6 * leg1) & 0x3fffffff;
  const leg7 = (7 * leg1) & 0x3fffffff;
  for (let p = 0; p < count; p++) {
    const i = (2 * p + part) & 0x3fffffff;
    const o = (16 * p + part) & 0x3fffffff;
    const t = (14 * p) & 0x3fffffff;
    const w1r = twiddles[t]!;
    const w1i = twiddles[t + 1]!;
    const w2r = twiddles[t + 2]!;
    const w2i = twiddles[t + 3]!;
    const w3r = twiddles[t + 4]!;
    const w3i = twiddles[t + 5]!;
    const w4r = twiddles[t + 6]!;
    const w4i = twiddles[t + 7]!;
    const w5r = twiddles[t + 8]!;
    const w5i = twiddles[t + 9]!;
    const w6r = twiddles[t + 10]!;
    const w6i = twiddles[t + 11]!;
    const w7r = twiddles[t + 12]!;
    const w7i = twiddles[t + 13]!;
    const ar = from[i]!;
    const ai = from[i ^ 1]!;
    const i1 = i + leg1;
    const br = from[i1]!;
    const bi = from[i1 ^ 1]!;
    const i2 = i + leg2;
    const cr = from[i2]!;
    const ci = from[i2 ^ 1]!;
    const i3 = i + leg3;
    const dr = from[i3]!;
    const di = from[i3 ^ 1]!;
    const i4 = i + leg4;
    const er = from[i4]!;
    const ei = from[i4 ^ 1]!;
    const i5 = i + leg5;
    const fr = from[i5]!;
    const fi = from[i5 ^ 1]!;
    const i6 = i + leg6;
    const gr = from[i6]!;
    const gi = from[i6 ^ 1]!;
    const i7 = i + leg7;
    const hr = from[i7]!;
    const hi = from[i7 ^ 1]!;
    const aer = ar + er;
    const aei = ai + ei;
    const cgr = cr + gr;
    const cgi = ci + gi;
    const bfr = br + fr;
    const bfi = bi + fi;
    const dhr = dr + hr;
    const dhi = di + hi;
    // Even outputs: a DFT of the four sums.
    const pr = aer + cgr;
    const pi = aei + cgi;
    const qr = bfr + dhr;
    const qi = bfi + dhi;
    to[o] = pr + qr;
    to[o ^ 1] = pi + qi;
    const o4 = o + 8;
    const y4r = pr - qr;
    const y4i = pi - qi;
    to[o4] = y4r * w4r - y4i * w4i;
    to[o4 ^ 1] = y4r * w4i + y4i * w4r;
    const sr = aer - cgr;
    const si = aei - cgi;
    const tr = bfi - dhi;
    const ti = dhr - bfr;
    const o2 = o + 4;
    const y2r = sr + tr;
    const y2i = si + ti;
    to[o2] = y2r * w2r - y2i * w2i;
    to[o2 ^ 1] = y2r * w2i + y2i * w2r;
    const o6 = o + 12;
    const y6r = sr - tr;
    const y6i = si - ti;
    to[o6] = y6r * w6r - y6i * w6i;
    to[o6 ^ 1] = y6r * w6i + y6i * w6r;
    // Odd outputs: a DFT of the four differences, turned by eighths.
    const aeDr = ar - er;
    const aeDi = ai - ei;
    const cgDr = cr - gr;
    const cgDi = ci - gi;
    const bfDr = br - fr;
    const bfDi = bi - fi;
    const dhDr = dr - hr;
    const dhDi = di - hi;
    const ur = aeDr + cgDi;
    const ui = aeDi - cgDr;
    const vr = aeDr - cgDi;
    const vi = aeDi + cgDr;
    const kr = bfDr + dhDi;
    const ki = bfDi - dhDr;
    const lr = bfDr - dhDi;
    const li = bfDi + dhDr;
    const xr = Math.SQRT1_2 * (kr + ki);
    const xi = Math.SQRT1_2 * (ki - kr);
    const zr = Math.SQRT1_2 * (li - lr);
    const zi = -Math.SQRT1_2 * (lr + li);
    const o1 = o + 2;
    const y1r = ur + xr;
    const y1i = ui + xi;
    to[o1] = y1r * w1r - y1i * w1i;
    to[o1 ^ 1] = y1r * w1i + y1i * w1r;
    const o5 = o + 10;
    const y5r = ur - xr;
    const y5i = ui - xi;
    to[o5] = y5r * w5r - y5i * w5i;
    to[o5 ^ 1] = y5r * w5i + y5i * w5r;
    const o3 = o + 6;
    const y3r = vr + zr;
    const y3i = vi + zi;
    to[o3] = y3r * w3r - y3i * w3i;
    to[o3 ^ 1] = y3r * w3i + y3i * w3r;
    const o7 = o + 14;
    const y7r = vr - zr;
    const y7i = vi - zi;
    to[o7] = y7r * w7r - y7i * w7i;
    to[o7 ^ 1] = y7r * w7i + y7i * w7r;
  }
}

/** Radix 8. */
function eight(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { count, stride, twiddles } = pass;
  const way1 = (2 * stride) & 0x3fffffff;
  const way2 = (2 * way1) & 0x3fffffff;
  const way3 = (3 * way1) & 0x3fffffff;
  const way4 = (4 * way1) & 0x3fffffff;
  const way5 = (5 * way1) & 0x3fffffff;
  const way6 = (6 * way1) & 0x3fffffff;
  const way7 = (7 * way1) & 0x3fffffff;
  const leg1 = (2 * stride * count) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const leg3 = (3 * leg1) & 0x3fffffff;
  const leg4 = (4 * leg1) & 0x3fffffff;
  const leg5 = (5 * leg1) & 0x3fffffff;
  const leg6 = (6 * leg1) & 0x3fffffff;
  const leg7 = (7 * leg1) & 0x3fffffff;
  for (let p = 0; p < count; p++) {
    const t = (14 * p) & 0x3fffffff;
    const w1r = twiddles[t]!;
    const w1i = twiddles[t + 1]!;
    const w2r = twiddles[t + 2]!;
    const w2i = twiddles[t + 3]!;
    const w3r = twiddles[t + 4]!;
    const w3i = twiddles[t + 5]!;
    const w4r = twiddles[t + 6]!;
    const w4i = twiddles[t + 7]!;
    const w5r = twiddles[t + 8]!;
    const w5i = twiddles[t + 9]!;
    const w6r = twiddles[t + 10]!;
    const w6i = twiddles[t + 11]!;
    const w7r = twiddles[t + 12]!;
    const w7i = twiddles[t + 13]!;
    const source = 2 * stride * p + part;
    const target = 16 * stride * p + part;
    for (let q = 0; q < stride; q++) {
      const i = (source + 2 * q) & 0x3fffffff;
      const o = (target + 2 * q) & 0x3fffffff;
      const ar = from[i]!;
      const ai = from[i ^ 1]!;
      const i1 = i + leg1;
      const br = from[i1]!;
      const bi = from[i1 ^ 1]!;
      const i2 = i + leg2;
      const cr = from[i2]!;
      const ci = from[i2 ^ 1]!;
      const i3 = i + leg3;
      const dr = from[i3]!;
      const di = from[i3 ^ 1]!;
      const i4 = i + leg4;
      const er = from[i4]!;
      const ei = from[i4 ^ 1]!;
      const i5 = i + leg5;
      const fr = from[i5]!;
      const fi = from[i5 ^ 1]!;
      const i6 = i + leg6;
      const gr = from[i6]!;
      const gi = from[i6 ^ 1]!;
      const i7 = i + leg7;
      const hr = from[i7]!;
      const hi = from[i7 ^ 1]!;
      const aer = ar + er;
      const aei = ai + ei;
      const cgr = cr + gr;
      const cgi = ci + gi;
      const bfr = br + fr;
      const bfi = bi + fi;
      const dhr = dr + hr;
      const dhi = di + hi;
      // Even outputs: a DFT of the four sums.
      const pr = aer + cgr;
      const pi = aei + cgi;
      const qr = bfr + dhr;
      const qi = bfi + dhi;
      to[o] = pr + qr;
      to[o ^ 1] = pi + qi;
      const o4 = o + way4;
      const y4r = pr - qr;
      const y4i = pi - qi;
      to[o4] = y4r * w4r - y4i * w4i;
      to[o4 ^ 1] = y4r * w4i + y4i * w4r;
      const sr = aer - cgr;
      const si = aei - cgi;
      const tr = bfi - dhi;
      const ti = dhr - bfr;
      const o2 = o + way2;
      const y2r = sr + tr;
      const y2i = si + ti;
      to[o2] = y2r * w2r - y2i * w2i;
      to[o2 ^ 1] = y2r * w2i + y2i * w2r;
      const o6 = o + way6;
      const y6r = sr - tr;
      const y6i = si - ti;
      to[o6] = y6r * w6r - y6i * w6i;
      to[o6 ^ 1] = y6r * w6i + y6i * w6r;
      // Odd outputs: a DFT of the four differences, turned by eighths.
      const aeDr = ar - er;
      const aeDi = ai - ei;
      const cgDr = cr - gr;
      const cgDi = ci - gi;
      const bfDr = br - fr;
      const bfDi = bi - fi;
      const dhDr = dr - hr;
      const dhDi = di - hi;
      const ur = aeDr + cgDi;
      const ui = aeDi - cgDr;
      const vr = aeDr - cgDi;
      const vi = aeDi + cgDr;
      const kr = bfDr + dhDi;
      const ki = bfDi - dhDr;
      const lr = bfDr - dhDi;
      const li = bfDi + dhDr;
      const xr = Math.SQRT1_2 * (kr + ki);
      const xi = Math.SQRT1_2 * (ki - kr);
      const zr = Math.SQRT1_2 * (li - lr);
      const zi = -Math.SQRT1_2 * (lr + li);
      const o1 = o + way1;
      const y1r = ur + xr;
      const y1i = ui + xi;
      to[o1] = y1r * w1r - y1i * w1i;
      to[o1 ^ 1] = y1r * w1i + y1i * w1r;
      const o5 = o + way5;
      const y5r = ur - xr;
      const y5i = ui - xi;
      to[o5] = y5r * w5r - y5i * w5i;
      to[o5 ^ 1] = y5r * w5i + y5i * w5r;
      const o3 = o + way3;
      const y3r = vr + zr;
      const y3i = vi + zi;
      to[o3] = y3r * w3r - y3i * w3i;
      to[o3 ^ 1] = y3r * w3i + y3i * w3r;
      const o7 = o + way7;
      const y7r = vr - zr;
      const y7i = vi - zi;
      to[o7] = y7r * w7r - y7i * w7i;
      to[o7 ^ 1] = y7r * w7i + y7i * w7r;
    }
  }
}

const COS_SIXTEENTH = 0.9238795325112867;
const SIN_SIXTEENTH = 0.3826834323650898;

/** Radix 16 without twiddles: four DFTs of four, turned, and four across them. */
function sixteenPlain(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { stride } = pass;
  const cos = COS_SIXTEENTH;
  const sin = SIN_SIXTEENTH;
  const leg1 = (2 * stride) & 0x3fffffff;
  const leg2 = (2 * leg1) & 0x3fffffff;
  const leg3 = (3 * leg1) & 0x3fffffff;
  const leg4 = (4 * leg1) & 0x3fffffff;
  const leg5 = (5 * leg1) & 0x3fffffff;
  const leg6 = (6 * leg1) & 0x3fffffff;
  const leg7 = (7 * leg1) & 0x3fffffff;
  const leg8 = (8 * leg1) & 0x3fffffff;
  const leg9 = (9 * leg1) & 0x3fffffff;
  const leg10 = (10 * leg1) & 0x3fffffff;
  const leg11 = (11 * leg1) & 0x3fffffff;
  const leg12 = (12 * leg1) & 0x3fffffff;
  const leg13 = (13 * leg1) & 0x3fffffff;
  const leg14 = (14 * leg1) & 0x3fffffff;
  const leg15 = (15 * leg1) & 0x3fffffff;
  for (let q = 0; q < stride; q++) {
    const i = (2 * q + part) & 0x3fffffff;
    const a0r = from[i]!;
    const a0i = from[i ^ 1]!;
    const i4 = i + leg4;
    const a1r = from[i4]!;
    const a1i = from[i4 ^ 1]!;
    const i8 = i + leg8;
    const a2r = from[i8]!;
    const a2i = from[i8 ^ 1]!;
    const i12 = i + leg12;
    const a3r = from[i12]!;
    const a3i = from[i12 ^ 1]!;
    const a02r = a0r + a2r;
    const a02i = a0i + a2i;
    const a13r = a1r + a3r;
    const a13i = a1i + a3i;
    const aUr = a0r - a2r;
    const aUi = a0i - a2i;
    const aVr = a1i - a3i;
    const aVi = a3r - a1r;
    const w0r = a02r + a13r;
    const w0i = a02i + a13i;
    const x0r = aUr + aVr;
    const x0i = aUi + aVi;
    const y0r = a02r - a13r;
    const y0i = a02i - a13i;
    const z0r = aUr - aVr;
    const z0i = aUi - aVi;
    const i1 = i + leg1;
    const b0r = from[i1]!;
    const b0i = from[i1 ^ 1]!;
    const i5 = i + leg5;
    const b1r = from[i5]!;
    const b1i = from[i5 ^ 1]!;
    const i9 = i + leg9;
    const b2r = from[i9]!;
    const b2i = from[i9 ^ 1]!;
    const i13 = i + leg13;
    const b3r = from[i13]!;
    const b3i = from[i13 ^ 1]!;
    const b02r = b0r + b2r;
    const b02i = b0i + b2i;
    const b13r = b1r + b3r;
    const b13i = b1i + b3i;
    const bUr = b0r - b2r;
    const bUi = b0i - b2i;
    const bVr = b1i - b3i;
    const bVi = b3r - b1r;
    const w1r = b02r + b13r;
    const w1i = b02i + b13i;
    const x1p = bUr + bVr;
    const x1q = bUi + bVi;
    const x1r = x1p * cos + x1q * sin;
    const x1i = x1q * cos - x1p * sin;
    const y1p = b02r - b13r;
    const y1q = b02i - b13i;
    const y1r = (y1p + y1q) * Math.SQRT1_2;
    const y1i = (y1q - y1p) * Math.SQRT1_2;
    const z1p = bUr - bVr;
    const z1q = bUi - bVi;
    const z1r = z1p * sin + z1q * cos;
    const z1i = z1q * sin - z1p * cos;
    const i2 = i + leg2;
    const c0r = from[i2]!;
    const c0i = from[i2 ^ 1]!;
    const i6 = i + leg6;
    const c1r = from[i6]!;
    const c1i = from[i6 ^ 1]!;
    const i10 = i + leg10;
    const c2r = from[i10]!;
    const c2i = from[i10 ^ 1]!;
    const i14 = i + leg14;
    const c3r = from[i14]!;
    const c3i = from[i14 ^ 1]!;
    const c02r = c0r + c2r;
    const c02i = c0i + c2i;
    const c13r = c1r + c3r;
    const c13i = c1i + c3i;
    const cUr = c0r - c2r;
    const cUi = c0i - c2i;
    const cVr = c1i - c3i;
    const cVi = c3r - c1r;
    const w2r = c02r + c13r;
    const w2i = c02i + c13i;
    const x2p = cUr + cVr;
    const x2q = cUi + cVi;
    const x2r = (x2p + x2q) * Math.SQRT1_2;
    const x2i = (x2q - x2p) * Math.SQRT1_2;
    const y2r = c02i - c13i;
    const y2i = c13r - c02r;
    const z2p = cUr - cVr;
    const z2q = cUi - cVi;
    const z2r = (z2q - z2p) * Math.SQRT1_2;
    const z2i = (z2p + z2q) * -Math.SQRT1_2;
    const i3 = i + leg3;
    const d0r = from[i3]!;
    const d0i = from[i3 ^ 1]!;
    const i7 = i + leg7;
    const d1r = from[i7]!;
    const d1i = from[i7 ^ 1]!;
    const i11 = i + leg11;
    const d2r = from[i11]!;
    const d2i = from[i11 ^ 1]!;
    const i15 = i + leg15;
    const d3r = from[i15]!;
    const d3i = from[i15 ^ 1]!;
    const d02r = d0r + d2r;
    const d02i = d0i + d2i;
    const d13r = d1r + d3r;
    const d13i = d1i + d3i;
    const dUr = d0r - d2r;
    const dUi = d0i - d2i;
    const dVr = d1i - d3i;
    const dVi = d3r - d1r;
    const w3r = d02r + d13r;
    const w3i = d02i + d13i;
    const x3p = dUr + dVr;
    const x3q = dUi + dVi;
    const x3r = x3p * sin + x3q * cos;
    const x3i = x3q * sin - x3p * cos;
    const y3p = d02r - d13r;
    const y3q = d02i - d13i;
    const y3r = (y3q - y3p) * Math.SQRT1_2;
    const y3i = (y3p + y3q) * -Math.SQRT1_2;
    const z3p = dUr - dVr;
    const z3q = dUi - dVi;
    const z3r = -(z3p * cos + z3q * sin);
    const z3i = z3p * sin - z3q * cos;
    const w02r = w0r + w2r;
    const w02i = w0i + w2i;
    const w13r = w1r + w3r;
    const w13i = w1i + w3i;
    const wUr = w0r - w2r;
    const wUi = w0i - w2i;
    const wVr = w1i - w3i;
    const wVi = w3r - w1r;
    to[i] = w02r + w13r;
    to[i ^ 1] = w02i + w13i;
    to[i4] = wUr + wVr;
    to[i4 ^ 1] = wUi + wVi;
    to[i8] = w02r - w13r;
    to[i8 ^ 1] = w02i - w13i;
    to[i12] = wUr - wVr;
    to[i12 ^ 1] = wUi - wVi;
    const x02r = x0r + x2r;
    const x02i = x0i + x2i;
    const x13r = x1r + x3r;
    const x13i = x1i + x3i;
    const xUr = x0r - x2r;
    const xUi = x0i - x2i;
    const xVr = x1i - x3i;
    const xVi = x3r - x1r;
    to[i1] = x02r + x13r;
    to[i1 ^ 1] = x02i + x13i;
    to[i5] = xUr + xVr;
    to[i5 ^ 1] = xUi + xVi;
    to[i9] = x02r - x13r;
    to[i9 ^ 1] = x02i - x13i;
    to[i13] = xUr - xVr;
    to[i13 ^ 1] = xUi - xVi;
    const y02r = y0r + y2r;
    const y02i = y0i + y2i;
    const y13r = y1r + y3r;
    const y13i = y1i + y3i;
    const yUr = y0r - y2r;
    const yUi = y0i - y2i;
    const yVr = y1i - y3i;
    const yVi = y3r - y1r;
    to[i2] = y02r + y13r;
    to[i2 ^ 1] = y02i + y13i;
    to[i6] = yUr + yVr;
    to[i6 ^ 1] = yUi + yVi;
    to[i10] = y02r - y13r;
    to[i10 ^ 1] = y02i - y13i;
    to[i14] = yUr - yVr;
    to[i14 ^ 1] = yUi - yVi;
    const z02r = z0r + z2r;
    const z02i = z0i + z2i;
    const z13r = z1r + z3r;
    const z13i = z1i + z3i;
    const zUr = z0r - z2r;
    const zUi = z0i - z2i;
    const zVr = z1i - z3i;
    const zVi = z3r - z1r;
    to[i3] = z02r + z13r;
    to[i3 ^ 1] = z02i + z13i;
    to[i7] = zUr + zVr;
    to[i7 ^ 1] = zUi + zVi;
    to[i11] = z02r - z13r;
    to[i11 ^ 1] = z02i - z13i;
    to[i15] = zUr - zVr;
    to[i15 ^ 1] = zUi - zVi;
  }
}

/** Any odd radix up to 13, from a table of its roots. */
function oddPrime(pass: Pass, from: Float64Array, to: Float64Array, part: number): void {
  const { radix, count, stride, twiddles } = pass;
  const half = (radix - 1) / 2;
  const way = 2 * stride;
  const leg = way * count;
  for (let k = 0; k < radix; k++) writeRoot(oddRoots, 2 * k, k, radix);
  for (let p = 0; p < count; p++) {
    const t = 2 * (radix - 1) * p;
    for (let q = 0; q < stride; q++) {
      const i = way * p + 2 * q + part;
      const o = way * radix * p + 2 * q + part;
      const ar = from[i]!;
      const ai = from[i ^ 1]!;
      let sumR = ar;
      let sumI = ai;
      for (let j = 1; j <= half; j++) {
        const low = i + j * leg;
        const high = i + (radix - j) * leg;
        oddParts[4 * j] = from[low]! + from[high]!;
        oddParts[4 * j + 1] = from[low ^ 1]! + from[high ^ 1]!;
        oddParts[4 * j + 2] = from[low]! - from[high]!;
        oddParts[4 * j + 3] = from[low ^ 1]! - from[high ^ 1]!;
        sumR += oddParts[4 * j]!;
        sumI += oddParts[4 * j + 1]!;
      }
      to[o] = sumR;
      to[o ^ 1] = sumI;
      for (let k = 1; k <= half; k++) {
        let er = ar;
        let ei = ai;
        let fr = 0;
        let fi = 0;
        for (let j = 1, turn = k; j <= half; j++, turn = (turn + k) % radix) {
          const cos = oddRoots[2 * turn]!;
          const sin = -oddRoots[2 * turn + 1]!;
          er += oddParts[4 * j]! * cos;
          ei += oddParts[4 * j + 1]! * cos;
          fr += oddParts[4 * j + 2]! * sin;
          fi += oddParts[4 * j + 3]! * sin;
        }
        writeProduct(to, o + k * way, er + fi, ei - fr, twiddles, t + 2 * (k - 1));
        writeProduct(to, o + (radix - k) * way, er - fi, ei + fr, twiddles, t + 2 * (radix - k - 1));
      }
    }
  }
}

const oddRoots = new Float64Array(2 * 13);
/** a_j + a_{r−j} and a_j − a_{r−j} of one butterfly. */
const oddParts = new Float64Array(4 * 7);

function writeProduct(to: Float64Array, at: number, re: number, im: number, twiddles: Float64Array, t: number): void {
  const wr = twiddles[t]!;
  const wi = twiddles[t + 1]!;
  to[at] = re * wr - im * wi;
  to[at ^ 1] = re * wi + im * wr;
}
