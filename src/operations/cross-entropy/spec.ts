/** Cross-entropy of logits and the targets' classes: `logits`, `targets` → `loss`, `counts`, `statistics`. */
export interface CrossEntropySpec {
  readonly operation: "crossEntropy";
  readonly rows: number;
  readonly classes: number;
  readonly labelSmoothing: number;
}

/** Its gradient: `logits`, `targets`, `statistics`, `counts`, `dLoss` → `dLogits`. */
export interface CrossEntropyGradientSpec extends Omit<CrossEntropySpec, "operation"> {
  readonly operation: "crossEntropyGradient";
}

/** The mean of (x − y)²: `x`, `y` → `loss`. */
export interface MeanSquaredErrorSpec {
  readonly operation: "meanSquaredError";
  readonly size: number;
}

/** Its gradient for `x`: `x`, `y`, `dLoss` → `dx`. */
export interface MeanSquaredErrorGradientSpec {
  readonly operation: "meanSquaredErrorGradient";
  readonly size: number;
}

/** @param labelSmoothing how much of a target's weight goes to all classes, from 0 to 1 */
export function crossEntropySpec({ rows, classes, labelSmoothing }: Omit<CrossEntropySpec, "operation">): CrossEntropySpec {
  return Object.freeze({ operation: "crossEntropy", rows, classes, labelSmoothing });
}

export function meanSquaredErrorSpec({ size }: Omit<MeanSquaredErrorSpec, "operation">): MeanSquaredErrorSpec {
  return Object.freeze({ operation: "meanSquaredError", size });
}
