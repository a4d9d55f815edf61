import type { NormKind } from "../../../shaders/nn/norm-rows.ts";

interface Rows {
  /** `"layer"`: mean 0 and variance 1; `"rms"`: mean square 1. */
  readonly kind: NormKind;
  readonly rows: number;
  readonly width: number;
}

/**
 * Normalised rows, times `weight`, plus `bias`: `x` [rows, width], `weight` [width], and with `bias` that [width] → `out` [rows, width], and
 * `statistics` for the gradients: of each row the mean, what is beyond its float32, and 1/√(variance + ε), or of `"rms"` the last alone.
 */
export interface NormSpec extends Rows {
  readonly operation: "norm";
  readonly epsilon: number;
  readonly bias: boolean;
}

/** Its gradient in x: `x`, `weight`, `statistics`, `dOut` → `dX`. */
export interface NormGradientSpec extends Rows {
  readonly operation: "normGradient";
}

/** Its gradients in weight and bias: `x`, `statistics`, `dOut` → `dWeight` [width], and with `bias` `dBias` [width]. */
export interface NormWeightGradientSpec extends Rows {
  readonly operation: "normWeightGradient";
  readonly bias: boolean;
}

export function normSpec({ kind, rows, width, epsilon, bias }: Omit<NormSpec, "operation">): NormSpec {
  return Object.freeze({ operation: "norm", kind, rows, width, epsilon, bias });
}

export function normGradientSpec({ kind, rows, width }: Rows): NormGradientSpec {
  return Object.freeze({ operation: "normGradient", kind, rows, width });
}

export function normWeightGradientSpec({ kind, rows, width, bias }: Omit<NormWeightGradientSpec, "operation">): NormWeightGradientSpec {
  return Object.freeze({ operation: "normWeightGradient", kind, rows, width, bias });
}
