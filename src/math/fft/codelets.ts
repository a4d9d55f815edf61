// Written by scripts/generate-fft-codelets.mjs, which says how. Change it there.
/* oxlint-disable prefer-const */
import type { Order, Pass, Place } from "./tile.ts";
// oxfmt-ignore
/** Codelets over the tile that lies in `real` and `imaginary`, to be called once: V8 then compiles their addresses and lengths into the code. */
export function createCodelets(real: Float64Array, imaginary: Float64Array) {
  /** Radix 2. */
  function two(pass: Pass, blocks: number, columns: number): void {
    let row: number, stride: number, total: number, i1: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, twiddles: Float64Array, span: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    leg1 = (span * columns) & 0x3fffffff;
    total = 2 * leg1 * blocks;
    reach = columns === 1 ? total : columns;
    stride = columns === 1 ? total : 2 * leg1;
    step = (columns === 1 ? 2 * leg1 : 1) & 0x3fffffff;
    for (row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 2) & 0x3fffffff) {
      w1r = twiddles[t]!;
      w1i = twiddles[t + 1]!;
      for (start = row; start < total; start = (start + stride) & 0x3fffffff) {
        end = start + reach;
        for (i = start; i < end; i = (i + step) & 0x3fffffff) {
          x0r = re[i]!;
          x0i = im[i]!;
          i1 = i + leg1;
          R = re[i1]!;
          I = im[i1]!;
          x1r = R * w1r - I * w1i;
          x1i = R * w1i + I * w1r;
          re[i] = x0r + x1r;
          im[i] = x0i + x1i;
          re[i1] = x0r - x1r;
          im[i1] = x0i - x1i;
        }
      }
    }
  }
  /** Radix 3. */
  function three(pass: Pass, blocks: number, columns: number): void {
    let s1: number, c1: number, row: number, stride: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, span: number, twiddles: Float64Array, i1: number, w2r: number, w2i: number, total: number, i2: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    leg1 = (span * columns) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    total = 3 * leg1 * blocks;
    reach = columns === 1 ? total : columns;
    stride = columns === 1 ? total : 3 * leg1;
    step = (columns === 1 ? 3 * leg1 : 1) & 0x3fffffff;
    c1 = -0.5;
    s1 = 0.8660254037844386;
    for (row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 4) & 0x3fffffff) {
      w1r = twiddles[t]!;
      w1i = twiddles[t + 1]!;
      w2r = twiddles[t + 2]!;
      w2i = twiddles[t + 3]!;
      for (start = row; start < total; start = (start + stride) & 0x3fffffff) {
        end = start + reach;
        for (i = start; i < end; i = (i + step) & 0x3fffffff) {
          x0r = re[i]!;
          x0i = im[i]!;
          i1 = i + leg1;
          R = re[i1]!;
          I = im[i1]!;
          x1r = R * w1r - I * w1i;
          x1i = R * w1i + I * w1r;
          i2 = i + leg2;
          R = re[i2]!;
          I = im[i2]!;
          x2r = R * w2r - I * w2i;
          x2i = R * w2i + I * w2r;
          p1r = x1r + x2r;
          d1r = x1r - x2r;
          p1i = x1i + x2i;
          d1i = x1i - x2i;
          re[i] = x0r + p1r;
          im[i] = x0i + p1i;
          er = x0r + c1 * p1r;
          ei = x0i + c1 * p1i;
          fr = s1 * d1r ;
          fi = s1 * d1i ;
          re[i1] = er + fi;
          im[i1] = ei - fr;
          re[i2] = er - fi;
          im[i2] = ei + fr;
        }
      }
    }
  }
  /** Radix 4. */
  function four(pass: Pass, blocks: number, columns: number): void {
    let row: number, stride: number, total: number, i3: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, span: number, twiddles: Float64Array, i1: number, w2r: number, w2i: number, leg3: number, x3r: number, x3i: number, i2: number, w3r: number, w3i: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    leg1 = (span * columns) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    total = 4 * leg1 * blocks;
    reach = columns === 1 ? total : columns;
    stride = columns === 1 ? total : 4 * leg1;
    step = (columns === 1 ? 4 * leg1 : 1) & 0x3fffffff;
    for (row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 6) & 0x3fffffff) {
      w1r = twiddles[t]!;
      w1i = twiddles[t + 1]!;
      w2r = twiddles[t + 2]!;
      w2i = twiddles[t + 3]!;
      w3r = twiddles[t + 4]!;
      w3i = twiddles[t + 5]!;
      for (start = row; start < total; start = (start + stride) & 0x3fffffff) {
        end = start + reach;
        for (i = start; i < end; i = (i + step) & 0x3fffffff) {
          x0r = re[i]!;
          x0i = im[i]!;
          i1 = i + leg1;
          R = re[i1]!;
          I = im[i1]!;
          x1r = R * w1r - I * w1i;
          x1i = R * w1i + I * w1r;
          i2 = i + leg2;
          R = re[i2]!;
          I = im[i2]!;
          x2r = R * w2r - I * w2i;
          x2i = R * w2i + I * w2r;
          i3 = i + leg3;
          R = re[i3]!;
          I = im[i3]!;
          x3r = R * w3r - I * w3i;
          x3i = R * w3i + I * w3r;
          p1r = x0r + x2r;
          d1r = x0r - x2r;
          p1i = x0i + x2i;
          d1i = x0i - x2i;
          er = x1r + x3r;
          fr = x1r - x3r;
          ei = x1i + x3i;
          fi = x1i - x3i;
          re[i] = p1r + er;
          im[i] = p1i + ei;
          re[i2] = p1r - er;
          im[i2] = p1i - ei;
          re[i1] = d1r + fi;
          im[i1] = d1i - fr;
          re[i3] = d1r - fi;
          im[i3] = d1i + fr;
        }
      }
    }
  }
  /** Radix 4 where the span is 4: twiddles of p = 0 and p = 2 are eighths of a turn, which take half of the arithmetic. */
  function fourOfSpanFour(pass: Pass, blocks: number, columns: number): void {
    let h: number, row: number, stride: number, total: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, span: number, twiddles: Float64Array, i1: number, w2r: number, w2i: number, leg3: number, x3r: number, x3i: number, i2: number, w3r: number, w3i: number, i3: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    leg1 = (span * columns) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    total = 4 * leg1 * blocks;
    reach = columns === 1 ? total : columns;
    stride = columns === 1 ? total : 4 * leg1;
    step = (columns === 1 ? 4 * leg1 : 1) & 0x3fffffff;
    h = Math.SQRT1_2;
    for (start = 0; start < total; start = (start + stride) & 0x3fffffff) {
      end = start + reach;
      for (i = start; i < end; i = (i + step) & 0x3fffffff) {
        x0r = re[i]!;
        x0i = im[i]!;
        i1 = i + leg1;
        x1r = re[i1]!;
        x1i = im[i1]!;
        i2 = i + leg2;
        x2r = re[i2]!;
        x2i = im[i2]!;
        i3 = i + leg3;
        x3r = re[i3]!;
        x3i = im[i3]!;
        p1r = x0r + x2r;
        d1r = x0r - x2r;
        p1i = x0i + x2i;
        d1i = x0i - x2i;
        er = x1r + x3r;
        fr = x1r - x3r;
        ei = x1i + x3i;
        fi = x1i - x3i;
        re[i] = p1r + er;
        im[i] = p1i + ei;
        re[i2] = p1r - er;
        im[i2] = p1i - ei;
        re[i1] = d1r + fi;
        im[i1] = d1i - fr;
        re[i3] = d1r - fi;
        im[i3] = d1i + fr;
      }
    }
    for (start = (2 * columns) & 0x3fffffff; start < total; start = (start + stride) & 0x3fffffff) {
      end = start + reach;
      for (i = start; i < end; i = (i + step) & 0x3fffffff) {
        x0r = re[i]!;
        x0i = im[i]!;
        i1 = i + leg1;
        R = re[i1]!;
        I = im[i1]!;
        x1r = h * (R + I);
        x1i = h * (I - R);
        i2 = i + leg2;
        R = re[i2]!;
        I = im[i2]!;
        x2r = I;
        x2i = -R;
        i3 = i + leg3;
        R = re[i3]!;
        I = im[i3]!;
        x3r = h * (I - R);
        x3i = -h * (R + I);
        p1r = x0r + x2r;
        d1r = x0r - x2r;
        p1i = x0i + x2i;
        d1i = x0i - x2i;
        er = x1r + x3r;
        fr = x1r - x3r;
        ei = x1i + x3i;
        fi = x1i - x3i;
        re[i] = p1r + er;
        im[i] = p1i + ei;
        re[i2] = p1r - er;
        im[i2] = p1i - ei;
        re[i1] = d1r + fi;
        im[i1] = d1i - fr;
        re[i3] = d1r - fi;
        im[i3] = d1i + fr;
      }
    }
    for (row = columns, t = 6; row < leg1; row = (row + 2 * columns) & 0x3fffffff, t = (t + 12) & 0x3fffffff) {
      w1r = twiddles[t]!;
      w1i = twiddles[t + 1]!;
      w2r = twiddles[t + 2]!;
      w2i = twiddles[t + 3]!;
      w3r = twiddles[t + 4]!;
      w3i = twiddles[t + 5]!;
      for (start = row; start < total; start = (start + stride) & 0x3fffffff) {
        end = start + reach;
        for (i = start; i < end; i = (i + step) & 0x3fffffff) {
          x0r = re[i]!;
          x0i = im[i]!;
          i1 = i + leg1;
          R = re[i1]!;
          I = im[i1]!;
          x1r = R * w1r - I * w1i;
          x1i = R * w1i + I * w1r;
          i2 = i + leg2;
          R = re[i2]!;
          I = im[i2]!;
          x2r = R * w2r - I * w2i;
          x2i = R * w2i + I * w2r;
          i3 = i + leg3;
          R = re[i3]!;
          I = im[i3]!;
          x3r = R * w3r - I * w3i;
          x3i = R * w3i + I * w3r;
          p1r = x0r + x2r;
          d1r = x0r - x2r;
          p1i = x0i + x2i;
          d1i = x0i - x2i;
          er = x1r + x3r;
          fr = x1r - x3r;
          ei = x1i + x3i;
          fi = x1i - x3i;
          re[i] = p1r + er;
          im[i] = p1i + ei;
          re[i2] = p1r - er;
          im[i2] = p1i - ei;
          re[i1] = d1r + fi;
          im[i1] = d1i - fr;
          re[i3] = d1r - fi;
          im[i3] = d1i + fr;
        }
      }
    }
  }
  /** Radix 5. */
  function five(pass: Pass, blocks: number, columns: number): void {
    let d2i: number, p2i: number, d2r: number, p2r: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, span: number, twiddles: Float64Array, i1: number, w2r: number, w2i: number, leg3: number, x3r: number, x3i: number, i2: number, w3r: number, w3i: number, x4i: number, x4r: number, i4: number, w4i: number, i3: number, w4r: number, s2: number, total: number, stride: number, row: number, c2: number, leg4: number, s1: number, c1: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    leg1 = (span * columns) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    leg4 = (4 * leg1) & 0x3fffffff;
    total = 5 * leg1 * blocks;
    reach = columns === 1 ? total : columns;
    stride = columns === 1 ? total : 5 * leg1;
    step = (columns === 1 ? 5 * leg1 : 1) & 0x3fffffff;
    c1 = 0.30901699437494745;
    s1 = 0.9510565162951535;
    c2 = -0.8090169943749475;
    s2 = 0.5877852522924731;
    for (row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 8) & 0x3fffffff) {
      w1r = twiddles[t]!;
      w1i = twiddles[t + 1]!;
      w2r = twiddles[t + 2]!;
      w2i = twiddles[t + 3]!;
      w3r = twiddles[t + 4]!;
      w3i = twiddles[t + 5]!;
      w4r = twiddles[t + 6]!;
      w4i = twiddles[t + 7]!;
      for (start = row; start < total; start = (start + stride) & 0x3fffffff) {
        end = start + reach;
        for (i = start; i < end; i = (i + step) & 0x3fffffff) {
          x0r = re[i]!;
          x0i = im[i]!;
          i1 = i + leg1;
          R = re[i1]!;
          I = im[i1]!;
          x1r = R * w1r - I * w1i;
          x1i = R * w1i + I * w1r;
          i2 = i + leg2;
          R = re[i2]!;
          I = im[i2]!;
          x2r = R * w2r - I * w2i;
          x2i = R * w2i + I * w2r;
          i3 = i + leg3;
          R = re[i3]!;
          I = im[i3]!;
          x3r = R * w3r - I * w3i;
          x3i = R * w3i + I * w3r;
          i4 = i + leg4;
          R = re[i4]!;
          I = im[i4]!;
          x4r = R * w4r - I * w4i;
          x4i = R * w4i + I * w4r;
          p1r = x1r + x4r;
          d1r = x1r - x4r;
          p1i = x1i + x4i;
          d1i = x1i - x4i;
          p2r = x2r + x3r;
          d2r = x2r - x3r;
          p2i = x2i + x3i;
          d2i = x2i - x3i;
          re[i] = x0r + p1r + p2r;
          im[i] = x0i + p1i + p2i;
          er = x0r + c1 * p1r + c2 * p2r;
          ei = x0i + c1 * p1i + c2 * p2i;
          fr = s1 * d1r + s2 * d2r;
          fi = s1 * d1i + s2 * d2i;
          re[i1] = er + fi;
          im[i1] = ei - fr;
          re[i4] = er - fi;
          im[i4] = ei + fr;
          er = x0r + c2 * p1r + c1 * p2r;
          ei = x0i + c2 * p1i + c1 * p2i;
          fr = s2 * d1r - s1 * d2r;
          fi = s2 * d1i - s1 * d2i;
          re[i2] = er + fi;
          im[i2] = ei - fr;
          re[i3] = er - fi;
          im[i3] = ei + fr;
        }
      }
    }
  }
  /** Radix 7. */
  function seven(pass: Pass, blocks: number, columns: number): void {
    let d3i: number, p3i: number, d3r: number, p3r: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, span: number, twiddles: Float64Array, i1: number, w2r: number, w2i: number, leg3: number, x3r: number, x3i: number, i2: number, w3r: number, w3i: number, x6i: number, x6r: number, i6: number, x5i: number, i3: number, x5r: number, i5: number, total: number, stride: number, row: number, w6i: number, w6r: number, w5i: number, w5r: number, s3: number, c3: number, leg6: number, leg5: number, d2i: number, p2i: number, d2r: number, p2r: number, c1: number, s1: number, x4i: number, x4r: number, leg4: number, c2: number, s2: number, w4r: number, w4i: number, i4: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    leg1 = (span * columns) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    leg4 = (4 * leg1) & 0x3fffffff;
    leg5 = (5 * leg1) & 0x3fffffff;
    leg6 = (6 * leg1) & 0x3fffffff;
    total = 7 * leg1 * blocks;
    reach = columns === 1 ? total : columns;
    stride = columns === 1 ? total : 7 * leg1;
    step = (columns === 1 ? 7 * leg1 : 1) & 0x3fffffff;
    c1 = 0.6234898018587335;
    s1 = 0.7818314824680298;
    c2 = -0.2225209339563144;
    s2 = 0.9749279121818236;
    c3 = -0.9009688679024191;
    s3 = 0.4338837391175581;
    for (row = 0, t = 0; row < leg1; row = (row + columns) & 0x3fffffff, t = (t + 12) & 0x3fffffff) {
      w1r = twiddles[t]!;
      w1i = twiddles[t + 1]!;
      w2r = twiddles[t + 2]!;
      w2i = twiddles[t + 3]!;
      w3r = twiddles[t + 4]!;
      w3i = twiddles[t + 5]!;
      w4r = twiddles[t + 6]!;
      w4i = twiddles[t + 7]!;
      w5r = twiddles[t + 8]!;
      w5i = twiddles[t + 9]!;
      w6r = twiddles[t + 10]!;
      w6i = twiddles[t + 11]!;
      for (start = row; start < total; start = (start + stride) & 0x3fffffff) {
        end = start + reach;
        for (i = start; i < end; i = (i + step) & 0x3fffffff) {
          x0r = re[i]!;
          x0i = im[i]!;
          i1 = i + leg1;
          R = re[i1]!;
          I = im[i1]!;
          x1r = R * w1r - I * w1i;
          x1i = R * w1i + I * w1r;
          i2 = i + leg2;
          R = re[i2]!;
          I = im[i2]!;
          x2r = R * w2r - I * w2i;
          x2i = R * w2i + I * w2r;
          i3 = i + leg3;
          R = re[i3]!;
          I = im[i3]!;
          x3r = R * w3r - I * w3i;
          x3i = R * w3i + I * w3r;
          i4 = i + leg4;
          R = re[i4]!;
          I = im[i4]!;
          x4r = R * w4r - I * w4i;
          x4i = R * w4i + I * w4r;
          i5 = i + leg5;
          R = re[i5]!;
          I = im[i5]!;
          x5r = R * w5r - I * w5i;
          x5i = R * w5i + I * w5r;
          i6 = i + leg6;
          R = re[i6]!;
          I = im[i6]!;
          x6r = R * w6r - I * w6i;
          x6i = R * w6i + I * w6r;
          p1r = x1r + x6r;
          d1r = x1r - x6r;
          p1i = x1i + x6i;
          d1i = x1i - x6i;
          p2r = x2r + x5r;
          d2r = x2r - x5r;
          p2i = x2i + x5i;
          d2i = x2i - x5i;
          p3r = x3r + x4r;
          d3r = x3r - x4r;
          p3i = x3i + x4i;
          d3i = x3i - x4i;
          re[i] = x0r + p1r + p2r + p3r;
          im[i] = x0i + p1i + p2i + p3i;
          er = x0r + c1 * p1r + c2 * p2r + c3 * p3r;
          ei = x0i + c1 * p1i + c2 * p2i + c3 * p3i;
          fr = s1 * d1r + s2 * d2r + s3 * d3r;
          fi = s1 * d1i + s2 * d2i + s3 * d3i;
          re[i1] = er + fi;
          im[i1] = ei - fr;
          re[i6] = er - fi;
          im[i6] = ei + fr;
          er = x0r + c2 * p1r + c3 * p2r + c1 * p3r;
          ei = x0i + c2 * p1i + c3 * p2i + c1 * p3i;
          fr = s2 * d1r - s3 * d2r - s1 * d3r;
          fi = s2 * d1i - s3 * d2i - s1 * d3i;
          re[i2] = er + fi;
          im[i2] = ei - fr;
          re[i5] = er - fi;
          im[i5] = ei + fr;
          er = x0r + c3 * p1r + c1 * p2r + c2 * p3r;
          ei = x0i + c3 * p1i + c1 * p2i + c2 * p3i;
          fr = s3 * d1r - s1 * d2r + s2 * d3r;
          fi = s3 * d1i - s1 * d2i + s2 * d3i;
          re[i3] = er + fi;
          im[i3] = ei - fr;
          re[i4] = er - fi;
          im[i4] = ei + fr;
        }
      }
    }
  }
  /** Loads the tile, `pitch` numbers from one row to the next. */
  function load(from: Float64Array, begin: number, pitch: number, order: Order, columns: number, part: number): void {
    let target: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, j: number, near: number, way: number, slots: Int32Array, sources: Int32Array, spread: number, fan: number, rows: number, count: number, group: number, n: number, o: number, d: number, m: number;
    re = real;
    im = imaginary;
    rows = order.rows;
    fan = order.fan;
    spread = order.spread;
    group = order.group;
    sources = order.sources;
    slots = order.slots;
    step = (2 * pitch) & 0x3fffffff;
    reach = (2 * fan * columns) & 0x3fffffff;
    way = (fan === 1 ? 1 : rows / fan) & 0x3fffffff;
    near = (rows / (fan * spread)) & 0x3fffffff;
    count = sources.length;
    for (j = 0; j < group; j += 1) {
      start = (2 * (begin + (rows / group) * j * pitch) + part) & 0x3fffffff;
      for (m = 0; m < count; m++) {
        i = (start + Math.imul(step, sources[m]!)) & 0x3fffffff;
        for (d = 0, target = (Math.imul(columns, slots[m]! + j)) & 0x3fffffff; d < spread; d++, target = (target + near) & 0x3fffffff) {
          end = i + reach;
          for (o = target; i < end; i = (i + 2) & 0x3fffffff, o = (o + way) & 0x3fffffff) {
            n = (i ^ 1) & 0x3fffffff;
            x0r = from[i]!;
            x0i = from[n]!;
            re[o] = x0r;
            im[o] = x0i;
          }
        }
      }
    }
  }
  /** The same, each number times the next one of `turns` from `at` on. */
  function loadTurned(from: Float64Array, begin: number, pitch: number, order: Order, columns: number, turns: Float64Array, at: number): void {
    let re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, w0i: number, t: number, R: number, I: number, w0r: number, target: number, j: number, near: number, way: number, slots: Int32Array, sources: Int32Array, spread: number, fan: number, rows: number, count: number, group: number, n: number, o: number, d: number, m: number;
    re = real;
    im = imaginary;
    rows = order.rows;
    fan = order.fan;
    spread = order.spread;
    group = order.group;
    sources = order.sources;
    slots = order.slots;
    step = (2 * pitch) & 0x3fffffff;
    reach = (2 * fan * columns) & 0x3fffffff;
    way = (fan === 1 ? 1 : rows / fan) & 0x3fffffff;
    near = (rows / (fan * spread)) & 0x3fffffff;
    count = sources.length;
    t = (2 * at) & 0x3fffffff;
    for (j = 0; j < group; j += 1) {
      start = (2 * (begin + (rows / group) * j * pitch)) & 0x3fffffff;
      for (m = 0; m < count; m++) {
        i = (start + Math.imul(step, sources[m]!)) & 0x3fffffff;
        for (d = 0, target = (Math.imul(columns, slots[m]! + j)) & 0x3fffffff; d < spread; d++, target = (target + near) & 0x3fffffff) {
          end = i + reach;
          for (o = target; i < end; i = (i + 2) & 0x3fffffff, o = (o + way) & 0x3fffffff, t = (t + 2) & 0x3fffffff) {
            w0r = turns[t]!;
            w0i = turns[t + 1]!;
            n = i + 1;
            R = from[i]!;
            I = from[n]!;
            x0r = R * w0r - I * w0i;
            x0i = R * w0i + I * w0r;
            re[o] = x0r;
            im[o] = x0i;
          }
        }
      }
    }
  }
  /** Loads the tile and runs its first pass, of radix 4. */
  function firstFour(from: Float32Array, begin: number, pitch: number, order: Order, columns: number, part: number): void {
    let target: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, j: number, near: number, way: number, x1r: number, x1i: number, slots: Int32Array, sources: Int32Array, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, spread: number, fan: number, rows: number, way3: number, way2: number, leg3: number, x3r: number, x3i: number, way1: number, count: number, group: number, m: number, d: number, o: number, n: number;
    re = real;
    im = imaginary;
    rows = order.rows;
    fan = order.fan;
    spread = order.spread;
    group = order.group;
    sources = order.sources;
    slots = order.slots;
    leg1 = (((2 * rows) / 4) * pitch) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    way1 = (columns) & 0x3fffffff;
    way2 = (2 * way1) & 0x3fffffff;
    way3 = (3 * way1) & 0x3fffffff;
    step = (2 * pitch) & 0x3fffffff;
    reach = (2 * fan * columns) & 0x3fffffff;
    way = (fan === 1 ? 1 : rows / fan) & 0x3fffffff;
    near = (rows / (fan * spread)) & 0x3fffffff;
    count = sources.length;
    for (j = 0; j < group; j += 4) {
      start = (2 * (begin + (rows / group) * j * pitch) + part) & 0x3fffffff;
      for (m = 0; m < count; m++) {
        i = (start + Math.imul(step, sources[m]!)) & 0x3fffffff;
        for (d = 0, target = (Math.imul(columns, slots[m]! + j)) & 0x3fffffff; d < spread; d++, target = (target + near) & 0x3fffffff) {
          end = i + reach;
          for (o = target; i < end; i = (i + 2) & 0x3fffffff, o = (o + way) & 0x3fffffff) {
            n = (i ^ 1) & 0x3fffffff;
            x0r = from[i]!;
            x0i = from[n]!;
            x1r = from[i + leg1]!;
            x1i = from[n + leg1]!;
            x2r = from[i + leg2]!;
            x2i = from[n + leg2]!;
            x3r = from[i + leg3]!;
            x3i = from[n + leg3]!;
            p1r = x0r + x2r;
            d1r = x0r - x2r;
            p1i = x0i + x2i;
            d1i = x0i - x2i;
            er = x1r + x3r;
            fr = x1r - x3r;
            ei = x1i + x3i;
            fi = x1i - x3i;
            re[o] = p1r + er;
            im[o] = p1i + ei;
            re[o + way2] = p1r - er;
            im[o + way2] = p1i - ei;
            re[o + way1] = d1r + fi;
            im[o + way1] = d1i - fr;
            re[o + way3] = d1r - fi;
            im[o + way3] = d1i + fr;
          }
        }
      }
    }
  }
  /** The same, each number times the next one of `turns` from `at` on; rows that share a butterfly follow each other there. */
  function firstFourTurned(from: Float64Array, begin: number, pitch: number, order: Order, columns: number, turns: Float64Array, at: number): void {
    let re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, w0i: number, w0r: number, target: number, w2r: number, w2i: number, leg3: number, x3r: number, x3i: number, j: number, w3r: number, w3i: number, m: number, d: number, o: number, n: number, near: number, group: number, count: number, way: number, slots: Int32Array, sources: Int32Array, way1: number, way2: number, way3: number, rows: number, fan: number, spread: number;
    re = real;
    im = imaginary;
    rows = order.rows;
    fan = order.fan;
    spread = order.spread;
    group = order.group;
    sources = order.sources;
    slots = order.slots;
    leg1 = (((2 * rows) / 4) * pitch) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    way1 = (columns) & 0x3fffffff;
    way2 = (2 * way1) & 0x3fffffff;
    way3 = (3 * way1) & 0x3fffffff;
    step = (2 * pitch) & 0x3fffffff;
    reach = (2 * fan * columns) & 0x3fffffff;
    way = (fan === 1 ? 1 : rows / fan) & 0x3fffffff;
    near = (rows / (fan * spread)) & 0x3fffffff;
    count = sources.length;
    t = (2 * at) & 0x3fffffff;
    for (j = 0; j < group; j += 4) {
      start = (2 * (begin + (rows / group) * j * pitch)) & 0x3fffffff;
      for (m = 0; m < count; m++) {
        i = (start + Math.imul(step, sources[m]!)) & 0x3fffffff;
        for (d = 0, target = (Math.imul(columns, slots[m]! + j)) & 0x3fffffff; d < spread; d++, target = (target + near) & 0x3fffffff) {
          end = i + reach;
          for (o = target; i < end; i = (i + 2) & 0x3fffffff, o = (o + way) & 0x3fffffff, t = (t + 8) & 0x3fffffff) {
            w0r = turns[t]!;
            w0i = turns[t + 1]!;
            w1r = turns[t + 2]!;
            w1i = turns[t + 3]!;
            w2r = turns[t + 4]!;
            w2i = turns[t + 5]!;
            w3r = turns[t + 6]!;
            w3i = turns[t + 7]!;
            n = i + 1;
            R = from[i]!;
            I = from[n]!;
            x0r = R * w0r - I * w0i;
            x0i = R * w0i + I * w0r;
            R = from[i + leg1]!;
            I = from[n + leg1]!;
            x1r = R * w1r - I * w1i;
            x1i = R * w1i + I * w1r;
            R = from[i + leg2]!;
            I = from[n + leg2]!;
            x2r = R * w2r - I * w2i;
            x2i = R * w2i + I * w2r;
            R = from[i + leg3]!;
            I = from[n + leg3]!;
            x3r = R * w3r - I * w3i;
            x3i = R * w3i + I * w3r;
            p1r = x0r + x2r;
            d1r = x0r - x2r;
            p1i = x0i + x2i;
            d1i = x0i - x2i;
            er = x1r + x3r;
            fr = x1r - x3r;
            ei = x1i + x3i;
            fi = x1i - x3i;
            re[o] = p1r + er;
            im[o] = p1i + ei;
            re[o + way2] = p1r - er;
            im[o + way2] = p1i - ei;
            re[o + way1] = d1r + fi;
            im[o + way1] = d1i - fr;
            re[o + way3] = d1r - fi;
            im[o + way3] = d1i + fr;
          }
        }
      }
    }
  }
  /** Stores the tile, `span` rows of it. */
  function store(span: number, columns: number, to: Float64Array, place: Place, part: number): void {
    let single: boolean, columnPitch: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, rowPitch: number, count: number, group: number, n: number, o: number, d: number, m: number;
    re = real;
    im = imaginary;
    start = place.start;
    group = place.group;
    rowPitch = place.rowPitch;
    columnPitch = place.columnPitch;
    single = columns === 1 && group === 1;
    count = single ? 1 : span;
    reach = single ? span : columns;
    step = (2 * (single ? rowPitch : columnPitch)) & 0x3fffffff;
    for (m = 0; m < count; m++) {
      i = (m * columns) & 0x3fffffff;
      d = m % group;
      end = i + reach;
      for (o = (2 * (start + (m - d) * rowPitch + d) + part) & 0x3fffffff; i < end; i = (i + 1) & 0x3fffffff, o = (o + step) & 0x3fffffff) {
        x0r = re[i]!;
        x0i = im[i]!;
        n = o ^ 1;
        to[o] = x0r;
        to[n] = x0i;
      }
    }
  }
  /** Runs the last pass, of radix 4, and stores the tile. */
  function lastFour(pass: Pass, columns: number, to: Float64Array, place: Place, part: number): void {
    let single: boolean, columnPitch: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, span: number, twiddles: Float64Array, i1: number, w2r: number, w2i: number, leg3: number, x3r: number, x3i: number, i2: number, w3r: number, w3i: number, m: number, d: number, o: number, n: number, i3: number, group: number, count: number, rowPitch: number, way3: number, way2: number, way1: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    start = place.start;
    group = place.group;
    rowPitch = place.rowPitch;
    columnPitch = place.columnPitch;
    single = columns === 1 && group === 1;
    count = single ? 1 : span;
    reach = single ? span : columns;
    step = (2 * (single ? rowPitch : columnPitch)) & 0x3fffffff;
    leg1 = (span * columns) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    way1 = (2 * span * rowPitch) & 0x3fffffff;
    way2 = (2 * way1) & 0x3fffffff;
    way3 = (3 * way1) & 0x3fffffff;
    for (m = 0; m < count; m++) {
      i = (m * columns) & 0x3fffffff;
      d = m % group;
      end = i + reach;
      t = (6 * m) & 0x3fffffff;
      w1r = twiddles[t]!;
      w1i = twiddles[t + 1]!;
      w2r = twiddles[t + 2]!;
      w2i = twiddles[t + 3]!;
      w3r = twiddles[t + 4]!;
      w3i = twiddles[t + 5]!;
      for (o = (2 * (start + (m - d) * rowPitch + d) + part) & 0x3fffffff; i < end; i = (i + 1) & 0x3fffffff, o = (o + step) & 0x3fffffff) {
        if (single) {
          w1r = twiddles[t]!;
          w1i = twiddles[t + 1]!;
          w2r = twiddles[t + 2]!;
          w2i = twiddles[t + 3]!;
          w3r = twiddles[t + 4]!;
          w3i = twiddles[t + 5]!;
          t = (t + 6) & 0x3fffffff;
        }
        x0r = re[i]!;
        x0i = im[i]!;
        i1 = i + leg1;
        R = re[i1]!;
        I = im[i1]!;
        x1r = R * w1r - I * w1i;
        x1i = R * w1i + I * w1r;
        i2 = i + leg2;
        R = re[i2]!;
        I = im[i2]!;
        x2r = R * w2r - I * w2i;
        x2i = R * w2i + I * w2r;
        i3 = i + leg3;
        R = re[i3]!;
        I = im[i3]!;
        x3r = R * w3r - I * w3i;
        x3i = R * w3i + I * w3r;
        n = (o ^ 1) & 0x3fffffff;
        p1r = x0r + x2r;
        d1r = x0r - x2r;
        p1i = x0i + x2i;
        d1i = x0i - x2i;
        er = x1r + x3r;
        fr = x1r - x3r;
        ei = x1i + x3i;
        fi = x1i - x3i;
        to[o] = p1r + er;
        to[n] = p1i + ei;
        to[o + way2] = p1r - er;
        to[n + way2] = p1i - ei;
        to[o + way1] = d1r + fi;
        to[n + way1] = d1i - fr;
        to[o + way3] = d1r - fi;
        to[n + way3] = d1i + fr;
      }
    }
  }
  /** The same of several columns, scaled and rounded. */
  function lastFourScaled(pass: Pass, columns: number, to: Float32Array, place: Place, part: number, scale: number): void {
    let columnPitch: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, reach: number, step: number, start: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, span: number, twiddles: Float64Array, i1: number, w2r: number, w2i: number, leg3: number, x3r: number, x3i: number, i2: number, w3r: number, w3i: number, m: number, d: number, o: number, n: number, i3: number, group: number, count: number, rowPitch: number, way3: number, way2: number, way1: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    start = place.start;
    group = place.group;
    rowPitch = place.rowPitch;
    columnPitch = place.columnPitch;
    count = span;
    reach = columns;
    step = (2 * (columnPitch)) & 0x3fffffff;
    leg1 = (span * columns) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    way1 = (2 * span * rowPitch) & 0x3fffffff;
    way2 = (2 * way1) & 0x3fffffff;
    way3 = (3 * way1) & 0x3fffffff;
    for (m = 0; m < count; m++) {
      i = (m * columns) & 0x3fffffff;
      d = m % group;
      end = i + reach;
      t = (6 * m) & 0x3fffffff;
      w1r = scale * twiddles[t]!;
      w1i = scale * twiddles[t + 1]!;
      w2r = scale * twiddles[t + 2]!;
      w2i = scale * twiddles[t + 3]!;
      w3r = scale * twiddles[t + 4]!;
      w3i = scale * twiddles[t + 5]!;
      for (o = (2 * (start + (m - d) * rowPitch + d) + part) & 0x3fffffff; i < end; i = (i + 1) & 0x3fffffff, o = (o + step) & 0x3fffffff) {
        x0r = scale * re[i]!;
        x0i = scale * im[i]!;
        i1 = i + leg1;
        R = re[i1]!;
        I = im[i1]!;
        x1r = R * w1r - I * w1i;
        x1i = R * w1i + I * w1r;
        i2 = i + leg2;
        R = re[i2]!;
        I = im[i2]!;
        x2r = R * w2r - I * w2i;
        x2i = R * w2i + I * w2r;
        i3 = i + leg3;
        R = re[i3]!;
        I = im[i3]!;
        x3r = R * w3r - I * w3i;
        x3i = R * w3i + I * w3r;
        n = (o ^ 1) & 0x3fffffff;
        p1r = x0r + x2r;
        d1r = x0r - x2r;
        p1i = x0i + x2i;
        d1i = x0i - x2i;
        er = x1r + x3r;
        fr = x1r - x3r;
        ei = x1i + x3i;
        fi = x1i - x3i;
        to[o] = p1r + er;
        to[n] = p1i + ei;
        to[o + way2] = p1r - er;
        to[n + way2] = p1i - ei;
        to[o + way1] = d1r + fi;
        to[n + way1] = d1i - fr;
        to[o + way3] = d1r - fi;
        to[n + way3] = d1i + fr;
      }
    }
  }
  /** The same of one column, both p and span − p at once, as w_{span−p,j} = (−i)^j conj(w_pj). For p = 0 the latter is wrong, and overwritten. */
  function lastFourMirrored(pass: Pass, to: Float32Array, part: number, scale: number): void {
    let way3: number, way2: number, way1: number, re: Float64Array, im: Float64Array, end: number, i: number, x0r: number, x0i: number, i3: number, n: number, o: number, leg1: number, t: number, R: number, I: number, x1r: number, x1i: number, w1r: number, w1i: number, leg2: number, x2r: number, x2i: number, p1r: number, d1r: number, p1i: number, d1i: number, er: number, ei: number, fr: number, fi: number, span: number, twiddles: Float64Array, i1: number, w2r: number, w2i: number, leg3: number, x3r: number, x3i: number, i2: number, w3r: number, w3i: number, m: number, d: number;
    re = real;
    im = imaginary;
    span = pass.span;
    twiddles = pass.twiddles;
    leg1 = (span) & 0x3fffffff;
    leg2 = (2 * leg1) & 0x3fffffff;
    leg3 = (3 * leg1) & 0x3fffffff;
    way1 = (2 * span) & 0x3fffffff;
    way2 = (2 * way1) & 0x3fffffff;
    way3 = (3 * way1) & 0x3fffffff;
    d = part & 1;
    end = span / 2;
    for (m = 0, t = 0, i = 0; m <= end; m = (m + 1) & 0x3fffffff, t = (t + 6) & 0x3fffffff, i = (leg1 - m) & 0x3fffffff) {
      w1r = scale * twiddles[t]!;
      w1i = scale * twiddles[t + 1]!;
      w2r = scale * twiddles[t + 2]!;
      w2i = scale * twiddles[t + 3]!;
      w3r = scale * twiddles[t + 4]!;
      w3i = scale * twiddles[t + 5]!;
      x0r = scale * re[i]!;
      x0i = scale * im[i]!;
      i1 = i + leg1;
      R = re[i1]!;
      I = im[i1]!;
      x1r = R * w1r + I * w1i;
      x1i = I * w1r - R * w1i;
      i2 = i + leg2;
      R = re[i2]!;
      I = im[i2]!;
      x2r = R * w2r + I * w2i;
      x2i = I * w2r - R * w2i;
      i3 = i + leg3;
      R = re[i3]!;
      I = im[i3]!;
      x3r = R * w3r + I * w3i;
      x3i = I * w3r - R * w3i;
      o = (2 * i + d) & 0x3fffffff;
      n = (o ^ 1) & 0x3fffffff;
      p1r = x0r + x2r;
      d1r = x0r - x2r;
      p1i = x0i + x2i;
      d1i = x0i - x2i;
      er = x1r + x3r;
      fr = x1r - x3r;
      ei = x1i + x3i;
      fi = x1i - x3i;
      to[o + way3] = p1r + er;
      to[n + way3] = p1i + ei;
      to[o + way1] = p1r - er;
      to[n + way1] = p1i - ei;
      to[o] = d1r + fi;
      to[n] = d1i - fr;
      to[o + way2] = d1r - fi;
      to[n + way2] = d1i + fr;
      i = m;
      x0r = scale * re[i]!;
      x0i = scale * im[i]!;
      i1 = i + leg1;
      R = re[i1]!;
      I = im[i1]!;
      x1r = R * w1r - I * w1i;
      x1i = R * w1i + I * w1r;
      i2 = i + leg2;
      R = re[i2]!;
      I = im[i2]!;
      x2r = R * w2r - I * w2i;
      x2i = R * w2i + I * w2r;
      i3 = i + leg3;
      R = re[i3]!;
      I = im[i3]!;
      x3r = R * w3r - I * w3i;
      x3i = R * w3i + I * w3r;
      o = (2 * i + d) & 0x3fffffff;
      n = (o ^ 1) & 0x3fffffff;
      p1r = x0r + x2r;
      d1r = x0r - x2r;
      p1i = x0i + x2i;
      d1i = x0i - x2i;
      er = x1r + x3r;
      fr = x1r - x3r;
      ei = x1i + x3i;
      fi = x1i - x3i;
      to[o] = p1r + er;
      to[n] = p1i + ei;
      to[o + way2] = p1r - er;
      to[n + way2] = p1i - ei;
      to[o + way1] = d1r + fi;
      to[n + way1] = d1i - fr;
      to[o + way3] = d1r - fi;
      to[n + way3] = d1i + fr;
    }
  }
  return { two, three, four, fourOfSpanFour, five, seven, load, loadTurned, firstFour, firstFourTurned, store, lastFour, lastFourScaled, lastFourMirrored };
}
