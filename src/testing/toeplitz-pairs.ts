/** Toeplitz products on the CPU against sums over all pairs of tokens. */
import { elementCount } from "../core/check.ts";
import type { ToeplitzSpec } from "../operations/toeplitz/spec.ts";
import { compute, computeAll } from "./compute.ts";
import { normals, relativeL2 } from "./random.ts";
import { expandWeights, foldWeights, toeplitzGradientReference, toeplitzReference } from "./reference.ts";
import { toeplitzGradientSpec, weightsShape } from "./specs.ts";

/**
 * The relative errors of the product of values, seed 1, and weights, seed 3, and of its gradients with that of the output, seed 2: beside those of the
 * table of all offsets that the weights stand for.
 */
export async function errorsOfPairs(spec: ToeplitzSpec): Promise<Readonly<Record<"out" | "dv" | "dWeights", number>>> {
  const rows = spec.batch * spec.heads * spec.length * spec.channels;
  const [v, dOut, weights] = [normals(1, rows), normals(2, rows), normals(3, elementCount(weightsShape(spec)))];
  const table = expandWeights(spec, weights);
  const { dv, dWeights } = await computeAll(toeplitzGradientSpec(spec), { v, dOut, weights }, ["dv", "dWeights"]);
  const expected = toeplitzGradientReference(spec, { v, dOut, weights: table });
  return {
    out: relativeL2(await compute(spec, { v, weights }), toeplitzReference(spec, v, table)),
    dv: relativeL2(dv, expected.dv),
    dWeights: relativeL2(dWeights, foldWeights(spec, weights.length, expected.dWeights)),
  };
}
