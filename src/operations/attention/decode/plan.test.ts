import { describe, expect, test } from "vitest";
import { DEFAULT_LIMITS, capLimits } from "../../../core/limits.ts";
import { createRuntime } from "../../../index.ts";
import { normals, relativeL2 } from "../../../testing/random.ts";
import { planProgram, task } from "../../operation.ts";
import { decode } from "./operation.ts";
import { blocksOf, type DecoderOptions, decodeSpec, decoderShape, stagesOf } from "./spec.ts";

const LIMITS = capLimits("test", DEFAULT_LIMITS, {}, 2 ** 28);

function shapeOf(options: Partial<DecoderOptions> = {}) {
  return decoderShape({ heads: 8, length: 65536, headDim: 64, featureMap: "sikf", bias: "fastrpb", ...options });
}

function programOf(position: number, tokens: number, options: Partial<DecoderOptions> = {}) {
  const shape = shapeOf(options);
  return planProgram("test", task(decode, decodeSpec(shape, tokens, stagesOf(shape, position, tokens))), LIMITS);
}

describe("decoding", () => {
  test("every pair of tokens is met once: by the step within a block, else by one block product", () => {
    const length = 700;
    const met = Array.from({ length }, () => new Uint8Array(length));
    let position = 0;
    for (const { tokens, block } of stagesOf(shapeOf({ length }), 0, length)) {
      for (let i = position; i < position + tokens; i++) for (let j = i - (i % 64); j <= i; j++) met[i]![j]!++;
      position += tokens;
      for (let i = position; i < Math.min(position + block, length); i++) for (let j = position - block; j < position; j++) met[i]![j]!++;
    }
    expect(position).toBe(length);
    for (let i = 0; i < length; i++)
      expect(
        met[i]!.every((times, j) => times === (j <= i ? 1 : 0)),
        `token ${i}`,
      ).toBe(true);
  });

  test("stages are the same however the tokens come", () => {
    const shape = shapeOf({ length: 1000 });
    const blocks = (parts: readonly number[]) => {
      let position = 0;
      return parts.flatMap((tokens) => {
        const stages = stagesOf(shape, position, tokens);
        position += tokens;
        return stages.map(({ block }) => block).filter((block) => block > 0);
      });
    };
    const whole = blocks([1000]);
    expect(whole).toHaveLength(15);
    expect(new Set(whole)).toEqual(new Set(blocksOf(shape).filter((block) => block < 1000)));
    expect(blocks(Array.from({ length: 1000 }, () => 1))).toEqual(whole);
    expect(blocks([63, 2, 500, 1, 434])).toEqual(whole);
  });

  test("a token is one dispatch, and four to eight where a block ends", () => {
    const length = 16384;
    expect(programOf(5, 1, { length }).dispatches).toHaveLength(1);
    expect(programOf(5, 1, { length, bias: "none" }).dispatches).toHaveLength(1);
    expect(programOf(63, 1, { length }).dispatches).toHaveLength(4);
    expect(programOf(8191, 1, { length }).dispatches.length).toBeLessThanOrEqual(8);
  });

  test("operations of a token grow with log² N at most", () => {
    const flops = [1024, 4096, 16384, 65536].map((length) => {
      const [biased, plain] = (["fastrpb", "none"] as const).map((bias) => programOf(0, length, { length, bias }).cost.flops);
      return (biased! - plain!) / length / Math.log2(length) ** 2;
    });
    expect(flops[1]!).toBeLessThan(1.1 * flops[0]!);
    expect(flops[2]!).toBeLessThan(1.1 * flops[1]!);
    expect(flops[3]!).toBeLessThan(1.1 * flops[2]!);
  });

  test("on the CPU, 20,000 tokens are right at every one", async () => {
    const runtime = await createRuntime({ backend: "cpu" });
    const options = { heads: 1, length: 20000, headDim: 3, featureMap: "elu+1", bias: "fastrpb" } as const;
    const rows = (seed: number) => runtime.tensor(normals(seed, 60000), [1, 1, 20000, 3]);
    const [q, k, v] = [rows(1), rows(2), rows(3)];
    const bias = runtime.tensor(normals(4, 39999), [1, 39999]);
    const decoder = await runtime.decoder(options);
    decoder.start({ bias });
    const out = await decoder.step({ q, k, v }).data();
    const expected = await (await runtime.attention({ ...options, causal: true })).run({ q, k, v, bias }).data();
    expect(relativeL2(out, expected)).toBeLessThan(3e-7);
    const norm = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / options.length);
    for (let i = 0; i < 60000; i++) expect(Math.abs(out[i]! - expected[i]!)).toBeLessThan(1e-5 * norm);
    runtime.dispose();
  });
});
