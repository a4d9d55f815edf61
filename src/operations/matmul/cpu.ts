import { normalDistribution } from "../../math/normal.ts";
import type { Activation } from "../../../shaders/nn/activation.ts";
import type { CpuComputation, Floats } from "../operation.ts";
import { type MatmulSpec, type StoredMatrix, storedMatrix } from "./spec.ts";

/** Rows of the result at a time, and how much of k: what is summed up stays in caches. */
const ROWS = 64;
const DEPTH = 128;

/** out = activation(a·b + bias) + residual, in float64. */
export function matmulCpu(spec: MatmulSpec): CpuComputation {
  const { batch, m, n, k, transposeA, transposeB, activation } = spec;
  const places = { a: storedMatrix(spec, "a"), b: storedMatrix(spec, "b"), out: storedMatrix(spec, "out") };
  const activate = ACTIVATIONS[activation];
  return {
    flops: 2 * batch * m * n * k,
    run(memoryOf) {
      const [a, b, out] = [memoryOf("a").floats, memoryOf("b").floats, memoryOf("out").floats];
      const bias = spec.bias ? memoryOf("bias").floats : undefined;
      const residual = spec.residual ? memoryOf("residual").floats : undefined;
      const factors = new Float64Array(k * n);
      const rows = new Float64Array(Math.min(ROWS, m) * k);
      const sums = new Float64Array(Math.min(ROWS, m) * n);
      for (let item = 0; item < batch; item++) {
        copyMatrix(b.subarray(item * k * n, (item + 1) * k * n), places.b, transposeB, 0, k, factors);
        for (let first = 0; first < m; first += ROWS) {
          const count = Math.min(ROWS, m - first);
          copyMatrix(a.subarray(item * m * k, (item + 1) * m * k), places.a, transposeA, first, count, rows);
          sums.fill(0);
          for (let from = 0; from < k; from += DEPTH) addProducts(rows, factors, sums, count, k, n, from, Math.min(k, from + DEPTH));
          for (let i = 0; i < count; i++) {
            for (let j = 0; j < n; j++) {
              const at = item * m * n + placeOf(places.out, first + i, j);
              const value = activate(sums[i * n + j]! + (bias ? bias[j]! : 0));
              out[at] = residual ? value + residual[at]! : value;
            }
          }
        }
      }
    },
  };
}

const ACTIVATIONS: Readonly<Record<Activation, (x: number) => number>> = {
  none: (x) => x,
  relu: (x) => (x < 0 ? 0 : x),
  gelu: (x) => x * normalDistribution(x),
  "gelu-tanh": (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

/** Where a number of a matrix lies. */
function placeOf({ columns, heads }: StoredMatrix, row: number, column: number): number {
  if (!heads) return row * columns + column;
  const { length, width } = heads;
  const head = Math.floor(row / length) * heads.heads + Math.floor(column / width);
  return (head * length + (row % length)) * width + (column % width);
}

/** Copies `count` rows of a matrix from the first on, or of a transposed one its columns. */
function copyMatrix(from: Floats, stored: StoredMatrix, transposed: boolean, first: number, count: number, to: Float64Array): void {
  const width = transposed ? stored.rows : stored.columns;
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < width; j++) to[i * width + j] = from[transposed ? placeOf(stored, j, first + i) : placeOf(stored, first + i, j)]!;
  }
}

/** sums += rows·factors for a part of k, four rows at a time. */
function addProducts(
  rows: Float64Array,
  factors: Float64Array,
  sums: Float64Array,
  count: number,
  k: number,
  n: number,
  from: number,
  to: number,
): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = i * n;
    for (let kk = from; kk < to; kk++) {
      const [x0, x1, x2, x3] = [rows[i * k + kk]!, rows[(i + 1) * k + kk]!, rows[(i + 2) * k + kk]!, rows[(i + 3) * k + kk]!];
      for (let j = 0, f = kk * n; j < n; j++, f++) {
        const factor = factors[f]!;
        sums[at + j]! += x0 * factor;
        sums[at + n + j]! += x1 * factor;
        sums[at + 2 * n + j]! += x2 * factor;
        sums[at + 3 * n + j]! += x3 * factor;
      }
    }
  }
  for (; i < count; i++) {
    for (let kk = from; kk < to; kk++) {
      const x = rows[i * k + kk]!;
      for (let j = 0, f = kk * n; j < n; j++, f++) sums[i * n + j]! += x * factors[f]!;
    }
  }
}
