/** Curves that stand in for learned FastRPB weights: `w[d + N − 1]` is the weight of the token `d = j − i` places further on. */
import { DIGIT_PIXELS, DIGIT_WIDTH, type Source } from "./data.ts";

export type CurveName = "decay" | "window" | "periodic" | "back";

interface Curve {
  readonly title: string;
  readonly note: string;
  /** Weight at offset `d`, before scaling. `reach` is how far the head looks, in tokens. */
  at(d: number, reach: number, period: number): number;
}

export const CURVES: Readonly<Record<CurveName, Curve>> = {
  decay: {
    title: "Decay with distance",
    note: "Near tokens count most, on both sides alike.",
    at: (d, reach) => Math.exp(-Math.abs(d) / reach),
  },
  window: {
    title: "Local window",
    note: "Every token within reach counts the same, the others not at all.",
    at: (d, reach) => (Math.abs(d) <= reach ? 1 : 0),
  },
  periodic: {
    title: "Periodic",
    note: "Tokens a whole number of periods away count for, those in between against. For digits the period is one row of pixels, or one digit where there are several.",
    at: (d, reach, period) => Math.cos((2 * Math.PI * d) / period) * Math.exp(-Math.abs(d) / (4 * Math.max(reach, period))),
  },
  back: {
    title: "Look back",
    note: "Only earlier tokens count, near ones most: the matrix is not symmetric.",
    at: (d, reach) => (d <= 0 ? Math.exp(d / reach) : 0),
  },
};

interface BiasRecipe {
  readonly curve: CurveName;
  readonly heads: number;
  readonly length: number;
  readonly source: Source;
}

/** Weights `[heads, 2N − 1]`. Each head looks √2 times as far as the one before; absolute weights sum to 1 in every head. */
export function biasWeights(recipe: BiasRecipe): Float32Array {
  const { heads, length } = recipe;
  const curve = CURVES[recipe.curve];
  const period = periodFor(recipe.source, length);
  const offsets = 2 * length - 1;
  const weights = new Float32Array(heads * offsets);
  for (let head = 0; head < heads; head++) {
    const reach = reachOf(head, length);
    const row = weights.subarray(head * offsets, (head + 1) * offsets);
    let sum = 0;
    for (let i = 0; i < offsets; i++) {
      row[i] = curve.at(i - (length - 1), reach, period);
      sum += Math.abs(row[i]!);
    }
    for (let i = 0; i < offsets; i++) row[i]! /= sum;
  }
  return weights;
}

export function reachOf(head: number, length: number): number {
  return (length / 64) * Math.SQRT2 ** head;
}

export function periodFor(source: Source, length: number): number {
  const wanted = length / 32;
  if (source === "novel") return wanted;
  if (length <= 2 * DIGIT_PIXELS) return DIGIT_WIDTH;
  return DIGIT_PIXELS * Math.max(1, Math.round(wanted / DIGIT_PIXELS));
}
