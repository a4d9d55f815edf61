/**
 * Features of DPFP, the deterministic parameter-free projection (Schlag, Irie and Schmidhuber 2021), and the way back from them. With
 * x′ = [max(x, 0), max(−x, 0)], 2D numbers whose indices count modulo 2D, and j from 1 to ν:
 *
 *   φ_(j,i) = x′_i x′_{i−j}
 *   dx′_i = Σ_j (dφ_(j,i) x′_{i−j} + dφ_(j,i+j) x′_{i+j}),   dx_d = dx′_d where x_d > 0, −dx′_{D+d} where x_d < 0, else 0
 *
 * Layout: rows [B·H·N, D], gradients [B·H·N, 2Dν], out [B·H·N, 2Dν] or, of the way back, [B·H·N, D]. One lane per number of x′, which then makes
 * its ν features, or of x.
 * Bindings: 0 rows, 1 out, 2 gradients on the way back; then params.
 */
import { type Kernel, loaded, makeKernel, type Precision } from "../wgsl/kernel.ts";
import { type RowStrides, rowStart, type Strided } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface DpfpKernelSpec extends Strided {
  readonly lanes: number;
  /** Numbers of a row, `D`. */
  readonly headDim: number;
  /** `ν`, from 1 to 2D − 1. */
  readonly nu: number;
  /** What is made: features of rows, or gradients of rows from those of their features. */
  readonly to: "features" | "rows";
  /** How the rows are stored. */
  readonly precision: Precision;
}

export function dpfpKernel(spec: DpfpKernelSpec): Kernel {
  const { headDim, nu, precision, strides = {} } = spec;
  const start = (places?: RowStrides) => (places ? rowStart("row", headDim, places, 1) : "row * D");
  const back = spec.to === "rows";
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
#if ${back}
  let row = params.firstRow + index / D;
  let d = index % D;
  let x = number(row, d);
  let i = select(d, D + d, x < 0.0);
  var sum = 0.0;
  for (var j = 1u; j <= NU; j++) {
    let features = (row * NU + j - 1u) * PARTS - params.gradientsBase;
    let after = (i + j) % PARTS;
    sum += share(gradients[features + i], part(row, (i + PARTS - j) % PARTS)) + share(gradients[features + after], part(row, after));
  }
  out[${start(strides["out"])} + d - params.outBase] = select(select(sum, -sum, x < 0.0), 0.0, x == 0.0);
#else
  let row = params.firstRow + index / PARTS;
  let i = index % PARTS;
  let x = part(row, i);
  for (var j = 1u; j <= NU; j++) {
    out[(row * NU + j - 1u) * PARTS + i - params.outBase] = x * part(row, (i + PARTS - j) % PARTS);
  }
#endif
`;
  return makeKernel({
    id: "attention/dpfp",
    label: `DPFP ${headDim}, ν = ${nu}${back ? ", backward" : ""}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "rows", access: "read", element: precision },
      { name: "out", access: "read_write", element: "f32" },
      ...(back ? [{ name: "gradients", access: "read", element: "f32" } as const] : []),
    ],
    params: ["count", "firstRow", "rowsBase", "outBase", ...(back ? ["gradientsBase"] : [])],
    declarations: wgsl`const D = ${u32(headDim)};
const PARTS = ${u32(2 * headDim)}; // numbers of x′
const NU = ${u32(nu)};
fn number(row: u32, d: u32) -> f32 { return ${loaded(precision, `rows[${start(strides["rows"])} + d - params.rowsBase]`)}; }
fn part(row: u32, i: u32) -> f32 {
  let x = number(row, i % D);
  return max(select(-x, x, i < D), 0.0);
}
#if ${back}
// Beyond the length of a sequence rows may be NaN, and gradients are 0.
fn share(gradient: f32, x: f32) -> f32 { return select(gradient * x, 0.0, gradient == 0.0); }
#endif`,
    body,
  });
}
