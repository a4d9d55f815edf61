/** The search for the first number of a tensor that is not finite, for `run(…, { check: true })`. */
export interface FindNonFiniteSpec {
  readonly operation: "findNonFinite";
  /** Numbers that are stored; a complex one is two. */
  readonly numbers: number;
  readonly storage: "f32" | "f16";
}

/** The value of `found` where every number is finite, and before the run. */
export const ALL_FINITE = 0xffffffff;

/** The search through so many stored numbers. */
export function findNonFiniteSpec(numbers: number, storage: FindNonFiniteSpec["storage"]): FindNonFiniteSpec {
  return Object.freeze({ operation: "findNonFinite", numbers, storage });
}
