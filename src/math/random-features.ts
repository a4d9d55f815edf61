import { random } from "./random.ts";

/**
 * Orthogonal random features (Choromanski et al. 2020): [count, dim], in blocks of `dim` rows that are orthogonal to one another, each with
 * the length of a Gaussian vector of its own. The same for the same seed, on every machine.
 */
export function orthogonalFeatures(count: number, dim: number, seed: number): Float64Array {
  const normal = normals(seed);
  const features = new Float64Array(count * dim);
  for (let first = 0; first < count; first += dim) {
    // A whole block, also where only some of its rows are wanted.
    const block = Float64Array.from({ length: dim * dim }, normal);
    orthonormalise(block, dim);
    for (let r = 0; r < dim && first + r < count; r++) {
      const length = Math.hypot(...Array.from({ length: dim }, normal));
      for (let d = 0; d < dim; d++) features[(first + r) * dim + d] = length * block[r * dim + d]!;
    }
  }
  return features;
}

/** Standard normal numbers: Box–Muller on mulberry32. */
function normals(seed: number): () => number {
  const uniform = random(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Modified Gram–Schmidt of the rows, twice: once leaves a part in proportion to the condition of the block. */
function orthonormalise(rows: Float64Array, dim: number): void {
  for (let r = 0; r < dim; r++) {
    const row = rows.subarray(r * dim, (r + 1) * dim);
    for (let pass = 0; pass < 2; pass++) {
      for (let before = 0; before < r; before++) {
        const other = rows.subarray(before * dim, (before + 1) * dim);
        const part = row.reduce((sum, x, d) => sum + x * other[d]!, 0);
        for (let d = 0; d < dim; d++) row[d]! -= part * other[d]!;
      }
    }
    const length = Math.hypot(...row);
    for (let d = 0; d < dim; d++) row[d]! /= length;
  }
}

/**
 * {@link orthogonalFeatures} times √scale as float32 rows filled up with zeros: [dim, width] on the way to features, [count, width] on the way
 * back to rows.
 */
export function featureRows(
  features: { readonly count: number; readonly dim: number; readonly seed: number; readonly scale: number; readonly to: "features" | "rows" },
  width: number,
): Float32Array {
  const { count, dim, seed, scale, to } = features;
  const numbers = orthogonalFeatures(count, dim, seed);
  const rows = new Float32Array((to === "features" ? dim : count) * width);
  for (let r = 0; r < count; r++) {
    for (let d = 0; d < dim; d++) rows[to === "features" ? d * width + r : r * width + d] = Math.sqrt(scale) * numbers[r * dim + d]!;
  }
  return rows;
}
