/** What peers need to build the transformer of the training rows in their own idiom. */
import type { TrainingRow } from "../measure/rows.ts";

/** Shapes of its parameters, by their names; rows of a weight are outputs. */
export function parameterShapes({
  layers,
  width,
  heads,
  feedForward,
  side,
  tokens,
  classes,
}: TrainingRow): Readonly<Record<string, readonly number[]>> {
  const linear = (name: string, inputs: number, outputs: number) => ({ [`${name}.weight`]: [outputs, inputs], [`${name}.bias`]: [outputs] });
  const norm = (name: string) => ({ [`${name}.weight`]: [width], [`${name}.bias`]: [width] });
  const layer = (name: string) => ({
    ...norm(`${name}.norm1`),
    ...linear(`${name}.attention.q`, width, width),
    ...linear(`${name}.attention.k`, width, width),
    ...linear(`${name}.attention.v`, width, width),
    [`${name}.attention.relative.weight`]: [heads, 2 * side - 1, 2 * side - 1],
    ...linear(`${name}.attention.out`, width, width),
    ...norm(`${name}.norm2`),
    ...linear(`${name}.feedForward.0`, width, feedForward),
    ...linear(`${name}.feedForward.1`, feedForward, width),
  });
  const all = Array.from({ length: layers }, (_, i) => layer(`layers.${i}`));
  return { "embed.weight": [tokens, width], ...Object.assign({}, ...all), ...norm("norm"), ...linear("head", width, classes) };
}

/**
 * Ones where the distance of two places on an axis is that of a column: [side², 2·side − 1], the row of places i and j at i·side + j. Products with it from
 * both sides make of a table of weights a matrix of all pairs, and of its gradient that of the table, without gathering and scattering.
 */
export function distanceSelection(side: number): Float32Array {
  const columns = 2 * side - 1;
  const ones = new Float32Array(side * side * columns);
  for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) ones[(i * side + j) * columns + j - i + side - 1] = 1;
  return ones;
}
