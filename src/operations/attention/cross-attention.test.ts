/** Plans of cross-attention and of grouped queries: what they add to others, and what they share with them. */
import { describe, expect, test } from "vitest";
import { capLimits, DEFAULT_LIMITS } from "../../core/limits.ts";
import type { Program } from "../../program/program.ts";
import { planProgram } from "../../testing/operations.ts";
import { attentionGradientSpec, type AttentionOptions, attentionSpec, weightsShape } from "../../testing/specs.ts";

const limits = (workspaceBytes = 2 ** 28) => capLimits("test", DEFAULT_LIMITS, {}, workspaceBytes);
const plan = (options: AttentionOptions, workspaceBytes?: number) => planProgram("test", attentionSpec(options), limits(workspaceBytes));
const planBack = (options: AttentionOptions) => planProgram("test", attentionGradientSpec(attentionSpec(options)), limits());
const kernels = ({ dispatches }: Program) => dispatches.map(({ kernel }) => kernel.id);
const bytesOf = ({ buffers }: Program, name: string) => buffers.find((buffer) => buffer.name === name)?.bytes;

const SHAPE = { heads: 6, batch: 2, length: 40, headDim: 4, valueDim: 8 } as const;
const KINDS = [{ featureMap: "sikf" }, { featureMap: "favor+" }, { kind: "softmax" }] as const;

describe.each(KINDS)("%j", (kind) => {
  test("as many keys and heads of keys as of queries are nothing else than without", () => {
    const plain = { ...SHAPE, ...kind, bias: "fastrpb" } as const;
    expect(attentionSpec({ ...plain, keyLength: 40, keyHeads: 6 })).toEqual(attentionSpec(plain));
  });

  test("tensors have the keys' sizes", () => {
    const options = { ...SHAPE, ...kind, keyLength: 7, keyHeads: 2, bias: "fastrpb", keyMask: true } as const;
    expect(weightsShape(attentionSpec(options))).toEqual([6, 46]);
    const program = planBack(options);
    const names = ["q", "k", "v", "keyMask", "dOut", "dq", "dk", "dv", "dBias"];
    const keys = 2 * 2 * 7;
    const queries = 2 * 6 * 40;
    const numbers = [queries * 4, keys * 4, keys * 8, 2 * 7, queries * 8, queries * 4, keys * 4, keys * 8, 6 * 46];
    expect(names.map((name) => bytesOf(program, name))).toEqual(numbers.map((count) => 4 * count));
  });

  test("queries of a group that see the same keys are those of one head: nothing is copied", () => {
    const grouped = { ...SHAPE, ...kind, keyHeads: 2, keyLength: 64 } as const;
    const joined = { ...SHAPE, ...kind, heads: 2, length: 120, keyLength: 64 } as const;
    expect(plan(grouped).dispatches).toEqual(plan(joined).dispatches);
    expect(planBack(grouped).dispatches).toEqual(planBack(joined).dispatches);
  });

  test("others get copies of keys and values, and sums of their gradients", () => {
    const options = { ...SHAPE, ...kind, keyHeads: 3, causal: true } as const;
    const plain = { ...SHAPE, ...kind, causal: true } as const;
    const fit = "attention/fit-rows";
    expect(kernels(plan(options))).toEqual([fit, fit, ...kernels(plan(plain))]);
    expect(kernels(planBack(options))).toEqual([fit, fit, ...kernels(planBack(plain)), fit, fit]);
  });

  test("where copies find no room, that is said", () => {
    const options = { ...SHAPE, ...kind, keyHeads: 3, length: 4000, causal: true } as const;
    expect(() => plan(options, 2 ** 20)).toThrow(/keyLength or keyHeads, for copies of rows, takes .* workspaceBytes/);
  });

  test("a bias pads the shorter side, and cuts what is longer", () => {
    const [more, fewer] = [
      { ...SHAPE, ...kind, keyLength: 64, bias: "fastrpb" },
      { ...SHAPE, ...kind, keyLength: 7, bias: "fastrpb" },
    ] as const;
    const fits = (program: Program) =>
      program.dispatches.filter(({ kernel }) => kernel.id === "attention/fit-rows").map(({ kernel }) => kernel.label);
    expect(fits(plan(more))).toEqual(["rows of 8: 1 × 64 → 1 × 40"]);
    expect(fits(plan(fewer))).toEqual(["rows of 8: 1 × 7 → 1 × 40"]);
    expect(fits(planBack(more))).toEqual(["rows of 8: 1 × 40 → 1 × 64"]);
    expect(fits(planBack(fewer))).toEqual(["rows of 8: 1 × 7 → 1 × 40", "rows of 8: 1 × 40 → 1 × 7"]);
  });
});
