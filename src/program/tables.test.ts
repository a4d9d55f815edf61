import { describe, expect, test } from "vitest";
import { twiddleCount } from "../../shaders/fft/roots.ts";
import { DEFAULT_CHOICES } from "../core/choices.ts";
import { DESKTOP_LIMITS, limitsWith, smoothNumbers } from "../testing/planning.ts";
import { normals, random, relativeL2 } from "../testing/random.ts";
import { chirpLength, chooseSplit } from "../operations/fft/split.ts";
import { chooseRadices } from "../operations/fft/stockham.ts";
import { tableData } from "./table-data.ts";
import { partEntries, tableBytes, TableLayout, type TablePart } from "./tables.ts";

type Complex = readonly [re: number, im: number];

const SMALLEST_NORMAL = 2 ** -126;
/** Half a unit in the last place, relative. */
const ROUNDING = 2 ** -24;
/** Rounding in float64, far below everything that is measured. */
const NOISE = 2e-15;

function multiply(a: Complex, b: Complex): Complex {
  return [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]];
}

/** exp(−2πi·i/order), the angle reduced in integers. */
function root(i: number, order: number): Complex {
  const angle = (-2 * Math.PI * (i % order)) / order;
  return [Math.cos(angle), Math.sin(angle)];
}

/** z (−i)^quarters */
function quarterTurns(z: Complex, quarters: number): Complex {
  const turned: readonly Complex[] = [z, [z[1], -z[0]], [-z[0], -z[1]], [-z[1], z[0]]];
  return turned[quarters]!;
}

/** An entry as roots.ts describes it: quarter turns in the two lowest bits of the first float, and w − 1. */
function decode(data: Float32Array, entry: number): { readonly quarters: number; readonly rest: Complex; readonly value: Complex } {
  const quarters = new Uint32Array(data.buffer)[2 * entry]! & 3;
  const rest: Complex = [data[2 * entry]!, data[2 * entry + 1]!];
  return { quarters, rest, value: quarterTurns([1 + rest[0], rest[1]], quarters) };
}

/** How far w − 1 of an entry may be off: im is rounded, re rounded and then its two lowest bits replaced. */
function tolerance(rest: Complex): number {
  return 3.5 * 2 * ROUNDING * Math.abs(rest[0]) + ROUNDING * Math.abs(rest[1]) + NOISE;
}

/** What is wrong with an entry that should hold exp(−2πi·i/order). */
function entryComplaints(data: Float32Array, entry: number, i: number, order: number): string[] {
  const { quarters, rest } = decode(data, entry);
  // Undo the exact quarter turns: what is left is the rest of the angle.
  const exact = quarterTurns(root(i, order), (4 - quarters) % 4);
  const error = Math.hypot(rest[0] - (exact[0] - 1), rest[1] - exact[1]);
  const found: string[] = [];
  if (!(error <= tolerance(rest))) found.push(`off by ${error}, ${tolerance(rest)} allowed`);
  // An eighth of a turn is the most: |w − 1| ≤ 2 sin(π/8).
  if (Math.hypot(...rest) > 2 * Math.sin(Math.PI / 8) + 2 * ROUNDING) found.push("more than an eighth of a turn is left");
  return found.map((what) => `entry ${entry}, root ${i} of ${order}: ${what}`);
}

function denormals(data: Float32Array): number[] {
  return [...data].filter((value) => value !== 0 && !(Math.abs(value) >= SMALLEST_NORMAL));
}

describe("twiddles", () => {
  const LENGTHS = [...smoothNumbers(1, 8192), 11, 13, 121, 143, 1001, 2197, 2 * 11 * 13 * 16];

  test("are as many as the kernel expects", () => {
    for (const length of LENGTHS) {
      const radices = chooseRadices(length);
      const part: TablePart = { kind: "twiddles", radices };
      let [count, before] = [0, radices[0]!];
      for (const radix of radices.slice(1)) {
        count += (radix - 1) * before;
        before *= radix;
      }
      expect(twiddleCount(radices), radices.join("·")).toBe(count);
      expect(partEntries(part), radices.join("·")).toBe(count);
      // The sum telescopes: N minus the first radix.
      expect(count, radices.join("·")).toBe(length - radices[0]!);
      expect(tableData([part])).toHaveLength(2 * Math.max(1, count));
      expect(tableBytes([part])).toBe(8 * Math.max(1, count));
    }
  });

  test("stand where the kernel looks for them, within their rounding", () => {
    const found: string[] = [];
    for (const length of LENGTHS) {
      const radices = chooseRadices(length);
      const data = tableData([{ kind: "twiddles", radices }]);
      expect(denormals(data), `${length}`).toEqual([]);
      let [offset, before] = [0, radices[0]!];
      for (const radix of radices.slice(1)) {
        for (let r = 1; r < radix; r++) {
          for (let k = 0; k < before; k++) found.push(...entryComplaints(data, offset + (r - 1) * before + k, r * k, before * radix));
        }
        offset += (radix - 1) * before;
        before *= radix;
      }
    }
    expect(found.slice(0, 5)).toEqual([]);
  });
});

describe("twiddles of fused butterflies", () => {
  test("are the roots of every layer, R/2 instead of R − 1", () => {
    for (const radices of [
      [4, 2],
      [2, 4],
      [16, 8],
      [8, 16, 16],
    ] as const) {
      const data = tableData([{ kind: "twiddles", radices, fused: true }]);
      expect(data).toHaveLength(2 * twiddleCount(radices, true));
      for (const [stage, radix] of radices.entries()) {
        if (stage === 0) continue;
        const before = radices.slice(0, stage).reduce((product, r) => product * r, 1);
        let at = 2 * twiddleCount(radices, true, stage);
        for (let order = 2; order <= radix; order *= 2) {
          for (let j = 0; j < Math.max(1, order / 4); j++) {
            for (let k = 0; k < before; k++, at += 2) {
              const angle = (-2 * Math.PI * (k / before + j)) / order;
              expect(Math.hypot(data[at]! - Math.cos(angle), data[at + 1]! - Math.sin(angle))).toBeLessThan(2 ** -24);
            }
          }
        }
      }
    }
  });
});

describe("roots", () => {
  test.each([1, 2, 3, 4, 5, 8, 12, 16, 35, 343, 1000, 4096, 8192])("a full table of order %i", (order) => {
    const layout = new TableLayout(DESKTOP_LIMITS);
    layout.scale(0.5);
    const roots = layout.roots(order, order);
    expect(roots.kind).toBe("full");
    const data = tableData(layout.parts);
    if (roots.kind === "full") expect(Array.from({ length: order }, (_, i) => entryComplaints(data, roots.offset + i, i, order)).flat()).toEqual([]);
    expect(denormals(data)).toEqual([]);
  });

  test("eighths of a turn are exact in their quarter turns", () => {
    const data = tableData([{ kind: "roots", order: 8, count: 8 }]);
    for (let i = 0; i < 8; i += 2) {
      const { value } = decode(data, i);
      const expected = [
        [1, 0],
        [0, -1],
        [-1, 0],
        [0, 1],
      ][i / 2]!;
      expect(Math.abs(value[0] - expected[0]!) + Math.abs(value[1] - expected[1]!), `${i}/8`).toBeLessThan(1e-29);
    }
  });

  const round = Math.fround;
  /** complex_multiply of complex.ts in float32; its fma rounds once. */
  function multiplyRounded(a: Complex, b: Complex): Complex {
    return [round(a[0] * b[0] - round(a[1] * b[1])), round(a[0] * b[1] + round(a[1] * b[0]))];
  }
  const addRounded = (a: Complex, b: Complex): Complex => [round(a[0] + b[0]), round(a[1] + b[1])];

  test.each([8193, 10_000, 65_536, 100_000, 2 ** 17, 823_543, 2 ** 20, 2 * 1_000_000, 2 ** 21, 2 ** 24])("a split table of order %i", (order) => {
    const layout = new TableLayout({ ...DESKTOP_LIMITS, choices: { ...DEFAULT_CHOICES, roots: "split" } });
    const [twiddles] = layout.twiddles([[16, 16]]);
    const roots = layout.roots(order, order);
    const scale = layout.scale(1 / 3);
    if (roots.kind !== "split") throw new Error("expected a split table");
    expect(twiddles).toBe(0);
    const data = tableData(layout.parts);
    expect(tableBytes(layout.parts)).toBe(data.byteLength);
    expect(scale).toBe(data.length / 2 - 1);
    expect(denormals(data)).toEqual([]);
    expect(data.byteLength, "small enough for a cache").toBeLessThan(256 * 1024);

    const fine = 2 ** roots.fineBits;
    // Entries of the fine part are rounded to their own size, and they are small; the coarse ones come in two floats.
    const largestFine = (2 * Math.PI * fine) / order;
    const exactTolerance = 2 * ROUNDING * largestFine + 2 ** -44;
    const uniform = random(order);
    const indices = [0, 1, fine - 1, fine, fine + 1, order - 1, Math.floor(order / 2), Math.floor(order / 4), Math.floor((3 * order) / 4)];
    for (let i = 0; i < 5000; i++) indices.push(Math.floor(order * uniform()));
    let [worst, worstRounded] = [0, 0];
    for (const i of indices) {
      const c = Math.floor(i / fine);
      const { quarters, rest: h } = decode(data, roots.coarseOffset + 2 * c);
      const l: Complex = [data[2 * (roots.coarseOffset + 2 * c + 1)]!, data[2 * (roots.coarseOffset + 2 * c + 1) + 1]!];
      const f = roots.fineOffset + (i % fine);
      const g: Complex = [data[2 * f]!, data[2 * f + 1]!];
      const exact = quarterTurns(root(i, order), (4 - quarters) % 4);
      const hg = multiply(h, g);
      worst = Math.max(worst, Math.hypot(h[0] + l[0] + g[0] + hg[0] + 1 - exact[0], h[1] + l[1] + g[1] + hg[1] - exact[1]));
      const w = addRounded(h, addRounded(l, addRounded(g, multiplyRounded(h, g))));
      worstRounded = Math.max(worstRounded, Math.hypot(w[0] + 1 - exact[0], w[1] - exact[1]));
    }
    expect(worst, `seed ${order}`).toBeLessThan(exactTolerance);
    // As exact as a full table: the last addition rounds |w − 1| < 1 once.
    expect(worstRounded, `seed ${order}`).toBeLessThan(ROUNDING);
  });

  test("order 2^21, the largest of a product of 2^20 rows, is exact to 2^-26 and better", () => {
    const layout = new TableLayout({ ...DESKTOP_LIMITS, choices: { ...DEFAULT_CHOICES, roots: "split" } });
    const roots = layout.roots(2 ** 21, 2 ** 21);
    const data = tableData(layout.parts);
    if (roots.kind !== "split") throw new Error("expected a split table");
    const { coarseOffset, fineOffset, fineBits } = roots;
    const uniform = random(5);
    for (let trial = 0; trial < 20_000; trial++) {
      const i = Math.floor(2 ** 21 * uniform());
      const [c, f] = [coarseOffset + 2 * (i >>> fineBits), fineOffset + (i & (2 ** fineBits - 1))];
      const { quarters, rest } = decode(data, c);
      const coarse: Complex = [1 + rest[0] + data[2 * c + 2]!, rest[1] + data[2 * c + 3]!];
      const value = quarterTurns(multiply(coarse, [1 + data[2 * f]!, data[2 * f + 1]!]), quarters);
      const exact = root(i, 2 ** 21);
      expect(Math.hypot(value[0] - exact[0], value[1] - exact[1]), `seed 5, root ${i}`).toBeLessThan(2 ** -26);
    }
  });
});

describe("scale", () => {
  test("is a power of two times one and a small rest", () => {
    const uniform = random(6);
    const factors = [1, 0.5, 1 / 3, 1 / 7, 2 ** -20, 0.5 / 1048575, 1 / Math.sqrt(2), 1 / Math.sqrt(1000), Math.SQRT2];
    for (let i = 0; i < 1000; i++) factors.push(1 / Math.ceil(2 ** (22 * uniform())), 1 / Math.sqrt(Math.ceil(2 ** (22 * uniform()))));
    for (const factor of factors) {
      const [rest, power] = tableData([{ kind: "scale", factor }]) as unknown as [number, number];
      expect(Math.log2(power), `${factor}`).toBe(Math.round(Math.log2(power)));
      expect(Math.abs(rest), `${factor}`).toBeLessThan(0.5);
      expect(Math.abs((power * (1 + rest)) / factor - 1), `${factor}`).toBeLessThan((ROUNDING * Math.abs(rest)) / (1 + rest) + NOISE);
      expect(denormals(new Float32Array([rest, power]))).toEqual([]);
    }
  });
});

describe("layout", () => {
  test("places the parts one after the other", () => {
    const layout = new TableLayout(DESKTOP_LIMITS);
    const offsets = [layout.twiddles([[4, 4]]), layout.scale(0.25), layout.twiddles([[8, 2]]), layout.scale(0.125)];
    expect(offsets).toEqual([[0], 12, [13], 21]);
    const data = tableData(layout.parts);
    expect(data).toHaveLength(44);
    expect(Array.from(data.subarray(24, 26))).toEqual([0, 0.25]);
    expect(Array.from(data.subarray(42, 44))).toEqual([0, 0.125]);
    expect(data.subarray(26, 42)).toEqual(tableData([{ kind: "twiddles", radices: [8, 2] }]));
  });

  test("places equal parts once", () => {
    const layout = new TableLayout(DESKTOP_LIMITS);
    expect(
      layout.twiddles([
        [4, 4],
        [8, 2],
        [4, 4],
      ]),
    ).toEqual([0, 12, 0]);
    expect(layout.add({ kind: "chirp", points: 17 })).toBe(20);
    expect(layout.add({ kind: "chirpSpectrum", points: 17, rows: [5, 7] })).toBe(37);
    expect(layout.add({ kind: "chirp", points: 17 })).toBe(20);
    expect(layout.add({ kind: "chirpSpectrum", points: 17, rows: [7, 5] })).toBe(72);
    expect(layout.parts).toHaveLength(5);
    expect(tableBytes(layout.parts)).toBe(8 * (72 + 35));
  });

  test("has all roots, or splits them where there are many", () => {
    const kinds = (roots: "split" | "full") =>
      [8192, 8193, 2 ** 18, 2 ** 18 + 1].map(
        (count) => new TableLayout({ ...DESKTOP_LIMITS, choices: { ...DEFAULT_CHOICES, roots } }).roots(2 * count, count).kind,
      );
    expect(kinds("split")).toEqual(["full", "split", "split", "split"]);
    expect(kinds("full")).toEqual(["full", "full", "full", "split"]);
    // A quarter of a small binding.
    const small = new TableLayout(limitsWith({ maxStorageBufferBindingSize: 2 ** 18 }));
    expect([8192, 8193].map((count) => small.roots(2 * count, count).kind)).toEqual(["full", "split"]);
  });

  test("an empty table has one entry, because a binding cannot be empty", () => {
    expect(tableBytes([])).toBe(8);
    expect(tableData([])).toEqual(new Float32Array(2));
  });

  test("is plain data", () => {
    const layout = new TableLayout(DESKTOP_LIMITS);
    layout.twiddles([Object.freeze([16, 4] as const)]);
    layout.add({ kind: "chirp", points: 17 });
    layout.add({ kind: "chirpSpectrum", points: 17, rows: [1, 35] });
    layout.roots(2 ** 20, 2 ** 20);
    layout.roots(64, 64);
    layout.scale(1 / 3);
    expect(JSON.parse(JSON.stringify(layout.parts))).toStrictEqual(layout.parts);
  });
});

/** Z_k = Σ_n z_n exp(−2πi kn/N) by its definition. */
function dft(z: readonly Complex[]): Complex[] {
  const n = z.length;
  const flat = Float64Array.from(z.flat());
  const roots = rootsOf(n);
  return Array.from({ length: n }, (_, k): Complex => {
    let [re, im] = [0, 0];
    for (let i = 0, turn = 0; i < n; i++) {
      const [x, y, c, s] = [flat[2 * i]!, flat[2 * i + 1]!, roots[2 * turn]!, roots[2 * turn + 1]!];
      re += x * c - y * s;
      im += x * s + y * c;
      turn += k;
      if (turn >= n) turn -= n;
    }
    return [re, im];
  });
}

function rootsOf(order: number): Float64Array {
  return Float64Array.from(Array.from({ length: order }, (_, i) => root(i, order)).flat());
}

/** A schedule of one workgroup, from the header of stockham.ts: float64 arithmetic, twiddles from the float32 table. */
function stockham(x: readonly Complex[], ...axes: readonly (readonly number[])[]): Complex[] {
  const n = x.length;
  const layout = new TableLayout(DESKTOP_LIMITS);
  const offsets = layout.twiddles(axes);
  const data = tableData(layout.parts);
  let values = [...x];
  let before = 1; // N_s, over all axes
  for (const [axis, radices] of axes.entries()) {
    const skipped = before;
    let own = 1; // N_s of this axis
    let offset = offsets[axis]!;
    for (const radix of radices) {
      const next: Complex[] = Array.from({ length: n });
      for (let b = 0; b < n / radix; b++) {
        const k = b % before;
        const points = Array.from({ length: radix }, (_, r): Complex => {
          const point = values[b + (r * n) / radix]!;
          // The digits of the axes before take no part.
          return r === 0 || own === 1 ? point : multiply(point, decode(data, offset + (r - 1) * own + Math.floor(k / skipped)).value);
        });
        for (const [r, value] of dft(points).entries()) next[Math.floor(b / before) * before * radix + k + r * before] = value;
      }
      values = next;
      if (own > 1) offset += (radix - 1) * own;
      before *= radix;
      own *= radix;
    }
  }
  return values;
}

function complexNormals(seed: number, n: number): Complex[] {
  const flat = normals(seed, 2 * n);
  return Array.from({ length: n }, (_, i): Complex => [flat[2 * i]!, flat[2 * i + 1]!]);
}

describe("schedule and twiddles together are a DFT", () => {
  const LENGTHS = [...smoothNumbers(1, 360), 11, 13, 22, 143, 169, 512, 1000, 1001, 1024, 1331, 1470, 2048, 2197, 2401, 3125, 4096];

  test.each(LENGTHS)("length %i", (n) => {
    const x = complexNormals(n, n);
    const actual = stockham(x, chooseRadices(n));
    expect(relativeL2(actual.flat(), dft(x).flat()), `seed ${n}`).toBeLessThan(3 * ROUNDING);
  });

  test.each([4, 8] as const)("with radices to %i", (maxRadix) => {
    for (const n of [2, 16, 60, 128, 256, 352, 512]) {
      const x = complexNormals(n, n);
      expect(relativeL2(stockham(x, chooseRadices(n, maxRadix)).flat(), dft(x).flat()), `seed ${n}`).toBeLessThan(3 * ROUNDING);
    }
  });

  /** Σ over all axes by the definition; [k_0, k_1, …] row-major. */
  function dftOver(x: readonly Complex[], lengths: readonly number[]): Complex[] {
    const order = lengths.reduce((product, size) => product * size, 1);
    const digits = (index: number) => {
      let rest = index;
      return [...lengths].reverse().map((size) => {
        const digit = rest % size;
        rest = Math.floor(rest / size);
        return digit;
      });
    };
    const all = Array.from({ length: order }, (_, i) => digits(i));
    const sizes = [...lengths].reverse();
    const roots = Array.from({ length: order }, (_, i) => root(i, order));
    return all.map((k) => {
      let [re, im] = [0, 0];
      for (const [i, n] of all.entries()) {
        const turns = n.reduce((sum, digit, axis) => sum + ((digit * k[axis]!) % sizes[axis]!) * (order / sizes[axis]!), 0);
        const [c, s] = roots[turns % order]!;
        re += x[i]![0] * c - x[i]![1] * s;
        im += x[i]![0] * s + x[i]![1] * c;
      }
      return [re, im];
    });
  }

  test.each([
    [[4, 6]],
    [[16, 16]],
    [[17 - 1, 3]],
    [[32, 15]],
    [[11, 26]],
    [[64, 9]],
    [[2, 3, 4]],
    [[8, 7, 6]],
    [[16, 4, 9]],
    [[5, 1, 12]],
    [[35, 4, 2]],
  ])("over axes %j, which end in reversed order", (lengths) => {
    const n = lengths.reduce((product, size) => product * size, 1);
    const x = complexNormals(n, n);
    const axes = lengths.filter((size) => size > 1).map((size) => chooseRadices(size));
    const expected = dftOver(x, lengths);
    // k = k_0 + L_0·(k_1 + L_1·k_2)
    const actual = stockham(x, ...axes);
    const reordered = Array.from({ length: n }, (_, index) => {
      let rest = index;
      const k = [...lengths].reverse().map((size) => {
        const digit = rest % size;
        rest = Math.floor(rest / size);
        return digit;
      });
      let [at, stride] = [0, 1];
      for (const [axis, digit] of k.reverse().entries()) {
        at += digit * stride;
        stride *= lengths[axis]!;
      }
      return actual[at]!;
    });
    expect(relativeL2(reordered.flat(), expected.flat()), `seed ${n}`).toBeLessThan(3 * ROUNDING);
  });
});

describe("chirps", () => {
  /** n² mod 2N in integers of any size. */
  const square = (n: number, points: number) => Number((BigInt(n) * BigInt(n)) % BigInt(2 * points));

  test.each([1, 2, 3, 17, 64, 1009, 4099, 100_003])("of %i points: exp(−iπn²/N)", (points) => {
    const data = tableData([{ kind: "chirp", points }]);
    expect(data).toHaveLength(2 * points);
    const step = Math.ceil(points / 5000);
    const found: string[] = [];
    for (let n = 0; n < points; n += step) found.push(...entryComplaints(data, n, square(n, points), 2 * points));
    found.push(...entryComplaints(data, points - 1, square(points - 1, points), 2 * points));
    expect(found.slice(0, 5)).toEqual([]);
    expect(denormals(data)).toEqual([]);
  });

  test.each([
    [1, [1, 1]],
    [17, [1, 35]],
    [17, [7, 5]],
    [17, [5, 8]],
    [64, [1, 128]],
    [97, [14, 14]],
    [211, [1, 432]],
  ] as const)("spectrum of %i points in rows of %j: of exp(+iπn²/N)/M around zero", (points, rows) => {
    const [a, b] = rows;
    const period = a * b;
    const sequence: Complex[] = Array.from({ length: period }, () => [0, 0]);
    for (let n = 1 - points; n < points; n++) {
      const [re, im] = root(square(Math.abs(n), points), 2 * points);
      sequence[(n + period) % period] = [re / period, -im / period];
    }
    const expected = dft(sequence);
    const part: TablePart = { kind: "chirpSpectrum", points, rows };
    expect(partEntries(part)).toBe(period);
    const data = tableData([part]);
    const transposed = Array.from({ length: period }, (_, at) => expected[Math.floor(at / b) + a * (at % b)]!);
    expect(relativeL2(data, transposed.flat())).toBeLessThan(ROUNDING);
  });

  test("make a convolution of a transform of any length", () => {
    for (const points of [2, 17, 19, 34, 97, 101]) {
      const period = chirpLength(points, limitsWith());
      const layout = new TableLayout(DESKTOP_LIMITS);
      const chirp = layout.add({ kind: "chirp", points });
      const spectrum = layout.add({ kind: "chirpSpectrum", points, rows: [1, period] });
      const data = tableData(layout.parts);
      const x = complexNormals(points, points);
      const turned = (z: Complex, n: number) => multiply(z, decode(data, chirp + n).value);
      const padded = Array.from({ length: period }, (_, n): Complex => (n < points ? turned(x[n]!, n) : [0, 0]));
      const products = stockham(padded, chooseRadices(period)).map((z, k): Complex => {
        const [re, im] = multiply(z, [data[2 * (spectrum + k)]!, data[2 * (spectrum + k) + 1]!]);
        return [im, re]; // swapped, the transform back is a forward one
      });
      const back = stockham(products, chooseRadices(period));
      const actual = Array.from({ length: points }, (_, k) => turned([back[k]![1], back[k]![0]], k));
      expect(relativeL2(actual.flat(), dft(x).flat()), `seed ${points}`).toBeLessThan(5 * ROUNDING);
    }
  });
});

describe("two passes and the roots between them are a DFT", () => {
  // fft.ts: columns of A points, times exp(−2πi·b·k_a/N), then rows of B points; n = a·B + b, k = k_a + A·k_b.
  test.each([4116, 8192, 10_000, 16_384, 17_150])("length %i", (n) => {
    const { a, b } = chooseSplit(n, limitsWith())!;
    const layout = new TableLayout(DESKTOP_LIMITS);
    const roots = layout.roots(n, n);
    const data = tableData(layout.parts);
    const rootAt = (i: number): Complex => {
      if (roots.kind === "full") return decode(data, roots.offset + i).value;
      const coarse = roots.coarseOffset + 2 * (i >>> roots.fineBits);
      const fine = roots.fineOffset + (i & (2 ** roots.fineBits - 1));
      const { quarters, rest } = decode(data, coarse);
      const g: Complex = [data[2 * fine]!, data[2 * fine + 1]!];
      const hg = multiply(rest, g);
      const w: Complex = [1 + rest[0] + data[2 * coarse + 2]! + g[0] + hg[0], rest[1] + data[2 * coarse + 3]! + g[1] + hg[1]];
      return quarterTurns(w, quarters);
    };
    const x = complexNormals(n, n);
    const rows: Complex[][] = Array.from({ length: a }, () => []);
    for (let column = 0; column < b; column++) {
      const transformed = stockham(
        Array.from({ length: a }, (_, i) => x[i * b + column]!),
        chooseRadices(a),
      );
      transformed.forEach((value, k) => (rows[k]![column] = multiply(value, rootAt(column * k))));
    }
    const result: Complex[] = Array.from({ length: n });
    rows.forEach((row, k) => stockham(row, chooseRadices(b)).forEach((value, kb) => (result[k + a * kb] = value)));

    // The definition at some frequencies; all of them would take a while.
    const uniform = random(n);
    const frequencies = [0, 1, a, n - 1, ...Array.from({ length: 200 }, () => Math.floor(n * uniform()))];
    const expected = frequencies.map((k) => {
      let [re, im] = [0, 0];
      for (let i = 0; i < n; i++) {
        const term = multiply(x[i]!, root((i * k) % n, n));
        re += term[0];
        im += term[1];
      }
      return [re, im];
    });
    expect(
      relativeL2(
        frequencies.flatMap((k) => [...result[k]!]),
        expected.flat(),
      ),
      `seed ${n}`,
    ).toBeLessThan(3 * ROUNDING);
  });
});
