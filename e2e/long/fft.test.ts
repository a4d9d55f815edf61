/**
 * The accuracy of every length from 2 to 4096, of 200 up to 2^20 and of the longest, in Node with Dawn; hours on a software GPU, hence not a
 * part of `npm test`. On a machine with a GPU alone, `e2e/dawn/command.ts` runs the same.
 *
 *   npm run test:long                          everything
 *   npm run test:long -- -t "to 1025"          a part
 *   LENGTHS=2,360,4099 npm run test:long -- -t "named"
 */
import { afterEach, describe, expect, test } from "vitest";
import { CaseContext } from "../cases/case.ts";
import type { Transform } from "../cases/transform.ts";
import { dawn } from "../dawn/gpu.ts";
import { checkAll, drawnLengths, everyLength, longest, transformOf, type Worst, worstLines } from "./sweep.ts";

const context = new CaseContext(dawn());
const worst: Worst = new Map();
const named = process.env["LENGTHS"];

/** So far: whoever stops before the end has something to read. */
afterEach(() => {
  for (const line of worstLines(worst)) console.log(line);
});

async function expectAccurate(transforms: readonly Transform[]): Promise<void> {
  const failures = await checkAll(context, transforms, worst, named ? (message) => console.log(message) : undefined);
  expect(failures.map(({ error }) => String(error))).toEqual([]);
}

describe("every length", () => {
  for (const { name, transforms } of everyLength()) test(name, () => expectAccurate(transforms));
});

describe("200 lengths up to 2^20, seed 24", () => {
  for (const { name, transforms } of drawnLengths()) test(name, () => expectAccurate(transforms));
});

describe("the longest", () => {
  for (const { name, transforms } of longest()) test(name, () => expectAccurate(transforms));
});

test.runIf(named)("named", () => expectAccurate(named!.split(",").map((length) => transformOf(Number(length)))));
