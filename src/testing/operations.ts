/** Operations by their specs, for the tests: the library has no such table, each family brings its own. */
import type { PlannerLimits } from "../core/limits.ts";
import { withCrossBias } from "../operations/attention/cross-bias.ts";
import { causalAttention } from "../operations/attention/causal/operation.ts";
import { withKeyHeads } from "../operations/attention/key-heads.ts";
import { withKeyMask } from "../operations/attention/key-mask.ts";
import { linearAttention } from "../operations/attention/linear/operation.ts";
import { multiplicativeAttention } from "../operations/attention/multiplicative/operation.ts";
import { loadProjection } from "../operations/attention/projection.ts";
import { logitBiasAttention } from "../operations/attention/softmax/logits.ts";
import { softmaxAttention } from "../operations/attention/softmax/operation.ts";
import type { AttentionShape, AttentionSpec } from "../operations/attention/spec.ts";
import { complexMultiply } from "../operations/complex-multiply/operation.ts";
import { convolve, kernelSpectrum } from "../operations/convolve/operation.ts";
import { fft } from "../operations/fft/operation.ts";
import { findNonFinite } from "../operations/find-non-finite/operation.ts";
import { type Operation, planProgram as planTask, type Task, task } from "../operations/operation.ts";
import { spectrum, toeplitz, toeplitzGradient } from "../operations/toeplitz/operation.ts";
import { loadForm } from "../operations/toeplitz/separable-plans.ts";
import type { Program } from "../program/program.ts";
import type { AnySpec } from "./specs.ts";

await Promise.all([
  loadProjection("favor+"),
  loadProjection("dpfp"),
  loadForm({ length: 1, grid: [1, 1], form: { symmetric: false, separable: "axes", reach: [1, 1] } }),
]);

export function attentionFor(shape: AttentionShape): Operation<AttentionSpec> {
  let attention = unmasked(shape);
  if (shape.keyLength !== undefined && shape.bias === "fastrpb") attention = withCrossBias(attention);
  if (shape.keyHeads !== undefined) attention = withKeyHeads(attention);
  return shape.keyMask ? withKeyMask(attention) : attention;
}

function unmasked({ kind, bias, causal }: AttentionShape): Operation<AttentionSpec> {
  if (bias === "multiplicative") return multiplicativeAttention;
  if (bias === "logits") return logitBiasAttention;
  if (kind === "softmax") return softmaxAttention;
  return causal ? causalAttention : linearAttention;
}

export function taskOf(spec: AnySpec): Task {
  switch (spec.operation) {
    case "fft":
      return task(fft, spec);
    case "complexMultiply":
      return task(complexMultiply, spec);
    case "convolve":
      return task(convolve, spec);
    case "kernelSpectrum":
      return task(kernelSpectrum, spec);
    case "toeplitz":
      return task(toeplitz, spec);
    case "toeplitzGradient":
      return task(toeplitzGradient, spec);
    case "spectrum":
      return task(spectrum, spec);
    case "findNonFinite":
      return task(findNonFinite, spec);
    case "attention":
      return task(attentionFor(spec), spec);
    case "attentionGradient":
      return attentionFor(spec).gradient!({ ...spec, operation: "attention" })!;
  }
}

/** The Program of a spec. @throws FastRpbError code `"limit"` */
export function planProgram(caller: string, spec: AnySpec, limits: PlannerLimits): Program {
  return planTask(caller, taskOf(spec), limits);
}
