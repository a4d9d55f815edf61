import { BLOCK } from "../../../../shaders/attention/decode/step.ts";
import { cpuOnDemand, layout, type Operation, type TensorLayouts } from "../../operation.ts";
import { spectrumLayout } from "../../toeplitz/operation.ts";
import { planDecode, planWeightWindow } from "./plan.ts";
import { blockSpectrum, type DecodeSpec, stateOf, type WeightWindowSpec } from "./spec.ts";

/** Causal linear attention of the tokens that come next: its {@link DecodeSpec}. */
export const decode: Operation<DecodeSpec> = {
  name: "decode",
  label: ({ shape, tokens }) => `decode ${shape.featureMap} ${tokens} of ${shape.length}`,
  tensors({ shape, tokens, stages }, limits) {
    const { batch, heads, length, headDim, valueDim, bias } = shape;
    const blocks = new Set(stages.map(({ block }) => block).filter((block) => block > 0));
    const spectra = [...blocks].map((block) => [`spectrum${block}`, spectrumLayout("input", blockSpectrum(shape, block), limits)] as const);
    return {
      q: layout("input", [batch, heads, tokens, headDim]),
      k: layout("input", [batch, heads, tokens, headDim]),
      v: layout("input", [batch, heads, tokens, valueDim]),
      states: layout("inout", [batch, heads, stateOf(shape).size]),
      ...(bias === "fastrpb" &&
        ({
          history: layout("inout", [batch, heads, 2, length, valueDim]),
          weights: layout("input", [heads, BLOCK]),
        } satisfies TensorLayouts)),
      ...Object.fromEntries(spectra),
      out: layout("output", [batch, heads, tokens, valueDim]),
    };
  },
  plan: planDecode,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).decodeCpu),
};

/** Some of the weights of relative positions: its {@link WeightWindowSpec}. */
export const weightWindow: Operation<WeightWindowSpec> = {
  name: "weight window",
  label: ({ count, length }) => `weight window ${count} of ${length}`,
  tensors: ({ heads, length, count }) => ({
    weights: layout("input", [heads, 2 * length - 1]),
    window: layout("output", [heads, count]),
  }),
  plan: planWeightWindow,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).weightWindowCpu),
};
