/** What the planner is free to choose and a device may want otherwise; see {@link Runtime.tune}. */
export interface Choices {
  /** Largest butterfly of a power of two: fewer stages, or fewer registers. */
  readonly maxRadix: 4 | 8 | 16;
  /** Complex values that a thread should hold. */
  readonly registers: number;
  /** Lanes that a workgroup should have. */
  readonly lanes: number;
  /** Neighbouring complex columns that a workgroup should take at least, where neighbours in memory are different columns. */
  readonly columns: number;
  /** Exchange re and im through workgroup memory in turn, together, or together while that memory is small. */
  readonly exchange: "auto" | "split" | "whole";
  /** Roots of long transforms: products of those of a coarse and a fine table, or a table of all, up to 2 MiB of it. */
  readonly roots: "split" | "full";
}

/**
 * For real GPUs: as many values as registers hold beside the temporaries of a radix-16 butterfly; enough lanes to hide latency, few
 * enough for several workgroups per core; columns that fill a 32-byte memory sector.
 */
export const DEFAULT_CHOICES: Choices = Object.freeze({ maxRadix: 16, registers: 16, lanes: 128, columns: 4, exchange: "auto", roots: "full" });
