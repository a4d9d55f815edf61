/** What the fuzzer runs, as data: a case is JSON, and the same JSON is the same run on every machine. */
import type { DType } from "../../src/index.ts";
import type { DataKind } from "./data.ts";
import type { LimitsChoice } from "./limits.ts";

export const OPERATIONS = [
  "fft",
  "fft gradient",
  "complexMultiply",
  "convolve",
  "toeplitz",
  "toeplitz gradient",
  "attention",
  "attention gradient",
  "decoder",
  "matmul",
  "sums and products",
  "activation",
  "columnSums",
  "norm",
  "meanOverTokens",
  "crossEntropy",
  "meanSquaredError",
  "embedding",
  "dropout",
  "model",
] as const;
export type OperationName = (typeof OPERATIONS)[number];

/** Options of a plan; {@link Operation.open} knows which. */
export type Options = Readonly<Record<string, unknown>>;

/** A plan: what has to be compiled. */
export interface Subject {
  readonly operation: OperationName;
  readonly options: Options;
  readonly limits: LimitsChoice;
}

/** `"wrap"`: in a buffer of the caller's between guards; `"shared"`: in one such buffer with all inputs of that kind. Otherwise its own. */
export type Layout = "wrap" | "shared";

/** One run of a plan. What is left out has its default. */
export interface FuzzCase extends Subject {
  readonly seed: number;
  /** Of inputs; `"normal"` when left out. */
  readonly data?: Readonly<Record<string, DataKind>>;
  readonly layout?: Readonly<Record<string, Layout>>;
  /** By `plan.encode` into an encoder of the caller's. */
  readonly encode?: boolean;
  /** With a spectrum in the place of weights or a kernel. */
  readonly prepared?: boolean;
  /** The result replaces the input. */
  readonly inPlace?: boolean;
  readonly lengths?: readonly number[];
  /** NaN in everything that must have no influence: tokens beyond a length. */
  readonly poison?: boolean;
}

/** The flags of a case that an operation may have. */
export type Flag = "encode" | "prepared" | "inPlace" | "poison";

/** A tensor of an operation. */
export interface TensorPlan {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Of inputs: the kinds of data it takes, with their sizes. Of dtype `"u32"` the size is that below which integers are. */
  readonly kinds?: Readonly<Partial<Record<DataKind, number>>>;
}

export type Arrays = Readonly<Record<string, Float32Array>>;

export function numbersOf({ shape, dtype }: TensorPlan): number {
  return shape.reduce((product, size) => product * size, dtype === "complex64" ? 2 : 1);
}
