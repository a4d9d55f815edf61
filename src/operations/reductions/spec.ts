/** The sums of the columns of matrices: `x` [matrices, rows, columns] → `out` [matrices, columns]. */
export interface ColumnSumsSpec {
  readonly operation: "columnSums";
  readonly matrices: number;
  readonly rows: number;
  readonly columns: number;
}

/** One matrix, unless there is a number of them. */
export function columnSumsSpec({
  matrices = 1,
  rows,
  columns,
}: { readonly matrices?: number } & Pick<ColumnSumsSpec, "rows" | "columns">): ColumnSumsSpec {
  return Object.freeze({ operation: "columnSums", matrices, rows, columns });
}
