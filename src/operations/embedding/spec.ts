/** Rows of a table by their indices: `indices`, `table` → `out`. */
export interface EmbeddingSpec {
  readonly operation: "embedding";
  readonly tokens: number;
  /** Rows of the table, and numbers of each. */
  readonly count: number;
  readonly width: number;
}

/** The gradient of the table: `indices`, `dOut` → `dTable`. */
export interface EmbeddingGradientSpec extends Omit<EmbeddingSpec, "operation"> {
  readonly operation: "embeddingGradient";
}

export function embeddingSpec({ tokens, count, width }: Omit<EmbeddingSpec, "operation">): EmbeddingSpec {
  return Object.freeze({ operation: "embedding", tokens, count, width });
}
