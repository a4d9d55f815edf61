/** Kernels over columns of FFTs that workgroups hold. */
import type { StockhamShape } from "../../../shaders/fft/stockham.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { DispatchRequest, ProgramBuilder } from "../../program/builder.ts";
import { TableLayout } from "../../program/tables.ts";
import { chooseShape, type ShapeRequest } from "./stockham.ts";

/** The transform of a column in a workgroup, and the tables of its kernel: twiddles, and what is added to them. */
export interface ColumnTransform {
  readonly shape: StockhamShape;
  /** Offsets of each axis's twiddles in the tables. */
  readonly twiddles: readonly number[];
  readonly tables: TableLayout;
}

/** The transform of a column, or `undefined` where it does not fit into one workgroup of this device. */
export function columnTransform(request: ShapeRequest, limits: PlannerLimits): ColumnTransform | undefined {
  const shape = chooseShape(request, limits);
  const tables = new TableLayout(limits);
  return shape && { shape, twiddles: tables.twiddles(shape.axes, shape.fused), tables };
}

/** Adds a kernel over so many columns, with the parameter `columns` and the binding `tables`. */
export function addColumns(
  program: ProgramBuilder,
  { shape, tables }: ColumnTransform,
  columns: number,
  request: Pick<DispatchRequest, "kernel" | "params" | "uses" | "flops">,
): void {
  program.dispatch({
    ...request,
    groups: Math.ceil(columns / shape.columns),
    params: { columns, ...request.params },
    uses: { ...request.uses, tables: { buffer: program.table(tables.parts) } },
  });
}
