/** Dropout: `x`, `clock` → `out`. */
export interface DropoutSpec {
  readonly operation: "dropout";
  readonly size: number;
  /** The share of the elements that become 0, from 0 to less than 1. */
  readonly rate: number;
  /** Which dropout of a model it is: each has random numbers of its own. */
  readonly site: number;
}

export function dropoutSpec({ size, rate, site }: Omit<DropoutSpec, "operation">): DropoutSpec {
  return Object.freeze({ operation: "dropout", size, rate, site });
}

/** The least random word, of 32 bits, that keeps an element. */
export function keepThreshold(rate: number): number {
  return Math.min(Math.round(rate * 2 ** 32), 2 ** 32 - 1);
}
