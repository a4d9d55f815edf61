import { checkBoolean, checkFinite, checkOptions, checkShape } from "../../core/check.ts";

/** Options of the product of two complex tensors, element by element. */
export interface ComplexMultiplyOptions {
  /** Shape of the first operand and of the result. The second operand has this shape, or loses leading axes and is repeated along them. */
  shape: readonly number[];
  /** Use the conjugate of the second operand. Default `false`. */
  conjugate?: boolean;
  /** Real factor on every product. Default 1. */
  scale?: number;
}

/** The product of two complex tensors: `a`, `b` → `out`. */
export interface ComplexMultiplySpec {
  readonly operation: "complexMultiply";
  /** Whether the second operand lacks leading axes and is repeated. */
  readonly repeats: boolean;
  readonly shape: readonly number[];
  readonly conjugate: boolean;
  readonly scale: number;
}

/**
 * Checks the options of a product.
 *
 * @param repeats whether the second operand lacks leading axes
 * @throws FastRpbError code `"value"`
 */
export function complexMultiplySpec(options: ComplexMultiplyOptions, repeats = false): ComplexMultiplySpec {
  const caller = "runtime.complexMultiply";
  checkOptions(caller, "options", options, ["shape", "conjugate", "scale"]);
  return Object.freeze({
    operation: "complexMultiply",
    repeats,
    shape: checkShape(caller, "options.shape", options.shape),
    conjugate: checkBoolean(caller, "options.conjugate", options.conjugate ?? false),
    scale: checkFinite(caller, "options.scale", options.scale ?? 1),
  });
}
