/**
 * Sums of a grid of values over its rows and over its columns, a tile at a time (toeplitz/separable.ts):
 *
 *   sums[x tile, y] = Σ_x v[y, x] over the columns of a tile,   sums[y tile, x] = Σ_y v[y, x] over its rows.
 *
 * Layout: values [B·H, H·W, channels], sums of the heads of the dispatch. Workgroup → (head, y tile, x tile, channels), channels fastest. Lane →
 * (column, vector of channels), vector fastest: it keeps the sums of its columns in registers, and those of `batchRows` rows go through workgroup memory.
 * Bindings: 0 values, 1 sums, 2 params.
 */
import { type Kernel, makeKernel, type Precision } from "../wgsl/kernel.ts";
import { channelPlaces } from "./channel-pairs.ts";
import { loadVector, vectorArray, vectorElement } from "../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";
import { laneColumn, type SeparableTile, TILE_STATEMENTS, tileDeclarations } from "./separable.ts";

export interface SeparableSumsKernelSpec extends SeparableTile {
  /** Rows that are summed at a time, at most lanes / vectors. */
  readonly batchRows: number;
  readonly storage: Precision;
}

export function separableSumsKernel(spec: SeparableSumsKernelSpec): Kernel {
  const columns = range(spec.laneColumns);
  const body = wgsl`${TILE_STATEMENTS}
${unroll(columns, (k) => `  let x${k} = ${laneColumn(spec, k)};\n  var sum${k} = vec4f();`)}
  for (var y = first_row; y < min(first_row + TILE_ROWS, H); y += BATCH) {
    for (var r = 0u; r < BATCH; r++) {
      var row = vec4f();
      if (y + r < H) {
${unroll(columns, (k) => `        if (x${k} < W) { let value = load_values(first_token + (y + r) * W + x${k}, vector); row += value; sum${k} += value; }`)}
      }
      rows[r * LANES + lane] = row;
    }
    workgroupBarrier();
    let own = y + lane / VECTORS;
    if (lane < BATCH * VECTORS && own < H && vector < V) {
      var total = vec4f();
      for (var i = lane % VECTORS; i < LANES; i += VECTORS) { total += rows[lane / VECTORS * LANES + i]; }
      sums[head * SUMS + (x_tile * H + own) * V + vector] = total;
    }
    workgroupBarrier();
  }
${unroll(columns, (k) => `  if (x${k} < W && vector < V) { sums[head * SUMS + (X_TILES * H + y_tile * W + x${k}) * V + vector] = sum${k}; }`)}
`;
  return makeKernel({
    id: "toeplitz/separable-sums",
    label: `separable bias sums ${spec.height}×${spec.width}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "values", access: "read", element: vectorElement(spec.channels, spec.storage, channelPlaces(spec, "values")) },
      { name: "sums", access: "read_write", element: "vec4f" },
    ],
    params: ["firstHead", "valuesBase"],
    declarations: [
      wgsl`${tileDeclarations(spec)}const BATCH = ${u32(spec.batchRows)};${loadVector("load_values", "values", spec.channels, spec.storage, channelPlaces(spec, "values"))}`,
      vectorArray("rows", spec.batchRows * spec.lanes),
    ],
    body,
  });
}
