import { cpuOnDemand, layout, type Operation, task } from "../operation.ts";
import { planEmbeddingGradient } from "./gradient.ts";
import { planEmbedding } from "./plan.ts";
import type { EmbeddingGradientSpec, EmbeddingSpec } from "./spec.ts";

/** An index that is none of the table's rows gives a row of NaN, and adds nothing to the gradient. */
export const embedding: Operation<EmbeddingSpec> = {
  name: "embedding",
  label: ({ tokens, count, width }) => `embedding ${tokens} of ${count} × ${width}`,
  tensors: ({ tokens, count, width }) => ({
    indices: layout("input", [tokens], "u32"),
    table: layout("input", [count, width]),
    out: layout("output", [tokens, width]),
  }),
  plan: planEmbedding,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).embeddingCpu),
  backward(spec, wanted) {
    if (!wanted.includes("table")) return { nodes: [], gradients: {} };
    const gradient = task(embeddingGradient, Object.freeze({ ...spec, operation: "embeddingGradient" }));
    return { nodes: [{ task: gradient, values: { indices: "indices", dOut: "dOut", dTable: "dTable" } }], gradients: { table: "dTable" } };
  },
};

const embeddingGradient: Operation<EmbeddingGradientSpec> = {
  name: "embedding gradient",
  label: ({ tokens, count, width }) => `embedding gradient ${tokens} of ${count} × ${width}`,
  tensors: ({ tokens, count, width }) => ({
    indices: layout("input", [tokens], "u32"),
    dOut: layout("input", [tokens, width]),
    dTable: layout("output", [count, width]),
  }),
  plan: planEmbeddingGradient,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).embeddingGradientCpu),
};
