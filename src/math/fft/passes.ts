import { writeRoot } from "../roots.ts";

/**
 * One pass of a transform in place, decimated in time: it makes transforms of span · radix points out of `radix` neighbours of span points each. For
 * p < span it reads a_j at p + span · j of its block and writes, to the same places,
 *
 *     Σ_j w_pj a_j exp(−2πi jk / radix),   w_pj = exp(−2πi pj / (radix · span)).
 */
export interface Pass {
  readonly radix: number;
  readonly span: number;
  /** w_pj for each p and each j > 0, interleaved. */
  readonly twiddles: Float64Array;
}

/**
 * Which rows make up the tile, in an order that is good for the cache: for n < fan, d < spread and j < group, its row
 * slots[m] + rows/fan · n + rows/(fan · spread) · d + j is row sources[m] + n + fan · d + rows/group · j of what it is loaded from. Only a tile of one
 * column, whose rows are neighbours there, may have a fan.
 */
export interface Order {
  readonly rows: number;
  readonly fan: number;
  readonly spread: number;
  readonly group: number;
  readonly sources: Int32Array;
  readonly slots: Int32Array;
}

/** Where numbers of the tile go: row k of column q to start + (k − k mod group) · rowPitch + k mod group + q · columnPitch. */
export interface Place {
  readonly start: number;
  /** For the codelets of radix 4, a divisor of their span. */
  readonly group: number;
  readonly rowPitch: number;
  readonly columnPitch: number;
}

/** Points that a tile holds, all columns together: sixteen columns of the longest step. */
export const TILE = 16384;

let codelets: ReturnType<typeof createCodelets> | undefined;

/** Codelets over one tile, which all transforms share: they run one at a time. */
export function sharedCodelets() {
  return (codelets ??= createCodelets());
}

/*
 * The tile holds columns side by side, each a transform of its own: row n of column q is at n · columns + q. It lies in two constant arrays, whose
 * addresses and lengths V8 then compiles into the code: a fifth of the time. It does so for constants of a function that ran once, where an inner
 * function names them outside of its loops; hence the closure, and `const re = real` at the head of each codelet. (Bundlers turn constants of a
 * module into variables.) The masks tell it that an index and its sums stay in a machine word; they have to be literals.
 *
 * A codelet's two inner loops are over what shares its twiddles, the outer one by `stride`, the inner one as far as `reach`. With one column the inner
 * one is over blocks, as a loop of one round costs more. They count in places themselves: counters beside them, and products, took a fifth of the time.
 * Nor does a radix of 8 pay: its numbers and twiddles are too many for sixteen registers.
 */
function createCodelets() {
  // Were the parts of a number a multiple of 4 KiB apart, they would contend for the same lines of the cache.
  const memory = new ArrayBuffer(2 * 8 * TILE + 64);
  const real = new Float64Array(memory, 0, TILE);
  const imaginary = new Float64Array(memory, 8 * TILE + 64, TILE);

  /** Runs a pass over all columns of the tile; there are `blocks` groups of span · radix points. */
  function runPass(pass: Pass, blocks: number, columns: number): void {
    const { radix, span } = pass;
    if (radix === 4 && span === 4) {
      fourByEighths(blocks, columns);
      four(pass, blocks, columns, 1, 2);
    } else if (radix === 4) four(pass, blocks, columns, 0, 1);
    else if (radix === 2) two(pass, blocks, columns);
    else if (radix === 3) three(pass, blocks, columns);
    else if (radix === 5) five(pass, blocks, columns);
    else if (radix === 7) seven(pass, blocks, columns);
    else oddPrime(pass, blocks, columns);
  }

  /** Radix 2. */
  function two({ span, twiddles }: Pass, blocks: number, columns: number): void {
    const re = real;
    const im = imaginary;
    const leg1 = (span * columns) & 0x3fffffff;
    const total = 2 * leg1 * blocks;
    const reach = columns === 1 ? total : columns;
    const stride = columns === 1 ? total : 2 * leg1;
    const step = (columns === 1 ? 2 * leg1 : 1) & 0x3fffffff;
    for (let row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 2) & 0x3fffffff) {
      const w1r = twiddles[t]!;
      const w1i = twiddles[t + 1]!;
      for (let start = row; start < total; start = (start + stride) & 0x3fffffff) {
        const end = start + reach;
        for (let i = start; i < end; i = (i + step) & 0x3fffffff) {
          const ar = re[i]!;
          const ai = im[i]!;
          const i1 = i + leg1;
          const bR = re[i1]!;
          const bI = im[i1]!;
          const br = bR * w1r - bI * w1i;
          const bi = bR * w1i + bI * w1r;
          re[i] = ar + br;
          im[i] = ai + bi;
          re[i1] = ar - br;
          im[i1] = ai - bi;
        }
      }
    }
  }

  /**
   * Radix 3. In every odd radix r, X_k and X_{r−k} are e_k ∓ i f_k with e_k = a_0 + Σ_j (a_j + a_{r−j}) cos and f_k = Σ_j (a_j − a_{r−j}) sin.
   * The cosines c_m and sines s_m of m/r of a turn are literals: Math.cos would get an angle that is rounded.
   */
  function three({ span, twiddles }: Pass, blocks: number, columns: number): void {
    const re = real;
    const im = imaginary;
    const leg1 = (span * columns) & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const total = 3 * leg1 * blocks;
    const reach = columns === 1 ? total : columns;
    const stride = columns === 1 ? total : 3 * leg1;
    const step = (columns === 1 ? 3 * leg1 : 1) & 0x3fffffff;
    const c1 = -0.5;
    const s1 = 0.8660254037844386;
    for (let row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 4) & 0x3fffffff) {
      const w1r = twiddles[t]!;
      const w1i = twiddles[t + 1]!;
      const w2r = twiddles[t + 2]!;
      const w2i = twiddles[t + 3]!;
      for (let start = row; start < total; start = (start + stride) & 0x3fffffff) {
        const end = start + reach;
        for (let i = start; i < end; i = (i + step) & 0x3fffffff) {
          const ar = re[i]!;
          const ai = im[i]!;
          const i1 = i + leg1;
          const bR = re[i1]!;
          const bI = im[i1]!;
          const br = bR * w1r - bI * w1i;
          const bi = bR * w1i + bI * w1r;
          const i2 = i + leg2;
          const cR = re[i2]!;
          const cI = im[i2]!;
          const cr = cR * w2r - cI * w2i;
          const ci = cR * w2i + cI * w2r;
          const p1r = br + cr;
          const p1i = bi + ci;
          const d1r = br - cr;
          const d1i = bi - ci;
          re[i] = ar + p1r;
          im[i] = ai + p1i;
          const e1r = ar + c1 * p1r;
          const e1i = ai + c1 * p1i;
          const f1r = s1 * d1r;
          const f1i = s1 * d1i;
          re[i1] = e1r + f1i;
          im[i1] = e1i - f1r;
          re[i2] = e1r - f1i;
          im[i2] = e1i + f1r;
        }
      }
    }
  }

  /** Radix 4, for p = first, first + by, and so on. */
  function four({ span, twiddles }: Pass, blocks: number, columns: number, first: number, by: number): void {
    const re = real;
    const im = imaginary;
    const leg1 = (span * columns) & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const leg3 = (3 * leg1) & 0x3fffffff;
    const total = 4 * leg1 * blocks;
    const reach = columns === 1 ? total : columns;
    const stride = columns === 1 ? total : 4 * leg1;
    const step = (columns === 1 ? 4 * leg1 : 1) & 0x3fffffff;
    const nextRow = (by * columns) & 0x3fffffff;
    const nextTwiddle = (6 * by) & 0x3fffffff;
    for (
      let row = (first * columns) & 0x3fffffff, t = (6 * first) & 0x3fffffff;
      row < leg1;
      row = (row + nextRow) & 0x3fffffff, t = (t + nextTwiddle) & 0x3fffffff
    ) {
      const w1r = twiddles[t]!;
      const w1i = twiddles[t + 1]!;
      const w2r = twiddles[t + 2]!;
      const w2i = twiddles[t + 3]!;
      const w3r = twiddles[t + 4]!;
      const w3i = twiddles[t + 5]!;
      for (let start = row; start < total; start = (start + stride) & 0x3fffffff) {
        const end = start + reach;
        for (let i = start; i < end; i = (i + step) & 0x3fffffff) {
          const ar = re[i]!;
          const ai = im[i]!;
          const i1 = i + leg1;
          const bR = re[i1]!;
          const bI = im[i1]!;
          const br = bR * w1r - bI * w1i;
          const bi = bR * w1i + bI * w1r;
          const i2 = i + leg2;
          const cR = re[i2]!;
          const cI = im[i2]!;
          const cr = cR * w2r - cI * w2i;
          const ci = cR * w2i + cI * w2r;
          const i3 = i + leg3;
          const dR = re[i3]!;
          const dI = im[i3]!;
          const dr = dR * w3r - dI * w3i;
          const di = dR * w3i + dI * w3r;
          const acr = ar + cr;
          const aci = ai + ci;
          const bdr = br + dr;
          const bdi = bi + di;
          const ur = ar - cr;
          const ui = ai - ci;
          const vr = bi - di;
          const vi = dr - br;
          re[i] = acr + bdr;
          im[i] = aci + bdi;
          re[i2] = acr - bdr;
          im[i2] = aci - bdi;
          re[i1] = ur + vr;
          im[i1] = ui + vi;
          re[i3] = ur - vr;
          im[i3] = ui - vi;
        }
      }
    }
  }

  /** Radix 4 where the span is 4, for p = 0 and p = 2: their twiddles are eighths of a turn, which take half of the arithmetic. */
  function fourByEighths(blocks: number, columns: number): void {
    const re = real;
    const im = imaginary;
    const leg1 = (4 * columns) & 0x3fffffff;
    const leg2 = (8 * columns) & 0x3fffffff;
    const leg3 = (12 * columns) & 0x3fffffff;
    const total = 16 * columns * blocks;
    const reach = columns === 1 ? total : columns;
    const stride = columns === 1 ? total : 16 * columns;
    const step = (columns === 1 ? 16 : 1) & 0x3fffffff;
    const h = Math.SQRT1_2;
    for (let start = 0; start < total; start += stride) {
      const end = start + reach;
      for (let i = start & 0x3fffffff; i < end; i = (i + step) & 0x3fffffff) {
        const ar = re[i]!;
        const ai = im[i]!;
        const i1 = i + leg1;
        const br = re[i1]!;
        const bi = im[i1]!;
        const i2 = i + leg2;
        const cr = re[i2]!;
        const ci = im[i2]!;
        const i3 = i + leg3;
        const dr = re[i3]!;
        const di = im[i3]!;
        const acr = ar + cr;
        const aci = ai + ci;
        const bdr = br + dr;
        const bdi = bi + di;
        const ur = ar - cr;
        const ui = ai - ci;
        const vr = bi - di;
        const vi = dr - br;
        re[i] = acr + bdr;
        im[i] = aci + bdi;
        re[i2] = acr - bdr;
        im[i2] = aci - bdi;
        re[i1] = ur + vr;
        im[i1] = ui + vi;
        re[i3] = ur - vr;
        im[i3] = ui - vi;
      }
    }
    for (let start = 2 * columns; start < total; start += stride) {
      const end = start + reach;
      for (let i = start & 0x3fffffff; i < end; i = (i + step) & 0x3fffffff) {
        const ar = re[i]!;
        const ai = im[i]!;
        const i1 = i + leg1;
        const bR = re[i1]!;
        const bI = im[i1]!;
        const br = h * (bR + bI);
        const bi = h * (bI - bR);
        const i2 = i + leg2;
        const cr = im[i2]!;
        const ci = -re[i2]!;
        const i3 = i + leg3;
        const dR = re[i3]!;
        const dI = im[i3]!;
        const dr = h * (dI - dR);
        const di = -h * (dR + dI);
        const acr = ar + cr;
        const aci = ai + ci;
        const bdr = br + dr;
        const bdi = bi + di;
        const ur = ar - cr;
        const ui = ai - ci;
        const vr = bi - di;
        const vi = dr - br;
        re[i] = acr + bdr;
        im[i] = aci + bdi;
        re[i2] = acr - bdr;
        im[i2] = aci - bdi;
        re[i1] = ur + vr;
        im[i1] = ui + vi;
        re[i3] = ur - vr;
        im[i3] = ui - vi;
      }
    }
  }

  /** Radix 5. */
  function five({ span, twiddles }: Pass, blocks: number, columns: number): void {
    const re = real;
    const im = imaginary;
    const leg1 = (span * columns) & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const leg3 = (3 * leg1) & 0x3fffffff;
    const leg4 = (4 * leg1) & 0x3fffffff;
    const total = 5 * leg1 * blocks;
    const reach = columns === 1 ? total : columns;
    const stride = columns === 1 ? total : 5 * leg1;
    const step = (columns === 1 ? 5 * leg1 : 1) & 0x3fffffff;
    const c1 = 0.30901699437494745;
    const s1 = 0.9510565162951535;
    const c2 = -0.8090169943749475;
    const s2 = 0.5877852522924731;
    for (let row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 8) & 0x3fffffff) {
      const w1r = twiddles[t]!;
      const w1i = twiddles[t + 1]!;
      const w2r = twiddles[t + 2]!;
      const w2i = twiddles[t + 3]!;
      const w3r = twiddles[t + 4]!;
      const w3i = twiddles[t + 5]!;
      const w4r = twiddles[t + 6]!;
      const w4i = twiddles[t + 7]!;
      for (let start = row; start < total; start = (start + stride) & 0x3fffffff) {
        const end = start + reach;
        for (let i = start; i < end; i = (i + step) & 0x3fffffff) {
          const ar = re[i]!;
          const ai = im[i]!;
          const i1 = i + leg1;
          const bR = re[i1]!;
          const bI = im[i1]!;
          const br = bR * w1r - bI * w1i;
          const bi = bR * w1i + bI * w1r;
          const i2 = i + leg2;
          const cR = re[i2]!;
          const cI = im[i2]!;
          const cr = cR * w2r - cI * w2i;
          const ci = cR * w2i + cI * w2r;
          const i3 = i + leg3;
          const dR = re[i3]!;
          const dI = im[i3]!;
          const dr = dR * w3r - dI * w3i;
          const di = dR * w3i + dI * w3r;
          const i4 = i + leg4;
          const eR = re[i4]!;
          const eI = im[i4]!;
          const er = eR * w4r - eI * w4i;
          const ei = eR * w4i + eI * w4r;
          const p1r = br + er;
          const p1i = bi + ei;
          const d1r = br - er;
          const d1i = bi - ei;
          const p2r = cr + dr;
          const p2i = ci + di;
          const d2r = cr - dr;
          const d2i = ci - di;
          re[i] = ar + p1r + p2r;
          im[i] = ai + p1i + p2i;
          const e1r = ar + c1 * p1r + c2 * p2r;
          const e1i = ai + c1 * p1i + c2 * p2i;
          const f1r = s1 * d1r + s2 * d2r;
          const f1i = s1 * d1i + s2 * d2i;
          re[i1] = e1r + f1i;
          im[i1] = e1i - f1r;
          re[i4] = e1r - f1i;
          im[i4] = e1i + f1r;
          const e2r = ar + c2 * p1r + c1 * p2r;
          const e2i = ai + c2 * p1i + c1 * p2i;
          const f2r = s2 * d1r - s1 * d2r;
          const f2i = s2 * d1i - s1 * d2i;
          re[i2] = e2r + f2i;
          im[i2] = e2i - f2r;
          re[i3] = e2r - f2i;
          im[i3] = e2i + f2r;
        }
      }
    }
  }

  /** Radix 7. */
  function seven({ span, twiddles }: Pass, blocks: number, columns: number): void {
    const re = real;
    const im = imaginary;
    const leg1 = (span * columns) & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const leg3 = (3 * leg1) & 0x3fffffff;
    const leg4 = (4 * leg1) & 0x3fffffff;
    const leg5 = (5 * leg1) & 0x3fffffff;
    const leg6 = (6 * leg1) & 0x3fffffff;
    const total = 7 * leg1 * blocks;
    const reach = columns === 1 ? total : columns;
    const stride = columns === 1 ? total : 7 * leg1;
    const step = (columns === 1 ? 7 * leg1 : 1) & 0x3fffffff;
    const c1 = 0.6234898018587335;
    const s1 = 0.7818314824680298;
    const c2 = -0.2225209339563144;
    const s2 = 0.9749279121818236;
    const c3 = -0.9009688679024191;
    const s3 = 0.4338837391175581;
    for (let row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 12) & 0x3fffffff) {
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
      for (let start = row; start < total; start = (start + stride) & 0x3fffffff) {
        const end = start + reach;
        for (let i = start; i < end; i = (i + step) & 0x3fffffff) {
          const ar = re[i]!;
          const ai = im[i]!;
          const i1 = i + leg1;
          const bR = re[i1]!;
          const bI = im[i1]!;
          const br = bR * w1r - bI * w1i;
          const bi = bR * w1i + bI * w1r;
          const i2 = i + leg2;
          const cR = re[i2]!;
          const cI = im[i2]!;
          const cr = cR * w2r - cI * w2i;
          const ci = cR * w2i + cI * w2r;
          const i3 = i + leg3;
          const dR = re[i3]!;
          const dI = im[i3]!;
          const dr = dR * w3r - dI * w3i;
          const di = dR * w3i + dI * w3r;
          const i4 = i + leg4;
          const eR = re[i4]!;
          const eI = im[i4]!;
          const er = eR * w4r - eI * w4i;
          const ei = eR * w4i + eI * w4r;
          const i5 = i + leg5;
          const fR = re[i5]!;
          const fI = im[i5]!;
          const fr = fR * w5r - fI * w5i;
          const fi = fR * w5i + fI * w5r;
          const i6 = i + leg6;
          const gR = re[i6]!;
          const gI = im[i6]!;
          const gr = gR * w6r - gI * w6i;
          const gi = gR * w6i + gI * w6r;
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
          re[i] = ar + p1r + p2r + p3r;
          im[i] = ai + p1i + p2i + p3i;
          const e1r = ar + c1 * p1r + c2 * p2r + c3 * p3r;
          const e1i = ai + c1 * p1i + c2 * p2i + c3 * p3i;
          const f1r = s1 * d1r + s2 * d2r + s3 * d3r;
          const f1i = s1 * d1i + s2 * d2i + s3 * d3i;
          re[i1] = e1r + f1i;
          im[i1] = e1i - f1r;
          re[i6] = e1r - f1i;
          im[i6] = e1i + f1r;
          const e2r = ar + c2 * p1r + c3 * p2r + c1 * p3r;
          const e2i = ai + c2 * p1i + c3 * p2i + c1 * p3i;
          const f2r = s2 * d1r - s3 * d2r - s1 * d3r;
          const f2i = s2 * d1i - s3 * d2i - s1 * d3i;
          re[i2] = e2r + f2i;
          im[i2] = e2i - f2r;
          re[i5] = e2r - f2i;
          im[i5] = e2i + f2r;
          const e3r = ar + c3 * p1r + c1 * p2r + c2 * p3r;
          const e3i = ai + c3 * p1i + c1 * p2i + c2 * p3i;
          const f3r = s3 * d1r - s1 * d2r + s2 * d3r;
          const f3i = s3 * d1i - s1 * d2i + s2 * d3i;
          re[i3] = e3r + f3i;
          im[i3] = e3i - f3r;
          re[i4] = e3r - f3i;
          im[i4] = e3i + f3r;
        }
      }
    }
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

  /** Loads the tile, `pitch` numbers from one row to the next. */
  function load(
    from: Float64Array,
    start: number,
    pitch: number,
    { rows, fan, spread, group, sources, slots }: Order,
    columns: number,
    part: number,
  ): void {
    const re = real;
    const im = imaginary;
    const inner = fan * columns;
    const way = (fan === 1 ? 1 : rows / fan) & 0x3fffffff;
    const near = rows / (fan * spread);
    for (let j = 0; j < group; j++) {
      for (let m = 0; m < sources.length; m++) {
        let i = (2 * (start + (sources[m]! + (rows / group) * j) * pitch) + part) & 0x3fffffff;
        for (let d = 0, target = (slots[m]! + j) * columns; d < spread; d++, target += near) {
          const end = i + 2 * inner;
          for (let o = target & 0x3fffffff; i < end; i = (i + 2) & 0x3fffffff, o = (o + way) & 0x3fffffff) {
            re[o] = from[i]!;
            im[o] = from[i ^ 1]!;
          }
        }
      }
    }
  }

  /** The same, each number times the next one of `turns` from `at` on. */
  function loadTurned(
    from: Float64Array,
    start: number,
    pitch: number,
    { rows, sources, slots }: Order,
    columns: number,
    turns: Float64Array,
    at: number,
  ): void {
    const re = real;
    const im = imaginary;
    const first = (2 * start) & 0x3fffffff;
    const step = (2 * pitch) & 0x3fffffff;
    const inner = (2 * columns) & 0x3fffffff;
    let t = (2 * at) & 0x3fffffff;
    for (let m = 0; m < rows; m++) {
      let i = (first + Math.imul(step, sources[m]!)) & 0x3fffffff;
      let o = Math.imul(columns, slots[m]!) & 0x3fffffff;
      for (const end = i + inner; i < end; i = (i + 2) & 0x3fffffff, o = (o + 1) & 0x3fffffff, t = (t + 2) & 0x3fffffff) {
        const aR = from[i]!;
        const aI = from[i + 1]!;
        const wr = turns[t]!;
        const wi = turns[t + 1]!;
        re[o] = aR * wr - aI * wi;
        im[o] = aR * wi + aI * wr;
      }
    }
  }

  /** Stores the tile, `rows` of it. */
  function store(rows: number, columns: number, to: Float64Array, place: Place, part: number): void {
    const re = real;
    const im = imaginary;
    const { start, group, rowPitch, columnPitch } = place;
    const single = columns === 1 && group === 1;
    const outer = single ? 1 : rows;
    const inner = single ? rows : columns;
    const step = (2 * (single ? rowPitch : columnPitch)) & 0x3fffffff;
    for (let m = 0; m < outer; m++) {
      const source = m * columns;
      const lane = m % group;
      const target = 2 * (start + (m - lane) * rowPitch + lane) + part;
      const end = source + inner;
      for (let i = source & 0x3fffffff, o = target & 0x3fffffff; i < end; i = (i + 1) & 0x3fffffff, o = (o + step) & 0x3fffffff) {
        to[o] = re[i]!;
        to[o ^ 1] = im[i]!;
      }
    }
  }

  // The codelets of radix 4 at either end exist for the type of array that they read or write: V8 is slow where it meets two. In those arrays legs and
  // ways are even, so that the other part of a number is as far from that of the first.

  /** Loads the tile and runs its first pass, of radix 4. */
  function firstFour(
    from: Float32Array,
    start: number,
    pitch: number,
    { rows, fan, spread, sources, slots }: Order,
    columns: number,
    part: number,
  ): void {
    const re = real;
    const im = imaginary;
    const blocks = rows / 4;
    const leg1 = (2 * blocks * pitch) & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const leg3 = (3 * leg1) & 0x3fffffff;
    const way1 = columns & 0x3fffffff;
    const way2 = (2 * columns) & 0x3fffffff;
    const way3 = (3 * columns) & 0x3fffffff;
    const first = (2 * start + part) & 0x3fffffff;
    const step = (2 * pitch) & 0x3fffffff;
    const inner = (2 * fan * columns) & 0x3fffffff;
    const way = (fan === 1 ? 1 : rows / fan) & 0x3fffffff;
    const near = rows / (fan * spread);
    const count = sources.length;
    for (let m = 0; m < count; m++) {
      let i = (first + Math.imul(step, sources[m]!)) & 0x3fffffff;
      for (let d = 0, target = Math.imul(columns, slots[m]!); d < spread; d++, target += near) {
        const end = i + inner;
        for (let o = target & 0x3fffffff; i < end; i = (i + 2) & 0x3fffffff, o = (o + way) & 0x3fffffff) {
          const ar = from[i]!;
          const k = (i ^ 1) & 0x3fffffff;
          const ai = from[k]!;
          const br = from[i + leg1]!;
          const bi = from[k + leg1]!;
          const cr = from[i + leg2]!;
          const ci = from[k + leg2]!;
          const dr = from[i + leg3]!;
          const di = from[k + leg3]!;
          const acr = ar + cr;
          const aci = ai + ci;
          const bdr = br + dr;
          const bdi = bi + di;
          const ur = ar - cr;
          const ui = ai - ci;
          const vr = bi - di;
          const vi = dr - br;
          re[o] = acr + bdr;
          im[o] = aci + bdi;
          const o2 = o + way2;
          re[o2] = acr - bdr;
          im[o2] = aci - bdi;
          const o1 = o + way1;
          re[o1] = ur + vr;
          im[o1] = ui + vi;
          const o3 = o + way3;
          re[o3] = ur - vr;
          im[o3] = ui - vi;
        }
      }
    }
  }

  /** The same, each number times the next one of `turns` from `at` on; rows that share a butterfly follow each other there. */
  function firstFourTurned(
    from: Float64Array,
    start: number,
    pitch: number,
    { rows, sources, slots }: Order,
    columns: number,
    turns: Float64Array,
    at: number,
  ): void {
    const re = real;
    const im = imaginary;
    const blocks = rows / 4;
    const leg1 = (2 * blocks * pitch) & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const leg3 = (3 * leg1) & 0x3fffffff;
    const way1 = columns & 0x3fffffff;
    const way2 = (2 * columns) & 0x3fffffff;
    const way3 = (3 * columns) & 0x3fffffff;
    const first = (2 * start) & 0x3fffffff;
    const step = (2 * pitch) & 0x3fffffff;
    const inner = (2 * columns) & 0x3fffffff;
    const count = sources.length;
    let t = (2 * at) & 0x3fffffff;
    for (let m = 0; m < count; m++) {
      let i = (first + Math.imul(step, sources[m]!)) & 0x3fffffff;
      let o = Math.imul(columns, slots[m]!) & 0x3fffffff;
      for (const end = i + inner; i < end; i = (i + 2) & 0x3fffffff, o = (o + 1) & 0x3fffffff, t = (t + 8) & 0x3fffffff) {
        const aR = from[i]!;
        const aI = from[i + 1]!;
        const w0r = turns[t]!;
        const w0i = turns[t + 1]!;
        const ar = aR * w0r - aI * w0i;
        const ai = aR * w0i + aI * w0r;
        const i1 = i + leg1;
        const bR = from[i1]!;
        const bI = from[i1 + 1]!;
        const w1r = turns[t + 2]!;
        const w1i = turns[t + 3]!;
        const br = bR * w1r - bI * w1i;
        const bi = bR * w1i + bI * w1r;
        const i2 = i + leg2;
        const cR = from[i2]!;
        const cI = from[i2 + 1]!;
        const w2r = turns[t + 4]!;
        const w2i = turns[t + 5]!;
        const cr = cR * w2r - cI * w2i;
        const ci = cR * w2i + cI * w2r;
        const i3 = i + leg3;
        const dR = from[i3]!;
        const dI = from[i3 + 1]!;
        const w3r = turns[t + 6]!;
        const w3i = turns[t + 7]!;
        const dr = dR * w3r - dI * w3i;
        const di = dR * w3i + dI * w3r;
        const acr = ar + cr;
        const aci = ai + ci;
        const bdr = br + dr;
        const bdi = bi + di;
        const ur = ar - cr;
        const ui = ai - ci;
        const vr = bi - di;
        const vi = dr - br;
        re[o] = acr + bdr;
        im[o] = aci + bdi;
        const o2 = o + way2;
        re[o2] = acr - bdr;
        im[o2] = aci - bdi;
        const o1 = o + way1;
        re[o1] = ur + vr;
        im[o1] = ui + vi;
        const o3 = o + way3;
        re[o3] = ur - vr;
        im[o3] = ui - vi;
      }
    }
  }

  /** Runs the last pass, of radix 4, and stores the tile. */
  function lastFour({ span, twiddles }: Pass, columns: number, to: Float64Array, place: Place, part: number): void {
    const re = real;
    const im = imaginary;
    const { start, group, rowPitch, columnPitch } = place;
    const single = columns === 1 && group === 1;
    const outer = single ? 1 : span;
    const inner = single ? span : columns;
    const step = (2 * (single ? rowPitch : columnPitch)) & 0x3fffffff;
    const leg1 = (span * columns) & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const leg3 = (3 * leg1) & 0x3fffffff;
    const way1 = (2 * span * rowPitch) & 0x3fffffff;
    const way2 = (2 * way1) & 0x3fffffff;
    const way3 = (3 * way1) & 0x3fffffff;
    for (let m = 0; m < outer; m++) {
      const source = m * columns;
      const lane = m % group;
      const target = 2 * (start + (m - lane) * rowPitch + lane) + part;
      const first = (6 * m) & 0x3fffffff;
      let w1r = twiddles[first]!;
      let w1i = twiddles[first + 1]!;
      let w2r = twiddles[first + 2]!;
      let w2i = twiddles[first + 3]!;
      let w3r = twiddles[first + 4]!;
      let w3i = twiddles[first + 5]!;
      const end = source + inner;
      let t = 0;
      for (let i = source & 0x3fffffff, o = target & 0x3fffffff; i < end; i = (i + 1) & 0x3fffffff, o = (o + step) & 0x3fffffff) {
        if (single) {
          w1r = twiddles[t]!;
          w1i = twiddles[t + 1]!;
          w2r = twiddles[t + 2]!;
          w2i = twiddles[t + 3]!;
          w3r = twiddles[t + 4]!;
          w3i = twiddles[t + 5]!;
          t = (t + 6) & 0x3fffffff;
        }
        const ar = re[i]!;
        const ai = im[i]!;
        const i1 = i + leg1;
        const bR = re[i1]!;
        const bI = im[i1]!;
        const br = bR * w1r - bI * w1i;
        const bi = bR * w1i + bI * w1r;
        const i2 = i + leg2;
        const cR = re[i2]!;
        const cI = im[i2]!;
        const cr = cR * w2r - cI * w2i;
        const ci = cR * w2i + cI * w2r;
        const i3 = i + leg3;
        const dR = re[i3]!;
        const dI = im[i3]!;
        const dr = dR * w3r - dI * w3i;
        const di = dR * w3i + dI * w3r;
        const acr = ar + cr;
        const aci = ai + ci;
        const bdr = br + dr;
        const bdi = bi + di;
        const ur = ar - cr;
        const ui = ai - ci;
        const vr = bi - di;
        const vi = dr - br;
        const n = (o ^ 1) & 0x3fffffff;
        to[o] = acr + bdr;
        to[n] = aci + bdi;
        to[o + way2] = acr - bdr;
        to[n + way2] = aci - bdi;
        to[o + way1] = ur + vr;
        to[n + way1] = ui + vi;
        to[o + way3] = ur - vr;
        to[n + way3] = ui - vi;
      }
    }
  }

  /** The same for groups of 1, scaled and rounded. */
  function lastFourScaled({ span, twiddles }: Pass, columns: number, to: Float32Array, place: Place, part: number, scale: number): void {
    const re = real;
    const im = imaginary;
    const { start, rowPitch, columnPitch } = place;
    const step = (2 * columnPitch) & 0x3fffffff;
    const leg1 = (span * columns) & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const leg3 = (3 * leg1) & 0x3fffffff;
    const way1 = (2 * span * rowPitch) & 0x3fffffff;
    const way2 = (2 * way1) & 0x3fffffff;
    const way3 = (3 * way1) & 0x3fffffff;
    const next = (2 * rowPitch) & 0x3fffffff;
    let target = (2 * start + part) & 0x3fffffff;
    for (let row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 6) & 0x3fffffff, target = (target + next) & 0x3fffffff) {
      const w1r = scale * twiddles[t]!;
      const w1i = scale * twiddles[t + 1]!;
      const w2r = scale * twiddles[t + 2]!;
      const w2i = scale * twiddles[t + 3]!;
      const w3r = scale * twiddles[t + 4]!;
      const w3i = scale * twiddles[t + 5]!;
      const end = row + columns;
      for (let i = row, o = target; i < end; i = (i + 1) & 0x3fffffff, o = (o + step) & 0x3fffffff) {
        const ar = scale * re[i]!;
        const ai = scale * im[i]!;
        const i1 = i + leg1;
        const bR = re[i1]!;
        const bI = im[i1]!;
        const br = bR * w1r - bI * w1i;
        const bi = bR * w1i + bI * w1r;
        const i2 = i + leg2;
        const cR = re[i2]!;
        const cI = im[i2]!;
        const cr = cR * w2r - cI * w2i;
        const ci = cR * w2i + cI * w2r;
        const i3 = i + leg3;
        const dR = re[i3]!;
        const dI = im[i3]!;
        const dr = dR * w3r - dI * w3i;
        const di = dR * w3i + dI * w3r;
        const acr = ar + cr;
        const aci = ai + ci;
        const bdr = br + dr;
        const bdi = bi + di;
        const ur = ar - cr;
        const ui = ai - ci;
        const vr = bi - di;
        const vi = dr - br;
        const n = (o ^ 1) & 0x3fffffff;
        to[o] = acr + bdr;
        to[n] = aci + bdi;
        to[o + way2] = acr - bdr;
        to[n + way2] = aci - bdi;
        to[o + way1] = ur + vr;
        to[n + way1] = ui + vi;
        to[o + way3] = ur - vr;
        to[n + way3] = ui - vi;
      }
    }
  }

  /**
   * The same of one column, two butterflies at once: those of p and of its mirror image span − p share their twiddles, as
   * w_{span−p,j} = (−i)^j conj(w_pj). For p = 0 the image is wrong, and overwritten.
   */
  function lastFourMirrored({ span, twiddles }: Pass, to: Float32Array, part: number, scale: number): void {
    const re = real;
    const im = imaginary;
    const first = part & 1;
    const leg1 = span & 0x3fffffff;
    const leg2 = (2 * leg1) & 0x3fffffff;
    const leg3 = (3 * leg1) & 0x3fffffff;
    const way1 = (2 * leg1) & 0x3fffffff;
    const way2 = (4 * leg1) & 0x3fffffff;
    const way3 = (6 * leg1) & 0x3fffffff;
    const end = span / 2;
    for (let p = 0, t = 0, i = 0; p <= end; p = (p + 1) & 0x3fffffff, t = (t + 6) & 0x3fffffff, i = (leg1 - p) & 0x3fffffff) {
      const w1r = scale * twiddles[t]!;
      const w1i = scale * twiddles[t + 1]!;
      const w2r = scale * twiddles[t + 2]!;
      const w2i = scale * twiddles[t + 3]!;
      const w3r = scale * twiddles[t + 4]!;
      const w3i = scale * twiddles[t + 5]!;
      const er = scale * re[i]!;
      const ei = scale * im[i]!;
      const i1 = i + leg1;
      const fR = re[i1]!;
      const fI = im[i1]!;
      const fr = fR * w1r + fI * w1i;
      const fi = fI * w1r - fR * w1i;
      const i2 = i + leg2;
      const gR = re[i2]!;
      const gI = im[i2]!;
      const gr = gR * w2r + gI * w2i;
      const gi = gI * w2r - gR * w2i;
      const i3 = i + leg3;
      const hR = re[i3]!;
      const hI = im[i3]!;
      const hr = hR * w3r + hI * w3i;
      const hi = hI * w3r - hR * w3i;
      const egr = er + gr;
      const egi = ei + gi;
      const fhr = fr + hr;
      const fhi = fi + hi;
      const xr = er - gr;
      const xi = ei - gi;
      const yr = fi - hi;
      const yi = hr - fr;
      const m = (2 * i + first) & 0x3fffffff;
      const l = (m ^ 1) & 0x3fffffff;
      to[m] = xr + yr;
      to[l] = xi + yi;
      to[m + way2] = xr - yr;
      to[l + way2] = xi - yi;
      to[m + way1] = egr - fhr;
      to[l + way1] = egi - fhi;
      to[m + way3] = egr + fhr;
      to[l + way3] = egi + fhi;
      const ar = scale * re[p]!;
      const ai = scale * im[p]!;
      const p1 = p + leg1;
      const bR = re[p1]!;
      const bI = im[p1]!;
      const br = bR * w1r - bI * w1i;
      const bi = bR * w1i + bI * w1r;
      const p2 = p + leg2;
      const cR = re[p2]!;
      const cI = im[p2]!;
      const cr = cR * w2r - cI * w2i;
      const ci = cR * w2i + cI * w2r;
      const p3 = p + leg3;
      const dR = re[p3]!;
      const dI = im[p3]!;
      const dr = dR * w3r - dI * w3i;
      const di = dR * w3i + dI * w3r;
      const acr = ar + cr;
      const aci = ai + ci;
      const bdr = br + dr;
      const bdi = bi + di;
      const ur = ar - cr;
      const ui = ai - ci;
      const vr = bi - di;
      const vi = dr - br;
      const o = (2 * p + first) & 0x3fffffff;
      const n = (o ^ 1) & 0x3fffffff;
      to[o] = acr + bdr;
      to[n] = aci + bdi;
      to[o + way2] = acr - bdr;
      to[n + way2] = aci - bdi;
      to[o + way1] = ur + vr;
      to[n + way1] = ui + vi;
      to[o + way3] = ur - vr;
      to[n + way3] = ui - vi;
    }
  }

  return { runPass, load, loadTurned, store, firstFour, firstFourTurned, lastFour, lastFourScaled, lastFourMirrored };
}
