/**
 * The product of a separable bias on a grid, from those along its axes (toeplitz/separable.ts): out[y, x] = A[y] + B[x].
 *
 * Layout: products of the heads of the dispatch, out [B·H, H·W, channels]. Workgroup and lane → as in toeplitz/separable-sums.ts; a lane keeps the
 * products of its columns in registers, those of the tile's rows are in workgroup memory.
 * Bindings: 0 products, 1 out, 2 params.
 */
import { type Kernel, makeKernel, type Precision } from "../wgsl/kernel.ts";
import { channelPlaces } from "./channel-pairs.ts";
import { storeVector, vectorArray, vectorElement } from "../wgsl/rows.ts";
import { range, unroll, wgsl } from "../wgsl/wgsl.ts";
import { laneColumn, type SeparableTile, TILE_STATEMENTS, tileDeclarations } from "./separable.ts";

export interface SeparableSpreadKernelSpec extends SeparableTile {
  readonly storage: Precision;
}

export function separableSpreadKernel(spec: SeparableSpreadKernelSpec): Kernel {
  const columns = range(spec.laneColumns);
  const body = wgsl`${TILE_STATEMENTS}
  let first_product = head * (H + W) * V;
  for (var i = lane; i < TILE_ROWS * VECTORS; i += LANES) {
    let y = first_row + i / VECTORS;
    if (y < H && vector < V) { rows[i] = products[first_product + y * V + vector]; }
  }
${unroll(
  columns,
  (k) => `  let x${k} = ${laneColumn(spec, k)};
  var column${k} = vec4f();
  if (x${k} < W && vector < V) { column${k} = products[first_product + (H + x${k}) * V + vector]; }`,
)}
  workgroupBarrier();
  if (vector >= V) { return; }
  for (var r = 0u; r < min(TILE_ROWS, H - first_row); r++) {
    let row = rows[r * VECTORS + lane % VECTORS];
    let token = first_token + (first_row + r) * W;
${unroll(columns, (k) => `    if (x${k} < W) { store_out(token + x${k}, vector, row + column${k}); }`)}
  }
`;
  return makeKernel({
    id: "toeplitz/separable-spread",
    label: `separable bias spread ${spec.height}×${spec.width}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "products", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(spec.channels, spec.storage, channelPlaces(spec, "out")) },
    ],
    params: ["firstHead", "outBase"],
    declarations: [
      wgsl`${tileDeclarations(spec)}${storeVector("store_out", "out", spec.channels, false, spec.storage, channelPlaces(spec, "out"))}`,
      vectorArray("rows", spec.tileRows * spec.vectors),
    ],
    body,
  });
}
