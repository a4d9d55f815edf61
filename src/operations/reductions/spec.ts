/** The sums of the columns of matrices: `x` [matrices, rows, columns] → `out` [matrices, columns]. */
export interface ColumnSumsSpec {
  readonly operation: "columnSums";
  readonly matrices: number;
  readonly rows: number;
  readonly columns: number;
}

/** @param options.matrices one where it is left out */
export function columnSumsSpec({ matrices = 1, rows, columns }: { matrices?: number; rows: number; columns: number }): ColumnSumsSpec {
  return Object.freeze({ operation: "columnSums", matrices, rows, columns });
}
