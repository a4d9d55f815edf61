import type { Activation } from "../../../shaders/nn/activation.ts";
import type { OperationSpec } from "../operation.ts";

/** A matrix that is stored as [rows / length, heads, length, columns / heads] instead of [rows, columns]. */
export interface MatmulHeads {
  readonly of: "a" | "b" | "out";
  readonly length: number;
  readonly heads: number;
}

export interface MatmulOptions {
  /** Products of a kind, one after the other. Default 1. */
  batch?: number;
  m: number;
  n: number;
  k: number;
  /** `a` is [batch, k, m] instead of [batch, m, k]. Default `false`. */
  transposeA?: boolean;
  /** `b` is [batch, n, k] instead of [batch, k, n]: the weight of a linear layer. Default `false`. */
  transposeB?: boolean;
  /** There is a tensor `bias`, [n]. Default `false`. */
  bias?: boolean;
  /** There is a tensor `residual` of the shape of `out`. Default `false`. */
  residual?: boolean;
  /** Of the sum and the bias, before the residual. Default `"none"`. */
  activation?: Activation;
  /** Heads that the product takes apart or puts together; the batch is 1 then, and a residual lies as `out`. */
  heads?: MatmulHeads;
}

/** `a` [batch, m, k], `b` [batch, k, n], `bias` [n], `residual` [batch, m, n] → `out` [batch, m, n] = activation(a·b + bias) + residual. */
export interface MatmulSpec extends OperationSpec {
  readonly operation: "matmul";
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly bias: boolean;
  readonly residual: boolean;
  readonly activation: Activation;
  readonly heads?: MatmulHeads | undefined;
}

/** @throws TypeError for heads that do not divide their matrix: a defect of whoever builds it */
export function matmulSpec(options: MatmulOptions): MatmulSpec {
  const { batch = 1, m, n, k, transposeA = false, transposeB = false, bias = false, residual = false, activation = "none", heads } = options;
  const spec = Object.freeze({
    operation: "matmul" as const,
    batch,
    m,
    n,
    k,
    transposeA,
    transposeB,
    bias,
    residual,
    activation,
    ...(heads && { heads: Object.freeze({ ...heads }) }),
  });
  if (heads) {
    const { rows, columns } = storedMatrix(spec, heads.of);
    if (batch !== 1) throw new TypeError(`matmul: heads go with a batch of 1, not ${batch}`);
    if (rows % heads.length !== 0) throw new TypeError(`matmul: ${rows} rows are no whole sequences of ${heads.length}`);
    if (columns % heads.heads !== 0) throw new TypeError(`matmul: ${columns} columns are no whole ${heads.heads} heads`);
  }
  return spec;
}

export type MatrixName = MatmulHeads["of"];

/** A matrix as it is stored: its rows follow each other, unless it is in heads. */
export interface StoredMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly heads?: { readonly length: number; readonly heads: number; readonly width: number } | undefined;
}

export function storedMatrix(spec: Omit<MatmulSpec, "operation">, name: MatrixName): StoredMatrix {
  const { m, n, k, transposeA, transposeB, heads } = spec;
  const [rows, columns] = { a: transposeA ? [k, m] : [m, k], b: transposeB ? [n, k] : [k, n], out: [m, n] }[name] as [number, number];
  if (heads?.of !== name) return { rows, columns };
  return { rows, columns, heads: { length: heads.length, heads: heads.heads, width: columns / heads.heads } };
}

/** The shape of a matrix's tensor. */
export function matrixShape(spec: MatmulSpec, name: MatrixName): readonly number[] {
  const { rows, columns, heads } = storedMatrix(spec, name);
  return heads ? [rows / heads.length, heads.heads, heads.length, heads.width] : [spec.batch, rows, columns];
}
