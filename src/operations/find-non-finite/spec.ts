/** Where a tensor first holds a number that is not finite: what `run(…, { check: true })` asks. */
export interface FindNonFiniteSpec {
  readonly operation: "findNonFinite";
  /** Numbers that are stored; a complex one is two. */
  readonly numbers: number;
  readonly storage: "f32" | "f16";
}

/** What `found` holds where every number is finite, and has to hold before the run. */
export const ALL_FINITE = 0xffffffff;

export function findNonFiniteSpec(numbers: number, storage: FindNonFiniteSpec["storage"]): FindNonFiniteSpec {
  return Object.freeze({ operation: "findNonFinite", numbers, storage });
}
