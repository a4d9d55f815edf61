/** What a step of training takes: memory that grows with the sequence in proportion, less of it where layers are computed again, and few dispatches. */
import { describe, expect, test } from "vitest";
import { graph } from "../graph/graph.ts";
import { planProgram, task } from "../operations/operation.ts";
import { limitsWith } from "../testing/planning.ts";
import { programComplaints } from "../testing/programs.ts";
import { crossEntropy } from "./losses.ts";
import { adamW } from "./optimizers.ts";
import { planTraining } from "./training-graph.ts";
import { transformer, type TransformerOptions } from "./transformer.ts";

const MIB = 2 ** 20;
const SIZES = { input: { tokens: 64 }, width: 32, heads: 2, feedForward: 64, output: { classes: 10 } } as const;
const KINDS: Readonly<Record<string, TransformerOptions["attention"]>> = {
  "SIKF with FastRPB": { featureMap: "sikf", bias: "fastrpb" },
  "causal elu+1": { featureMap: "elu+1", causal: true },
  "softmax with a bias in the logits": { kind: "softmax", bias: "logits" },
};

async function planOf(options: Pick<TransformerOptions, "length" | "layers" | "attention">, recompute: "none" | "layers" = "none") {
  const training = await planTraining("test", {
    model: transformer({ ...SIZES, ...options }),
    batch: 2,
    losses: [crossEntropy()],
    optimizer: adamW({ rate: 1e-3 }),
    recompute,
    accumulate: 1,
    averageDecay: undefined,
  });
  const limits = { ...limitsWith(), workspaceBytes: 4096 * MIB };
  const program = planProgram("test", task(graph, training.steps[0]!), limits);
  expect(programComplaints(program, limits)).toEqual([]);
  return program;
}

describe("memory of a step", () => {
  test.each(Object.entries(KINDS))("%s: in proportion to the length", async (_, attention) => {
    const [short, long] = [await planOf({ length: 1024, layers: 2, attention }), await planOf({ length: 4096, layers: 2, attention })];
    const ratio = long.cost.workspaceBytes / short.cost.workspaceBytes;
    expect(ratio).toBeGreaterThan(3);
    expect(ratio).toBeLessThan(4.4);
  });

  test.each(Object.entries(KINDS))("%s: of 12 layers computed again less than 40 % of what is kept else", async (_, attention) => {
    const options = { length: 1024, layers: 12, attention };
    const [kept, again] = [await planOf(options), await planOf(options, "layers")];
    expect(again.cost.workspaceBytes).toBeLessThan(0.4 * kept.cost.workspaceBytes);
    expect(again.cost.flops).toBeGreaterThan(kept.cost.flops);
    expect(again.cost.flops).toBeLessThan(1.5 * kept.cost.flops);
  });

  test("the spectrum of a bias is prepared once a step, in layers that are computed again too", async () => {
    const { dispatches } = await planOf({ length: 256, layers: 3, attention: KINDS["SIKF with FastRPB"]! }, "layers");
    const spectra = (pattern: RegExp) => dispatches.filter(({ label }) => pattern.test(label)).length;
    expect(spectra(/embed|spectrum/)).toBeLessThanOrEqual(3 * 2);
  });
});
