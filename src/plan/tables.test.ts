import { describe, expect, test } from "vitest";
import { twiddleCount } from "../../shaders/stockham.ts";
import { dftReference } from "../cpu/reference.ts";
import { limitsWith, smoothNumbers } from "../testing/planning.ts";
import { normals, random, relativeL2 } from "../testing/random.ts";
import { chooseRadices, chooseSplit } from "./stockham.ts";
import { partEntries, tableBytes, tableData, TableLayout, type TablePart } from "./tables.ts";

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
  const LENGTHS = smoothNumbers(1, 8192);

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

describe("roots", () => {
  test.each([1, 2, 3, 4, 5, 8, 12, 16, 35, 343, 1000, 4096, 8192])("a full table of order %i", (order) => {
    const layout = new TableLayout();
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
    const layout = new TableLayout();
    const twiddles = layout.twiddles([16, 16]);
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
    const layout = new TableLayout();
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
    const layout = new TableLayout();
    const offsets = [layout.twiddles([4, 4]), layout.scale(0.25), layout.twiddles([8, 2]), layout.scale(0.125)];
    expect(offsets).toEqual([0, 12, 13, 21]);
    const data = tableData(layout.parts);
    expect(data).toHaveLength(44);
    expect(Array.from(data.subarray(24, 26))).toEqual([0, 0.25]);
    expect(Array.from(data.subarray(42, 44))).toEqual([0, 0.125]);
    expect(data.subarray(26, 42)).toEqual(tableData([{ kind: "twiddles", radices: [8, 2] }]));
  });

  test("an empty table has one entry, because a binding cannot be empty", () => {
    expect(tableBytes([])).toBe(8);
    expect(tableData([])).toEqual(new Float32Array(2));
  });

  test("is plain data", () => {
    const layout = new TableLayout();
    layout.twiddles(Object.freeze([16, 4]));
    layout.roots(2 ** 20, 2 ** 20);
    layout.roots(64, 64);
    layout.scale(1 / 3);
    expect(JSON.parse(JSON.stringify(layout.parts))).toStrictEqual(layout.parts);
  });
});

/** A schedule of one workgroup, from the header of stockham.ts: float64 arithmetic, twiddles from the float32 table. */
function stockham(x: readonly Complex[], radices: readonly number[]): Complex[] {
  const n = x.length;
  const data = tableData([{ kind: "twiddles", radices }]);
  let values = [...x];
  let before = 1; // N_s
  let offset = 0;
  for (const [stage, radix] of radices.entries()) {
    const next: Complex[] = Array.from({ length: n });
    for (let b = 0; b < n / radix; b++) {
      const k = b % before;
      const points = Array.from({ length: radix }, (_, r): Complex => {
        const point = values[b + (r * n) / radix]!;
        return r === 0 || stage === 0 ? point : multiply(point, decode(data, offset + (r - 1) * before + k).value);
      });
      for (let r = 0; r < radix; r++) {
        let [re, im] = [0, 0];
        for (let p = 0; p < radix; p++) {
          const term = multiply(points[p]!, root(p * r, radix));
          re += term[0];
          im += term[1];
        }
        next[Math.floor(b / before) * before * radix + k + r * before] = [re, im];
      }
    }
    values = next;
    if (stage > 0) offset += (radix - 1) * before;
    before *= radix;
  }
  return values;
}

function complexNormals(seed: number, n: number): Complex[] {
  const flat = normals(seed, 2 * n);
  return Array.from({ length: n }, (_, i): Complex => [flat[2 * i]!, flat[2 * i + 1]!]);
}

describe("schedule and twiddles together are a DFT", () => {
  const LENGTHS = [...smoothNumbers(1, 360), 512, 1000, 1024, 1470, 2048, 2401, 3125, 4096];

  test.each(LENGTHS)("length %i", (n) => {
    const x = complexNormals(n, n);
    const actual = stockham(x, chooseRadices(n));
    const expected = dftReference(x.flat(), "forward");
    expect(relativeL2(actual.flat(), expected), `seed ${n}`).toBeLessThan(3 * ROUNDING);
  });
});

describe("two passes and the roots between them are a DFT", () => {
  // fft.ts: columns of A points, times exp(−2πi·b·k_a/N), then rows of B points; n = a·B + b, k = k_a + A·k_b.
  test.each([4116, 8192, 10_000, 16_384, 17_150])("length %i", (n) => {
    const { a, b } = chooseSplit(n, limitsWith())!;
    const layout = new TableLayout();
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
