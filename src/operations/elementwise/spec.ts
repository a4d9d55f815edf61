/** Operations on arrays, element by element. */
import type { ActivationKind } from "../../../shaders/nn/activation.ts";

export type { ActivationKind };

interface WithPeriod {
  /** Elements of `x` and of the result. */
  readonly size: number;
  /** Elements of `y`, which divide them: it repeats along leading axes. */
  readonly period: number;
}

/** The sum `x` [size], `y` [period] → `out`. */
export interface AddSpec extends WithPeriod {
  readonly operation: "add";
}

/** The product `x` [size], `y` [period] → `out`. */
export interface MultiplySpec extends WithPeriod {
  readonly operation: "multiply";
}

interface OfKind {
  readonly size: number;
  /** `"gelu"`: x·Φ(x); `"gelu-tanh"`: ½x (1 + tanh(√(2/π) (x + 0.044715 x³))). */
  readonly kind: ActivationKind;
}

/** An activation: `x` → `out`. */
export interface ActivationSpec extends OfKind {
  readonly operation: "activation";
}

/** Its gradient: `x`, or of ReLU `out`, and `dOut` → `dX`. */
export interface ActivationGradientSpec extends OfKind {
  readonly operation: "activationGradient";
}

/** Adds `x` to `out`. */
export interface AccumulateSpec {
  readonly operation: "accumulate";
  readonly size: number;
}

/** The same numbers `x` in `out`. */
export interface CopySpec {
  readonly operation: "copy";
  readonly size: number;
}

export function addSpec({ size, period }: WithPeriod): AddSpec {
  return Object.freeze({ operation: "add", size, period });
}

export function multiplySpec({ size, period }: WithPeriod): MultiplySpec {
  return Object.freeze({ operation: "multiply", size, period });
}

export function activationSpec({ size, kind }: OfKind): ActivationSpec {
  return Object.freeze({ operation: "activation", size, kind });
}

export function activationGradientSpec({ size, kind }: OfKind): ActivationGradientSpec {
  return Object.freeze({ operation: "activationGradient", size, kind });
}

export function accumulateSpec({ size }: Omit<AccumulateSpec, "operation">): AccumulateSpec {
  return Object.freeze({ operation: "accumulate", size });
}

export function copySpec({ size }: Omit<CopySpec, "operation">): CopySpec {
  return Object.freeze({ operation: "copy", size });
}

/** The tensor that the gradient of an activation is computed from. */
export function slopeSource({ kind }: OfKind): "x" | "out" {
  return kind === "relu" ? "out" : "x";
}
