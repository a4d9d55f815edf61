/** Feature maps that a {@link RowState} computes: `"exponential"` relative to a running maximum, the others as they are. */
export type RowFeatures = "exponential" | "elu+1" | "relu";

/** φ(x) of a map without a reference. */
export function plainFeature(features: "elu+1" | "relu", x: number): number {
  if (x > 0) return features === "relu" ? x : x + 1;
  return features === "relu" ? 0 : Math.exp(x);
}

/**
 * Whether a denominator counts as zero. Below 1e-290 features of `"elu+1"` have underflowed, and the gradients, which are divided by it, would
 * not be finite.
 */
export function isNothing(denominator: number): boolean {
  return Math.abs(denominator) < 1e-290;
}

/** φ′ in terms of φ. */
export function featureSlope(features: RowFeatures, feature: number): number {
  if (features === "exponential") return feature;
  return features === "relu" ? (feature > 0 ? 1 : 0) : Math.min(feature, 1);
}

/**
 * Running sums over rows: z_d = Σ_j φ(x_jd) a_j and s_de = Σ_j φ(x_jd) b_j y_je. Exponentials are relative to exp(m_d), m_d the largest x_jd
 * so far: where that rises, the sums are scaled, as in online softmax.
 */
export class RowState {
  readonly features: RowFeatures;
  readonly dim: number;
  readonly valueDim: number;
  /** m; zero for maps without a reference. */
  readonly reference: Float64Array;
  /** z */
  readonly sum: Float64Array;
  /** s: [dim, valueDim] */
  readonly products: Float64Array;

  constructor(features: RowFeatures, dim: number, valueDim: number) {
    this.features = features;
    this.dim = dim;
    this.valueDim = valueDim;
    this.reference = new Float64Array(dim);
    this.sum = new Float64Array(dim);
    this.products = new Float64Array(dim * valueDim);
  }

  reset(): void {
    this.reference.fill(this.features === "exponential" ? -Infinity : 0);
    this.sum.fill(0);
    this.products.fill(0);
  }

  /** Adds row `row` of x: [·, dim] less `shift`, and of y: [·, valueDim]. */
  add(row: number, x: Float64Array, shift: number, y: Float64Array, a: number, b: number): void {
    const { features, dim, valueDim, reference, sum, products } = this;
    for (let d = 0; d < dim; d++) {
      const value = x[row * dim + d]! - shift;
      let feature: number;
      if (features === "exponential") {
        if (value > reference[d]!) this.#raise(d, value);
        feature = Math.exp(value - reference[d]!);
      } else feature = plainFeature(features, value);
      sum[d]! += feature * a;
      const weight = feature * b;
      for (let e = 0, at = d * valueDim, from = row * valueDim; e < valueDim; e++) products[at + e]! += weight * y[from + e]!;
    }
  }

  #raise(d: number, value: number): void {
    const { valueDim, reference, sum, products } = this;
    const factor = Math.exp(reference[d]! - value);
    reference[d] = value;
    sum[d]! *= factor;
    for (let e = 0, at = d * valueDim; e < valueDim; e++) products[at + e]! *= factor;
  }
}
