/** What takes part in a row: fastrpb itself (fastrpb.ts), or a peer (peers/). */
import type { OwnDetails } from "./result.ts";
import type { Row } from "./rows.ts";

/** Inputs of a row by their names; kinds.ts says which, and in what layout. */
export type Data = Readonly<Record<string, Float32Array>>;

export interface Competitor {
  readonly name: string;
  /** npm name, to look up the version; `undefined` for fastrpb. */
  readonly package: string | undefined;
  supports(row: Row): boolean;
  /** How it computes the row, where that is a choice or not quite the same: a note under the table. */
  formulation?(row: Row): string | undefined;
  /** Work of a row in any unit, where it grows faster than the row's data; budget.ts predicts times by it. */
  work?(row: Row): number | undefined;
  /** Uploads `copies` sets of the same inputs, which the runs take in turn, and does all that a user would do once. */
  prepare(row: Row, data: Data, copies: number): Promise<Prepared>;
  /** The exact result, where the competitor computes something else than the row says. */
  reference?(row: Row, data: Data): Float32Array | undefined;
}

export interface Prepared {
  /** Starts one repetition; returns a promise only where the library does. */
  run(): void | Promise<void>;
  /** Waits until everything started is done. */
  finish(): Promise<void>;
  /** The result of the last run, in the layout of the row. */
  read(): Promise<Float32Array>;
  dispose(): void;
  /** What only fastrpb tells about itself; asked for after the timing. */
  details?(): Promise<OwnDetails>;
}
