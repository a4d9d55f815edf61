/** What training makes small. */
import { checkFinite, checkOptions } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import { crossEntropy as crossEntropyOperation, meanSquaredError as squaredOperation } from "../operations/cross-entropy/operation.ts";
import { crossEntropySpec, meanSquaredErrorSpec } from "../operations/cross-entropy/spec.ts";
import { task } from "../operations/operation.ts";
import type { Recorder, Value } from "./recorder.ts";

/** A loss of a model's outputs, made by {@link crossEntropy} or {@link meanSquaredError}. */
export interface Loss {
  /** Factor on it, where there are several. */
  readonly weight: number;
  /** @internal Adds it to a model: its value [1], and for classes `counts`, how many targets count and how many were right. */
  readonly record: (
    outputs: Readonly<Record<string, Value>>,
    recorder: Recorder,
    caller: string,
  ) => { readonly loss: Value; readonly counts?: Value };
}

/** Which output and which part of a batch a loss is of. */
export interface LossOptions {
  /** The output of the model. Default `"out"`, the output of a model that has one. */
  readonly output?: string;
  /** The name of the targets in a batch. Default `"targets"`. */
  readonly targets?: string;
  /** Factor on the loss, where there are several. Default 1. */
  readonly weight?: number;
}

/** The class of a target that does not count. */
export const IGNORED = 0xffffffff;

/**
 * The cross entropy of softmax over the last axis of an output, as `torch.nn.functional.cross_entropy`: the mean over all targets that count. A batch has
 * `targets` of u32 in the shape of the output without that axis; {@link IGNORED}, and any other number beyond the classes, does not count.
 *
 * @param options.labelSmoothing ε: targets are 1 − ε on the class and ε spread over all (Szegedy et al. 2016), from 0 to 1. Default 0
 * @throws FastRpbError code `"value"`
 */
export function crossEntropy(options: LossOptions & { readonly labelSmoothing?: number } = {}): Loss {
  const { labelSmoothing = 0, ...rest } = checkOptions("crossEntropy", "options", options, ["output", "targets", "weight", "labelSmoothing"]);
  if (typeof labelSmoothing !== "number" || !(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw refuse("value", "crossEntropy", "options.labelSmoothing", "a number from 0 to 1", labelSmoothing);
  }
  return lossOf("crossEntropy", rest, (logits, recorder, targetsName) => {
    const classes = logits.shape.at(-1)!;
    const targets = recorder.input(targetsName, logits.shape.slice(1, -1), "u32");
    const rows = logits.size / classes;
    const spec = crossEntropySpec({ rows, classes, labelSmoothing });
    return recorder.add(
      "loss",
      task(crossEntropyOperation, spec),
      { logits, targets },
      { loss: [1], counts: [2], statistics: [rows, 2] },
      { counts: "u32" },
    );
  });
}

/**
 * The mean of squared differences from targets, float32 in the shape of the output.
 *
 * @throws FastRpbError code `"value"`
 */
export function meanSquaredError(options: LossOptions = {}): Loss {
  checkOptions("meanSquaredError", "options", options, ["output", "targets", "weight"]);
  return lossOf("meanSquaredError", options, (x, recorder, targetsName) => {
    const y = recorder.input(targetsName, x.shape.slice(1), "f32");
    return recorder.add("loss", task(squaredOperation, meanSquaredErrorSpec({ size: x.size })), { x, y }, { loss: [1] });
  });
}

function lossOf(
  caller: string,
  { output = "out", targets = "targets", weight = 1 }: LossOptions,
  record: (output: Value, recorder: Recorder, targets: string) => { readonly loss: Value; readonly counts?: Value },
): Loss {
  for (const [name, value] of Object.entries({ output, targets })) {
    if (typeof value !== "string" || value === "") throw refuse("value", caller, `options.${name}`, "a name", value);
  }
  return Object.freeze<Loss>({
    weight: checkFinite(caller, "options.weight", weight),
    record(outputs, recorder, by) {
      const value = outputs[output];
      if (value) return record(value, recorder, targets);
      throw refuse("value", by, "options.loss", `one of the outputs ${Object.keys(outputs).join(", ")}`, output);
    },
  });
}
