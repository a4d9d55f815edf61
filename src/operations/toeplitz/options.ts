/** Options of a Toeplitz product that stands alone: apart from its spec, because attention with a bias has no use for them. */
import { checkElements, checkOptions, checkSize } from "../../core/check.ts";
import { checkPositions, type SequenceOptions, type ToeplitzSpec, weightsShape } from "./spec.ts";

export type ToeplitzOptions = SequenceOptions & {
  /** Default 1. */
  batch?: number;
  heads: number;
  /** Real channels per head, the D of `v: [batch, heads, N, D]`. */
  channels: number;
  /** Weights of offsets j − i > 0 count as zero. Default `false`; not on a grid. */
  causal?: boolean;
};

/** @throws FastRpbError code `"value"` */
export function toeplitzSpec(options: ToeplitzOptions): ToeplitzSpec {
  const caller = "runtime.toeplitz";
  checkOptions(caller, "options", options, ["batch", "heads", "length", "grid", "channels", "causal"]);
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
