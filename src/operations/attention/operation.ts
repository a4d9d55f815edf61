/** What the kinds of attention have in common: tensors, the bias, and what computes it all on the CPU. */
import type { PlannerLimits } from "../../core/limits.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { lengthsLayout } from "../lengths.ts";
import { cpuOnDemand, layout, type Operation, task, type TensorLayout, type TensorLayouts } from "../operation.ts";
import { spectrum, spectrumLayout } from "../toeplitz/operation.ts";
import { spectrumSpec, weightsShape } from "../toeplitz/spec.ts";
import type { AttentionGradientTensors, AttentionTensors } from "./bias.ts";
import type { HeadKind } from "./cpu.ts";
import {
  type AttentionGradientSpec,
  attentionGradientSpec,
  type AttentionShape,
  type AttentionSpec,
  hasSpectrum,
  keyLengthOf,
  keyShape,
} from "./spec.ts";

/** A way to compute attention, and its gradient. */
export interface AttentionKind {
  plan(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionTensors, scratch: number): void;
  planGradient(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionGradientTensors, scratch: number): void;
  /** Loads what computes one head on the CPU. */
  loadHead(): Promise<HeadKind>;
}

/** Attention of a kind: `q`, `k`, `v`, `spectrum` with a bias, or `bias` where it is in the logits, `lengths` with variable ones → `out`. */
export function attentionOperation(kind: AttentionKind): Operation<AttentionSpec> {
  const gradient = gradientOperation(kind);
  return {
    name: "attention",
    label: (spec) => `attention ${attentionName(spec)} ${spec.length}`,
    tensors: (spec, limits) => ({ ...inputs(spec, limits), out: rows("output", spec, spec.valueDim) }),
    plan: kind.plan,
    ...cpuOnDemand(async () => {
      const [{ attentionCpu }, head] = await Promise.all([import("./cpu.ts"), kind.loadHead()]);
      return (spec, fftOf) => attentionCpu(head, spec, fftOf);
    }),
    gradient: (spec) => (spec.storage === "f16" ? undefined : task(gradient, attentionGradientSpec(spec))),
    preparation,
  };
}

/** The gradient: the inputs and `dOut` → `dq`, `dk`, `dv`, and `dBias` with a bias. */
function gradientOperation(kind: AttentionKind): Operation<AttentionGradientSpec> {
  return {
    name: "attention gradient",
    label: (spec) => `attention gradient ${attentionName(spec)} ${spec.length}`,
    tensors: (spec, limits) => ({
      ...inputs(spec, limits),
      dOut: rows("input", spec, spec.valueDim),
      dq: rows("output", spec, spec.headDim),
      dk: rows("output", keyShape(spec), spec.headDim),
      dv: rows("output", keyShape(spec), spec.valueDim),
      ...(spec.bias !== "none" && { dBias: layout("output", weightsShape(spec)) }),
    }),
    plan: kind.planGradient,
    ...cpuOnDemand(async () => {
      const [{ attentionGradientCpu }, head] = await Promise.all([import("./cpu-gradient.ts"), kind.loadHead()]);
      return (spec, fftOf) => attentionGradientCpu(head, spec, fftOf);
    }),
    preparation,
  };
}

function preparation(spec: AttentionShape) {
  return hasSpectrum(spec) ? task(spectrum, spectrumSpec(spec)) : undefined;
}

function inputs(spec: AttentionShape, limits: PlannerLimits): TensorLayouts {
  return {
    q: rows("input", spec, spec.headDim),
    k: rows("input", keyShape(spec), spec.headDim),
    v: rows("input", keyShape(spec), spec.valueDim),
    ...(hasSpectrum(spec) && { spectrum: spectrumLayout("input", spectrumSpec(spec), limits) }),
    ...(spec.bias === "logits" && { bias: layout("input", weightsShape(spec)) }),
    ...lengthsLayout(spec),
    ...(spec.keyMask && { keyMask: layout("input", [spec.batch, keyLengthOf(spec)]) }),
  };
}

function rows(role: TensorLayout["role"], { batch, heads, length, storage }: AttentionShape, dim: number): TensorLayout {
  return layout(role, [batch, heads, length, dim], storage);
}

function attentionName(spec: AttentionShape): string {
  return `${spec.causal ? "causal " : ""}${spec.featureMap ?? spec.kind}`;
}
