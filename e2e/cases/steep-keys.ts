/** Causal linear attention where keys rise above the level that their tile is relative to, everywhere or here and there. */
import type { AttentionOptions } from "../../src/index.ts";
import {
  attend,
  ATTENTION_BOUND,
  type AttentionData,
  attendBackward,
  checkGradients,
  drawAttention,
  GRADIENT_BOUND,
  norm,
} from "./attention-harness.ts";
import { type Case, check, checkClose, together } from "./case.ts";

type Height = (row: number, d: number) => number;

/** The data with keys that are higher, by row and feature. */
export function withKeys(data: AttentionData, height: Height, headDim = 8): AttentionData {
  return { ...data, k: data.k.map((x, i) => x + height(Math.floor(i / headDim), i % headDim)) };
}

const ALL_TO_ONE = "steep in the first tile alone";
/** What is added to keys, so that some of them are above the others by more than a product of features can hold. */
const STEEP: Readonly<Record<string, Height>> = {
  "in steps of 60": (row) => 60 * Math.floor((row % 150) / 7),
  [ALL_TO_ONE]: (row, d) => (row % 150 === 9 && d === 2 ? 50 : 0),
  "steep in one tile, gentle in the others": (row, d) => (row % 150 >= 70 && row % 150 < 75 && d % 3 === 0 ? 90 : 0),
  "falling after the first of each tile": (row) => (row % 16 === 0 ? 100 : 0),
  "spread by ±80": (row, d) => 80 * Math.sin(row * row * (d + 1)),
  "just gentle, just steep": (row, d) => (row % 16 === 5 + (d % 7) ? 16 + (d % 8) : 0),
};
/** Rows of a chunk in one tile and, where devices have less room, in two; wide rows in smaller ones; and rows beyond a length. */
const STEEP_SIZES: readonly AttentionOptions[] = [
  { heads: 1, length: 150, headDim: 8, valueDim: 6, featureMap: "sikf", causal: true },
  { heads: 1, length: 100, headDim: 40, valueDim: 36, featureMap: "sikf", causal: true },
  { heads: 1, length: 80, headDim: 68, featureMap: "sikf", causal: true },
  { heads: 1, batch: 2, length: 150, headDim: 9, valueDim: 8, featureMap: "sikf", causal: true, variableLengths: true },
];

/** All keys of {@link STEEP}, of all these sizes. */
async function eachSteep(run: (options: AttentionOptions, data: AttentionData, what: string, name: string) => Promise<void>): Promise<void> {
  await together(STEEP_SIZES, async (options, i) => {
    const drawn = drawAttention(options, 95 + 10 * i);
    const data = options.variableLengths ? { ...drawn, lengths: [150, 77] } : drawn;
    for (const [name, height] of Object.entries(STEEP)) {
      await run(options, withKeys(data, height, options.headDim), `${JSON.stringify(options)}, keys ${name}, seed ${95 + 10 * i}`, name);
    }
  });
}

type Gradients = Awaited<ReturnType<typeof attendBackward>>;

/** Holds errors of gradients to 1e-6 of the gradient that comes in. */
export function checkBesideIncoming(actual: Gradients, expected: Gradients, { dOut }: AttentionData, what: string): void {
  for (const gradient of ["dq", "dk", "dv"] as const) {
    const error = norm(actual[gradient]!.map((x, i) => x - expected[gradient]![i]!)) / norm(dOut);
    check(error < 1e-6, `${what}: ${gradient} is off by ${error}`);
  }
}

/** Against the float64 CPU backend. */
export const steepCases: readonly Case[] = [
  {
    name: "steep keys, in some tiles or all, against the CPU",
    run: async (context) => {
      const [runtime, cpu] = [await context.runtime, await context.cpu];
      await eachSteep(async (options, data, what) => {
        checkClose(await attend(runtime, options, data), await attend(cpu, options, data), ATTENTION_BOUND, what);
      });
    },
  },
  {
    name: "values of 1e34 where keys are as high as they may be without being steep",
    run: async (context) => {
      const [runtime, cpu] = [await context.runtime, await context.cpu];
      const options = STEEP_SIZES[0]!;
      const data = withKeys(drawAttention(options, 94), (row) => (row % 50 === 20 ? 17 : 0));
      const vast = { ...data, v: data.v.map((x) => 1e34 * x) };
      checkClose(await attend(runtime, options, vast), await attend(cpu, options, vast), ATTENTION_BOUND, "values of 1e34, seed 94");
    },
  },
  {
    name: "steep keys, backward",
    run: async (context) => {
      const [runtime, cpu] = [await context.runtime, await context.cpu];
      await eachSteep(async (options, data, what, name) => {
        const [actual, expected] = [await attendBackward(runtime, options, data), await attendBackward(cpu, options, data)];
        // After a key that all rows attend to alone, next to nothing is left of what comes in.
        if (name === ALL_TO_ONE) checkBesideIncoming(actual, expected, data, what);
        else checkGradients(actual, expected, norm(data.dOut), GRADIENT_BOUND, what);
      });
    },
  },
];
