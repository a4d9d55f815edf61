import { checkElements, checkOptions, checkSize } from "../../core/check.ts";
import { BIAS_FORM_OPTIONS, checkPositions, positionCount, type TokenOptions, weightsShape } from "./forms.ts";
import type { BiasFormOptions, RelativePositions, SequenceOptions } from "./positions.ts";

export * from "./forms.ts";
export * from "./positions.ts";

/** The FastRPB product: out_i = Σ_j W_ij v_j in every head, for every channel. */
export interface ToeplitzSpec extends RelativePositions {
  readonly operation: "toeplitz";
  readonly batch: number;
  readonly heads: number;
  readonly channels: number;
  /** Whether there is a tensor `lengths`, one for each batch row; values beyond have no influence, and the output there is zero. */
  readonly variableLengths: boolean;
  /** How the values and the output are stored. */
  readonly storage: "f32" | "f16";
}

/** The gradient of a Toeplitz product: `v`, `spectrum`, `dOut` → `dv` and `dWeights`. */
export interface ToeplitzGradientSpec extends Omit<ToeplitzSpec, "operation"> {
  readonly operation: "toeplitzGradient";
}

/** The transforms of weights, `weights` → `spectrum`: all that a spectrum depends on. */
export interface SpectrumSpec extends RelativePositions {
  readonly operation: "spectrum";
  readonly heads: number;
  /** Whether the spectrum is of exp(w − max w) instead of w, with the maximum over the weights of a head that count. */
  readonly exponential: boolean;
}

/** The gradient of a product. */
export function toeplitzGradientSpec(spec: ToeplitzSpec): ToeplitzGradientSpec {
  return Object.freeze({ ...spec, operation: "toeplitzGradient" });
}

/** The transforms of the weights of a product, or of the exponentials of those of a multiplicative bias. */
export function spectrumSpec(product: RelativePositions & { readonly heads: number; readonly bias?: string }): SpectrumSpec {
  const { heads, grid, causal, form, bias } = product;
  return Object.freeze({ operation: "spectrum", heads, length: positionCount(product), grid, causal, form, exponential: bias === "multiplicative" });
}

/** Options of a Toeplitz product that stands alone. */
export type ToeplitzOptions = SequenceOptions &
  BiasFormOptions &
  TokenOptions & {
    /** Default 1. */
    batch?: number;
    heads: number;
    /** Real channels per head, the D of `v: [batch, heads, N, D]`. */
    channels: number;
    /** Weights of offsets j − i > 0 count as zero. Default `false`; not on a grid. */
    causal?: boolean;
  };

/**
 * Checks the options of a Toeplitz product.
 *
 * @param caller the public function to name in errors
 * @throws FastRpbError code `"value"`
 */
export function toeplitzSpec(options: ToeplitzOptions, caller = "runtime.toeplitz"): ToeplitzSpec {
  checkOptions(caller, "options", options, ["batch", "heads", "length", "grid", "channels", "causal", ...BIAS_FORM_OPTIONS]);
  const spec: ToeplitzSpec = {
    operation: "toeplitz",
    batch: checkSize(caller, "options.batch", options.batch ?? 1),
    heads: checkSize(caller, "options.heads", options.heads),
    channels: checkSize(caller, "options.channels", options.channels),
    ...checkPositions(caller, options),
    variableLengths: false,
    storage: "f32",
  };
  checkElements(caller, "batch × heads × tokens × channels", [spec.batch, spec.heads, spec.length, spec.channels]);
  checkElements(caller, "the weights", weightsShape(spec));
  return Object.freeze(spec);
}
