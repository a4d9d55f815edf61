/** What the fuzzer has to know of an operation. */
import type { Runtime, Tensor } from "../../src/index.ts";
import type { Arrays, Flag, FuzzCase, Options, TensorPlan } from "./case.ts";
import type { DataKind } from "./data.ts";
import type { Draw } from "./draw-numbers.ts";

/** A run: tensors by name, results among them. */
export interface Call {
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly encoder?: GPUCommandEncoder | undefined;
  readonly prepared?: boolean | undefined;
  readonly lengths?: readonly number[] | undefined;
}

export interface OpenPlan {
  /** Records one run; what it returns is needed until that is submitted. */
  run(call: Call): readonly { dispose(): void }[];
  /** Of what is more than a run: all of it, with numbers for results. Then there is no {@link run}. */
  perform?(data: Arrays, lengths: readonly number[] | undefined): Promise<Arrays>;
  dispose(): void;
}

/** What a bound may depend on. */
export interface BoundContext {
  readonly options: Options;
  readonly data: Arrays;
  readonly kinds: Readonly<Record<string, DataKind>>;
  readonly lengths: readonly number[] | undefined;
  readonly expected: Arrays;
  /** The results of other data, in float64. */
  readonly reference: (data: Arrays) => Promise<Arrays>;
}

export interface Operation {
  /** How many plans of a round are its. */
  readonly share: number;
  draw(draw: Draw, half: boolean): Options;
  tensors(options: Options): { readonly inputs: Readonly<Record<string, TensorPlan>>; readonly outputs: Readonly<Record<string, TensorPlan>> };
  flags(options: Options): readonly Flag[];
  /** Lengths of one run, where the plan takes them. */
  drawLengths?(draw: Draw, options: Options): readonly number[] | undefined;
  /** Puts NaN where it must have no influence. */
  poison?(data: Arrays, fuzzCase: FuzzCase): void;
  open(runtime: Runtime, options: Options): Promise<OpenPlan>;
  /** Of each result: the norm of an error that is still right. Infinity where only finite numbers are promised. */
  bounds(context: BoundContext): Promise<Readonly<Record<string, number>>>;
}

/** Half a unit in the last place of 1. */
export const U = 2 ** -24;

/** Sizes of factors in a product: those of two or three of them, summed up over all elements, fit into float32, between steps too. */
export const FACTOR_KINDS = {
  normal: 1,
  huge: 2 ** 36,
  tiny: 2 ** -36,
  denormal: 1,
  constant: 2,
  impulse: 3,
  zero: 0,
  mixed: 2 ** 12,
} as const;

/** Kinds within the range of float16. */
export const HALF_KINDS = { normal: 1, constant: 2, impulse: 3, zero: 0 } as const;
