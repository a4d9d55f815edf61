/** What the kinds of attention have in common: tensors, the bias, and what computes it all on the CPU. */
import type { PlannerLimits } from "../../core/limits.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { lengthsLayout } from "../lengths.ts";
import { cpuOnDemand, layout, type Operation, task, type TensorLayout, type TensorLayouts } from "../operation.ts";
import { spectrum, spectrumLayout } from "../toeplitz/operation.ts";
import { spectrumSpec, weightsShape } from "../toeplitz/spec.ts";
import type { AttentionGradientTensors, AttentionTensors } from "./bias.ts";
import type { HeadKind } from "./cpu.ts";
import { type AttentionTensor, packedShape, tensorShape, unpacked } from "./layout.ts";
import { type AttentionGradientSpec, attentionGradientSpec, type AttentionShape, type AttentionSpec, hasSpectrum, keyLengthOf } from "./spec.ts";

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
    tensors: (spec, limits) => ({ ...inputs(spec, limits), out: rows("output", spec, "out") }),
    plan: (program, spec, tensors, scratch) => kind.plan(program, spec, unpacked(tensors) as AttentionTensors, scratch),
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
      dOut: rows("input", spec, "dOut"),
      ...(spec.layout === "packed"
        ? { dqkv: packedRows("output", spec) }
        : { dq: rows("output", spec, "dq"), dk: rows("output", spec, "dk"), dv: rows("output", spec, "dv") }),
      ...(spec.bias !== "none" && { dBias: layout("output", weightsShape(spec)) }),
    }),
    plan: (program, spec, tensors, scratch) => kind.planGradient(program, spec, unpacked(tensors) as AttentionGradientTensors, scratch),
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
    ...(spec.layout === "packed"
      ? { qkv: packedRows("input", spec) }
      : { q: rows("input", spec, "q"), k: rows("input", spec, "k"), v: rows("input", spec, "v") }),
    ...(hasSpectrum(spec) && { spectrum: spectrumLayout("input", spectrumSpec(spec), limits) }),
    ...(spec.bias === "logits" && { bias: layout("input", weightsShape(spec)) }),
    ...lengthsLayout(spec),
    ...(spec.keyMask && { keyMask: layout("input", [spec.batch, keyLengthOf(spec)]) }),
  };
}

function rows(role: TensorLayout["role"], spec: AttentionShape, of: AttentionTensor): TensorLayout {
  return layout(role, tensorShape(spec, of), spec.storage);
}

function packedRows(role: TensorLayout["role"], spec: AttentionShape): TensorLayout {
  return layout(role, packedShape(spec), spec.storage);
}

function attentionName(spec: AttentionShape): string {
  return `${spec.causal ? "causal " : ""}${spec.featureMap ?? spec.kind}`;
}
