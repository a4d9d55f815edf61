import { describe, expect, test } from "vitest";
import fixtures from "../../testing/fixtures/nn-dropout.json" with { type: "json" };
import { runNodes, runTask, slopeErrors } from "../../testing/nodes.ts";
import { LIMIT_SETS } from "../../testing/planning.ts";
import { programComplaints } from "../../testing/programs.ts";
import { normals } from "../../testing/random.ts";
import { planProgram, task } from "../operation.ts";
import { dropout } from "./operation.ts";
import { dropoutSpec, keepThreshold } from "./spec.ts";

const dropoutTask = (size: number, rate: number, site = 0) => task(dropout, dropoutSpec({ size, rate, site }));

async function maskOf(size: number, rate: number, site: number, clock: readonly number[]): Promise<number[]> {
  const { out } = await runTask(dropoutTask(size, rate, site), { x: new Float64Array(size).fill(1), clock: Uint32Array.from(clock) });
  return Array.from(out!, (value) => (value === 0 ? 0 : 1));
}

test.each(fixtures.masks)("as in Python: $size at $rate, site $site", async ({ size, rate, site, low, high, step, mask }) => {
  expect(await maskOf(size, rate, site, [low, high, step, 0])).toEqual(mask);
});

test("what is kept is scaled; at a rate of 0 all is", async () => {
  const x = Float64Array.from(normals(1, 21));
  const clock = Uint32Array.of(5, 0, 6, 0);
  const { out } = await runTask(dropoutTask(21, 0.25), { x, clock });
  for (const [i, value] of out!.entries()) if (value !== 0) expect(value).toBe(x[i]! * (1 / 0.75));
  expect((await runTask(dropoutTask(21, 0), { x, clock }))["out"]).toEqual(x);
  expect(keepThreshold(0.5)).toBe(2 ** 31);
  expect(keepThreshold(1 - 2 ** -40)).toBe(2 ** 32 - 1);
});

test("the share that is kept, and no correlation of steps and sites", async () => {
  const size = 1 << 16;
  for (const rate of [0.1, 0.5, 0.9]) {
    const masks = await Promise.all([maskOf(size, rate, 0, [1, 0, 0, 0]), maskOf(size, rate, 0, [1, 0, 1, 0]), maskOf(size, rate, 1, [1, 0, 0, 0])]);
    const keep = 1 - rate;
    for (const mask of masks) expect(Math.abs(sum(mask) - keep * size)).toBeLessThan(4 * Math.sqrt(keep * rate * size));
    const pairs = [
      [masks[0]!, masks[1]!],
      [masks[0]!, masks[2]!],
      [masks[1]!, masks[2]!],
      ...[1, 4, 64].map((shift) => [masks[0]!, [...masks[0]!.slice(shift), ...masks[0]!.slice(0, shift)]]),
    ] as const;
    for (const [a, b] of pairs) {
      const both = sum(a.map((kept, i) => kept * b![i]!));
      expect(Math.abs(both - keep ** 2 * size)).toBeLessThan(4.5 * Math.sqrt(keep ** 2 * (1 - keep ** 2) * size));
    }
  }
});

test("the gradient is a slope, with the same mask", async () => {
  const given = { x: Float64Array.from(normals(1, 37)), clock: Uint32Array.of(1, 2, 3, 0) };
  expect((await slopeErrors(dropoutTask(37, 0.4, 3), given, ["x"]))["x"]).toBeLessThan(1e-8);
  const { nodes, gradients } = dropout.backward!(dropoutSpec({ size: 37, rate: 0.4, site: 3 }), ["x"]);
  const { dX } = await runNodes(nodes, { dOut: given.x, clock: given.clock });
  expect(gradients).toEqual({ x: "dX" });
  expect(dX).toEqual((await runTask(dropoutTask(37, 0.4, 3), given))["out"]);
});

describe.each(Object.entries(LIMIT_SETS))("plans, %s", (_name, limits) => {
  test("hold what all programs hold, and move each number once", () => {
    for (const size of [1, 3, 4, 1000, 300_000, 300_001]) {
      const program = planProgram("test", dropoutTask(size, 0.1), limits);
      expect(programComplaints(program, limits), `${size}`).toEqual([]);
      expect(program.cost.bytesMoved - 12 * program.dispatches.length).toBe(8 * size);
    }
  });
});

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
