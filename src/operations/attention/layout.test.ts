/** What tensors in another order cost: nothing. */
import { describe, expect, test } from "vitest";
import { limitsWith } from "../../testing/planning.ts";
import { planProgram } from "../../testing/operations.ts";
import { programComplaints } from "../../testing/programs.ts";
import { attentionGradientSpec, type AttentionOptions, attentionSpec } from "../../testing/specs.ts";
import type { Program } from "../../program/program.ts";
import type { AttentionLayout } from "./layout.ts";

const SHAPES = [
  { heads: 3, batch: 2, length: 300, headDim: 64, valueDim: 32 },
  { heads: 3, batch: 2, length: 77, headDim: 5, valueDim: 7 },
  { heads: 1, length: 1, headDim: 4 },
] as const;

const KINDS = [
  { featureMap: "sikf", bias: "fastrpb" },
  { featureMap: "elu+1", variableLengths: true },
  { featureMap: "softmax" },
  { featureMap: "favor+" },
  { featureMap: "dpfp" },
  { featureMap: "sikf", keyMask: true },
  { featureMap: "sikf", causal: true, bias: "fastrpb", outside: { first: 1, last: 0 } },
  { featureMap: "softmax", causal: true },
  { featureMap: "favor+", causal: true },
  { kind: "softmax", bias: "fastrpb" },
  { kind: "softmax", causal: true, keyMask: true },
  { kind: "softmax", bias: "logits" },
  { featureMap: "sikf", keyLength: 90, keyMask: true },
  { featureMap: "elu+1", keyHeads: 1 },
  { kind: "softmax", keyHeads: 1, keyLength: 500 },
  { featureMap: "sikf", bias: "fastrpb", keyLength: 400 },
  { featureMap: "sikf", bias: "fastrpb", keyLength: 40 },
  { featureMap: "sikf", causal: true, keyHeads: 1 },
] as const;

/** What each dispatch is, and moves in all: a gradient that is in one buffer with others counts with them. Copies have other rows, but as many bytes. */
function work(program: Program) {
  return program.dispatches.map(({ label, bytesRead, bytesWritten, workgroups }) => ({
    label: label.replace(/^(rows of \d+:) .*/, "$1"),
    bytesRead,
    bytesWritten,
    workgroups,
  }));
}

describe("tensors by token, or packed", () => {
  test.each(KINDS.map((kind) => [JSON.stringify(kind), kind] as const))(
    "%s: the same dispatches, bytes and scratch as head by head",
    (_name, kind) => {
      for (const shape of SHAPES) {
        if ("outside" in kind && shape.length < 2) continue;
        const layouts = ["bhnd", "bnhd", ...("keyLength" in kind || "keyHeads" in kind ? [] : ["packed"])] as AttentionLayout[];
        const programs = layouts.map((layout) => {
          const spec = attentionSpec({ ...shape, ...kind, layout } as AttentionOptions);
          return [spec, attentionGradientSpec(spec)].map((each) => planProgram("test", each, limitsWith()));
        });
        for (const [forward, backward] of programs.slice(1)) {
          expect(work(forward!)).toEqual(work(programs[0]![0]!));
          expect(work(backward!)).toEqual(work(programs[0]![1]!));
          expect(forward!.cost).toEqual(programs[0]![0]!.cost);
          expect(backward!.cost).toEqual(programs[0]![1]!.cost);
          for (const program of [forward!, backward!]) {
            expect(programComplaints(program, limitsWith())).toEqual([]);
            for (const { label, bindings } of program.dispatches) {
              const written = bindings.filter(({ bytesWritten }) => bytesWritten > 0).map(({ buffer }) => buffer);
              for (const buffer of written)
                expect(
                  bindings.filter((binding) => binding.buffer === buffer),
                  `${label}: ${buffer}`,
                ).toHaveLength(1);
            }
          }
        }
      }
    },
  );

  test("a tensor that is larger than a binding is refused", () => {
    const options = { heads: 4, length: 1000, headDim: 64, featureMap: "sikf" } as const;
    const limits = limitsWith({ maxStorageBufferBindingSize: 2 ** 19 });
    expect(planProgram("test", attentionSpec(options), limits).dispatches.length).toBeGreaterThan(0);
    for (const layout of ["bnhd", "packed"] as const) {
      expect(() => planProgram("test", attentionSpec({ ...options, layout }), limits)).toThrow(/maxStorageBufferBindingSize/);
    }
  });
});
