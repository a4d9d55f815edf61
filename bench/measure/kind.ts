/** What a kind of row is: its inputs, and how the library runs it. */
import type { Cost, Profile, Runtime, Tensor, TuneRequest } from "../../src/index.ts";
import type { Data } from "./competitor.ts";
import type { Library } from "./library.ts";
import type { Row } from "./rows.ts";

/** Where a run leaves its result. */
export interface Output {
  data(): Promise<Float32Array>;
}

/** A plan of a row. */
export interface OpenPlan<Out extends Output> {
  readonly cost: Cost;
  /** Uploads a set of inputs. */
  load(data: Data): LoadedPlan<Out>;
  /** A place for the result. */
  output(): Out;
}

export interface LoadedPlan<Out extends Output> {
  run(out: Out): void;
  profile(out: Out): Promise<Pick<Profile, "dispatches">>;
}

export interface Kind<R extends Row, Out extends Output = Tensor> {
  data(row: R, library: Library): Data | Promise<Data>;
  /** Floats of the result. */
  outputLength(row: R): number;
  /** Floating-point operations of the formula, where rates are told by them. */
  flops?(row: R): number;
  /** Whether the work is so much more than its inputs that one set of them will do. */
  readonly heavy?: true;
  /** Repetitions that a sample has at least, one after the other without a wait in between. Default 1. */
  readonly leastRepetitions?: number;
  /** What to tune, where something can be. */
  tune?(row: R): TuneRequest;
  open(runtime: Runtime, row: R, library: Library): Promise<OpenPlan<Out>>;
}
