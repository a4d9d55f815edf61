/**
 * The accuracy of every length from 2 to 4096, of 200 up to 2^20 and of the longest, in Node with Dawn; hours on a software GPU, hence not a
 * part of `npm test`.
 *
 *   npm run test:long                          everything
 *   npm run test:long -- -t "to 1024"          a part
 *   LENGTHS=2,360,4099 npm run test:long -- -t "named"
 */
import { afterEach, describe, expect, test } from "vitest";
import { random } from "../../src/testing/random.ts";
import { CaseContext } from "../cases/case.ts";
import { type Accuracy, BOUNDS, checkTransform, classOf, type LengthClass, type Transform } from "../cases/transform.ts";
import { dawn } from "../dawn/gpu.ts";

/** Points per check, so that the norm is an average also for short transforms. */
const POINTS = 65536;
/** Lengths of a test: each has a device of its own, so that pipelines do not pile up. */
const GROUP = 64;
/** At a time: pipelines compile side by side. */
const PARALLEL = 8;

const context = new CaseContext(dawn());
const worst = new Map<LengthClass, Accuracy>();

/** So far: whoever stops before the end has something to read. */
afterEach(() => {
  for (const [name, { points, c }] of worst) console.log(`${name}: worst c = ${c.toFixed(3)} at ${points}, ${BOUNDS[name]} allowed`);
});

/** Forward and inverse by turns, unscaled: a factor would round once more. */
function transformOf(length: number): Transform {
  return {
    shape: [Math.max(1, Math.floor(POINTS / length)), length],
    direction: length % 2 === 0 ? "forward" : "inverse",
    norm: length % 2 === 0 ? "backward" : "forward",
  };
}

async function checkAll(transforms: readonly Transform[]): Promise<void> {
  const runtime = await context.open();
  const failures: string[] = [];
  const queue = [...transforms.entries()];
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [seed, transform] = next;
      try {
        const accuracy = await checkTransform(runtime, transform, seed);
        const name = classOf(accuracy.points);
        if (!(accuracy.c <= (worst.get(name)?.c ?? 0))) worst.set(name, accuracy);
        if (process.env["LENGTHS"]) console.log(accuracy.message);
      } catch (error) {
        failures.push(String(error));
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: PARALLEL }, worker));
  } finally {
    runtime.dispose();
  }
  expect(failures).toEqual([]);
}

describe("every length", () => {
  for (let first = 2; first <= 4096; first += GROUP) {
    const lengths = Array.from({ length: Math.min(GROUP, 4097 - first) }, (_, i) => first + i);
    test(`${first} to ${lengths.at(-1)}`, () => checkAll(lengths.map(transformOf)));
  }
});

describe("200 lengths up to 2^20, seed 24", () => {
  const uniform = random(24);
  const lengths = Array.from({ length: 200 }, () => Math.floor(4097 * (2 ** 20 / 4097) ** uniform()));
  for (let first = 0; first < lengths.length; first += 20) {
    test(`lengths ${first} to ${first + 19}`, () => checkAll(lengths.slice(first, first + 20).map(transformOf)));
  }
});

describe("the longest", () => {
  test.each([22, 24])("2^%i", (bits) => checkAll([{ shape: [2 ** bits] }]));
});

test.runIf(process.env["LENGTHS"])("named", () => checkAll(process.env["LENGTHS"]!.split(",").map((length) => transformOf(Number(length)))));
