/** The sums of the columns of a matrix: `x` [rows, columns] → `out` [columns]. */
export interface ColumnSumsSpec {
  readonly operation: "columnSums";
  readonly rows: number;
  readonly columns: number;
}

export function columnSumsSpec({ rows, columns }: Omit<ColumnSumsSpec, "operation">): ColumnSumsSpec {
  return Object.freeze({ operation: "columnSums", rows, columns });
}
