/** Products of a tile of rows in workgroup memory with the matrix s of a key state: over its values, or over its features. */
import type { FeatureTile } from "./query-features.ts";
import { range, u32, wgsl } from "../wgsl/wgsl.ts";

type Tile = Pick<FeatureTile, "laneRows" | "headDim"> & { readonly valueDim: number };

interface TileRows {
  /** Workgroup variables `<rows>0`, …, one for each row of a lane. */
  readonly rows: string;
  /** How many vectors a row has, in WGSL. */
  readonly vectors: string;
  /** Where the lane's row starts in them. */
  readonly at: string;
}

/** Statements that fill `<tile>0`, … with the rows first_row + i·LANE_ROWS; those from `tokens` on are zero. */
export function loadRowTile(
  { laneRows }: Pick<FeatureTile, "laneRows">,
  { tile, load, vectors, at }: { readonly tile: string; readonly load: string; readonly vectors: string; readonly at: string },
): string {
  return `  for (var c = column; c < ${vectors}; c += ROW_LANES) {
${range(laneRows)
  .map(
    (i) => `    {
      let row = first_row + ${u32(i)} * LANE_ROWS;
      var vector = vec4f();
      if (row < tokens) { vector = ${load}(bh * N + row, c); }
      ${tile}${i}[${at} + c] = vector;
    }`,
  )
  .join("\n")}
  }`;
}

/** `<sum><i>` = Σ_e x_ie s_de for the features 4·c … 4·c + 3; of those that are not there it holds any number. */
export function timesStateRows({ laneRows, headDim, valueDim }: Tile, { rows, vectors, at, sum }: TileRows & { readonly sum: string }): string {
  const last = u32(headDim - 1);
  // Padding of a state may be NaN, which zeros do not silence.
  const masked = (vector: string) => (valueDim % 4 === 0 ? vector : `select(vec4f(), ${vector}, are_values)`);
  return wgsl`${range(laneRows)
    .map((i) => `    var ${sum}${i} = vec4f();`)
    .join("\n")}
    for (var e = 0u; e < ${vectors}; e++) {
#if ${valueDim % 4 !== 0}
      let are_values = vec4u(4u * e) + vec4u(0u, 1u, 2u, 3u) < vec4u(${u32(valueDim)});
#endif
${range(4)
  .map((j) => {
    const vector = `states[state + (STATE_PRODUCTS + min(4u * c + ${u32(j)}, ${last}) * STATE_STRIDE) / 4u + e]`;
    return `      let s${j} = ${masked(vector)};`;
  })
  .join("\n")}
${range(laneRows)
  .map(
    (i) => `      {
        let x = ${rows}${i}[${at} + e];
        ${sum}${i} += vec4f(dot(x, s0), dot(x, s1), dot(x, s2), dot(x, s3));
      }`,
  )
  .join("\n")}
    }`;
}

/** `<sum><i>` = Σ_d x_id s_de for the values 4·e … 4·e + 3. */
export function timesStateColumns(
  { laneRows, headDim }: Pick<FeatureTile, "laneRows" | "headDim">,
  { rows, at, sum }: Omit<TileRows, "vectors"> & { readonly sum: string },
): string {
  const last = u32(headDim - 1);
  return wgsl`${range(laneRows)
    .map((i) => `    var ${sum}${i} = vec4f();`)
    .join("\n")}
    for (var c = 0u; c < VECTORS; c++) {
${range(4)
  .map((j) => `      let s${j} = states[state + (STATE_PRODUCTS + min(4u * c + ${u32(j)}, ${last}) * STATE_STRIDE) / 4u + e];`)
  .join("\n")}
${range(laneRows)
  .map(
    (i) => `      {
        let x = ${rows}${i}[${at} + c];
${range(4)
  .map((j) => `        ${sum}${i} = fma(vec4f(x[${j}]), s${j}, ${sum}${i});`)
  .join("\n")}
      }`,
  )
  .join("\n")}
    }`;
}
