/**
 * Rows of heads as others want them: with more rows in a head, the last being zeros, or with fewer, the last being left out; and each head so many
 * times over, or one as the sum of so many:
 *
 *   out[u, h, n] = Σ_g rows[u, g, n], or 0 from FROM_ROWS on.
 *
 * Layout: rows [units, fromHeads, fromRows, width] → out [units, toHeads, toRows, width]. One lane per vector of a row, or number where rows are not
 * whole vectors. Bindings: 0 rows, 1 out; then params.
 */
import { type Kernel, makeKernel, type Precision } from "../wgsl/kernel.ts";
import { vectorElement } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface FitRowsKernelSpec {
  readonly lanes: number;
  /** Numbers of a row. */
  readonly width: number;
  readonly precision: Precision;
  /** Heads that are added up. */
  readonly fromHeads: number;
  /** Heads that get the same. */
  readonly toHeads: number;
  /** Rows of a head. */
  readonly fromRows: number;
  readonly toRows: number;
}

/** Lanes of a row. */
export function fittedLanes(width: number): number {
  return width % 4 === 0 ? width / 4 : width;
}

export function fitRowsKernel(spec: FitRowsKernelSpec): Kernel {
  const { width, precision, fromHeads, toHeads, fromRows, toRows } = spec;
  const element = vectorElement(width, precision);
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let place = index % (TO_ROWS * COLUMNS);
  let unit = index / (TO_ROWS * COLUMNS * ${u32(toHeads)});
  var value = ${element}();
  if (place < FROM_ROWS * COLUMNS) {
    for (var g = 0u; g < ${u32(fromHeads)}; g++) { value += rows[(unit * ${u32(fromHeads)} + g) * (FROM_ROWS * COLUMNS) + place - params.rowsBase]; }
  }
  out[index - params.outBase] = value;
`;
  return makeKernel({
    id: "attention/fit-rows",
    label: `rows of ${width}: ${fromHeads} × ${fromRows} → ${toHeads} × ${toRows}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "rows", access: "read", element },
      { name: "out", access: "read_write", element },
    ],
    params: ["count", "rowsBase", "outBase"],
    declarations: wgsl`const COLUMNS = ${u32(fittedLanes(width))};
const FROM_ROWS = ${u32(fromRows)};
const TO_ROWS = ${u32(toRows)};`,
    body,
  });
}
