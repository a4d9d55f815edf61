/**
 * Gradient of a bias in the logits, before attention/softmax/join-bias-gradient.ts adds up: sums of dS_ij, as in attention/softmax/query-gradient.ts,
 * over pairs of the same offset. A workgroup has a tile of queries and one of keys that stand in a fixed distance, its band, and walks with both
 * through the sequence, `PERIOD` tokens at a time: ROWS of a sequence, whole rows of a grid. So each pair of its tiles has the same offset all the
 * time, and lanes keep sums in registers; at the end they come together along the diagonals of the tile, in one order.
 *
 * Layout: queries, keys [B·H, N, D], values, gradients of the output [B·H, N, E], statistics [B·H, N] of (m, 1/l, c, 0); partials [heads of the
 * dispatch, parts, row tiles of a period, bands, FLAGS, DIAGONALS]: diagonal δ of band b has pairs with j − i = δ − (ROWS − 1) + b·OTHERS − BEFORE; on
 * a grid those with x_j < x_i stand apart, as flag 1. Workgroup → (bh, part, row tile, band), band fastest; a part is `steps` periods. Lanes:
 * attention/softmax/tiles.ts, rows being queries, and others keys, four of each.
 * Bindings: 0 queries, 1 keys, 2 values, 3 gradients, 4 statistics, 5 partials, 6 bias, 7 lengths or keyMask where there are such; then params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, tokensOf } from "../../wgsl/lengths.ts";
import { loadFunctions, readBindings } from "../../wgsl/rows.ts";
import { maskBinding, maskFunction, seenToo } from "./key-mask.ts";
import { addLogitBias, biasBinding, biasDeclarations, headParams } from "./logit-bias.ts";
import { SOFTMAX_WEIGHT } from "./online.ts";
import { scoreProduct } from "./products.ts";
import {
  softmaxDeclarations,
  type SoftmaxKernelLayout,
  type SoftmaxKernelSpec,
  softmaxLanes,
  softmaxOthers,
  softmaxRows,
  type SoftmaxTile,
} from "./tiles.ts";
import { queriesThatSee } from "./visible.ts";
import { range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

/** Pairs of tiles whose sums join the total at a time. */
const RUN = 32;

/** How the queries and keys of a bias gradient are shared out. */
export interface BiasBands {
  /** Tokens from one pair of tiles to the next. */
  readonly period: number;
  /** Tiles of queries in a period. */
  readonly rowTiles: number;
  readonly bands: number;
  /** How far before its queries the keys of the first band begin. */
  readonly before: number;
}

export interface SoftmaxBiasGradientSpec extends SoftmaxKernelSpec, BiasBands {
  readonly biasGrid: readonly [height: number, width: number];
}

export function softmaxBiasGradientLayout({
  tile,
  otherRows,
  headDim,
  valueDim,
}: Pick<SoftmaxKernelSpec, "tile" | "otherRows" | "headDim" | "valueDim">): SoftmaxKernelLayout {
  return { tile, otherRows, scores: [{ width: headDim }, { width: valueDim }], products: [], shares: true, statistics: "own" };
}

/** Sums of a diagonal of a pair of tiles: on a grid, of pairs of two offsets. */
export function biasFlags({ biasGrid }: Pick<SoftmaxBiasGradientSpec, "biasGrid">): number {
  return biasGrid[0] > 1 ? 2 : 1;
}

/** Statements that store the sums of the diagonals of a flag, of the pairs that it takes: `taken` is WGSL of that of row r and other p of a lane. */
function storeDiagonals(tile: SoftmaxTile, flag: number, flags: number, taken: (r: number, p: number) => string): string {
  // Sum m of a lane is that of pairs whose other is m − 3 further than its row; seven of them, in two halves.
  const sum = (m: number) =>
    range(4)
      .flatMap((r) => range(4).flatMap((p) => (p - r + 3 === m ? [taken(r, p)] : [])))
      .join(" + ") || "0.0";
  const turns = range(Math.ceil((softmaxRows(tile) + softmaxOthers(tile) - 1) / softmaxLanes(tile)));
  const halves = unroll(
    [0, 1],
    (half) => wgsl`  workgroupBarrier();
  shared0[lane] = vec4f(${range(4)
    .map((m) => sum(4 * half + m))
    .join(", ")});
  workgroupBarrier();
${unroll(turns, (turn) => `  sum${turn} += along_diagonal(lane + ${u32(turn)} * LANES, ${half});`)}`,
  );
  return wgsl`  {
${unroll(turns, (turn) => `  var sum${turn} = 0.0;`)}
${halves}
  let at = (group * ${u32(flags)} + ${u32(flag)}) * DIAGONALS + lane;
${unroll(turns, (turn) => `  if (lane + ${u32(turn)} * LANES < DIAGONALS) { partials[at + ${u32(turn)} * LANES] = sum${turn}; }`)}
  }`;
}

const ALONG_DIAGONAL = wgsl`
// The sum over the lanes on diagonal i, whose groups of others are as far from those of rows, of a half of their sums.
fn along_diagonal(i: u32, half: i32) -> f32 {
  let apart = i32(i / 4u) - i32(ROW_GROUPS - 1u) - half;
  var sum = 0.0;
  for (var r = 0u; r < ROW_GROUPS; r++) {
    let other = i32(r) + apart;
    if (other >= 0 && other < i32(OTHER_GROUPS)) { sum += shared0[r * OTHER_GROUPS + u32(other)][i % 4u]; }
  }
  return sum;
}
`;

export function softmaxBiasGradientKernel(spec: SoftmaxBiasGradientSpec): Kernel {
  const { headDim, valueDim, tile, otherRows, biasGrid, period, rowTiles, bands, before, causal } = spec;
  const [height, width] = biasGrid;
  const end = otherRows === undefined ? "tokens" : "M";
  const layout = softmaxBiasGradientLayout(spec);
  const rows = { queries: headDim, keys: headDim, values: valueDim, gradients: valueDim };
  const others = range(4);
  const ofRows = (component: string) => `vec4f(${others.map((r) => `statistics_tile[4u * row_group + ${u32(r)}].${component}`).join(", ")})`;
  const flags = biasFlags(spec);
  const body = wgsl`  let band = group % BANDS;
  let row_tile = group / BANDS % PERIOD_TILES;
  let part = group / (BANDS * PERIOD_TILES) % params.parts;
  let bh = params.firstHead + group / (BANDS * PERIOD_TILES * params.parts);
  let tokens = ${tokensOf(spec)};
  let end = ${end};
  let row_group = lane / OTHER_GROUPS;
  let other_group = lane % OTHER_GROUPS;
${unroll(others, (p) => `  var e0_${p} = vec4f();\n  var run${p} = vec4f();`)}
  for (var step = part * params.steps; step < (part + 1u) * params.steps; step++) {
    let first = step * PERIOD + row_tile * ROWS;
    if (first >= tokens) { break; }
    // Before the first token, it wraps around.
    let tile_first = first + band * OTHERS - BEFORE;
    if (i32(tile_first) >= i32(${end}) || i32(tile_first) + i32(OTHERS) <= 0) { continue; }
    let first_row = first + row_group * PATCH_ROWS;
    // Those of queries beyond the end are zero: such queries have no weight.
    for (var i = lane; i < ROWS; i += LANES) {
      var loaded = vec4f();
      if (first + i < tokens) { loaded = statistics[bh * N + first + i - params.statisticsBase]; }
      statistics_tile[i] = loaded;
    }
${scoreProduct(layout, { own: "queries", other: "keys", width: headDim, sum: "s" })}
${scoreProduct(layout, { own: "gradients", other: "values", width: valueDim, sum: "d" })}
${addLogitBias(spec, tile, "queries")}
    let maximum = ${ofRows("x")};
    let inverse = ${ofRows("y")};
    let mean = ${ofRows("z")};
    let rows = vec4u(first_row) + vec4u(0u, 1u, 2u, 3u);
${unroll(
  others,
  (p) => wgsl`    let key${p} = tile_first + 4u * other_group + ${u32(p)};
    let gradient${p} = weight(s0_${p} - maximum) * inverse * (d0_${p} - mean);
    run${p} += select(vec4f(), gradient${p}, ${seenToo(spec, queriesThatSee(spec, "rows", `key${p}`), `is_seen(bh, key${p})`)});`,
)}
    // Sums of a long walk are made of those of short ones, which keeps their rounding error down.
    if (step % ${u32(RUN)} == ${u32(RUN - 1)}) {
${unroll(others, (p) => `      e0_${p} += run${p};\n      run${p} = vec4f();`)}
    }
    workgroupBarrier();
  }
${unroll(others, (p) => `  e0_${p} += run${p};`)}
#if ${flags > 1}
  // Rows beyond the period belong to the next one; where all its tiles stand in their rows does not change from one to the next.
  let own_first = row_tile * ROWS + row_group * PATCH_ROWS;
  let other_first = row_tile * ROWS + band * OTHERS + 4u * other_group + ${u32(Math.ceil(before / width) * width - before)};
${unroll(others, (r) => `  let x${r} = (own_first + ${u32(r)}) % ${u32(width)};`)}
${unroll(others, (p) => `  let other_x${p} = (other_first + ${u32(p)}) % ${u32(width)};`)}
${unroll(others, (p) => `  e0_${p} = select(vec4f(), e0_${p}, vec4u(own_first) + vec4u(0u, 1u, 2u, 3u) < vec4u(PERIOD));`)}
#endif
${
  flags === 1
    ? storeDiagonals(tile, 0, 1, (r, p) => `e0_${p}[${r}]`)
    : unroll([0, 1], (flag) => storeDiagonals(tile, flag, 2, (r, p) => `select(0.0, e0_${p}[${r}], other_x${p} ${flag === 1 ? "<" : ">="} x${r})`))
}
`;
  return makeKernel({
    id: "attention/softmax/bias-gradient",
    label: `softmax attention bias gradient${causal ? " causal" : ""}${height > 1 ? " grid" : ""}`,
    constants: spec,
    workgroupSize: softmaxLanes(tile),
    bindings: [
      ...readBindings(rows, "f32", spec.strides),
      { name: "statistics", access: "read", element: "vec4f" },
      { name: "partials", access: "read_write", element: "f32" },
      ...biasBinding(spec),
      ...lengthBinding(spec),
      ...maskBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "keysBase", "valuesBase", "gradientsBase", "statisticsBase", "parts", "steps", ...headParams(spec)],
    declarations: [
      ...softmaxDeclarations(spec, layout),
      wgsl`
const PERIOD = ${u32(period)};
const PERIOD_TILES = ${u32(rowTiles)};
const BANDS = ${u32(bands)};
const BEFORE = ${u32(before)};
const ROW_GROUPS = ${u32(tile.rowGroups)};
const DIAGONALS = ROWS + OTHERS - 1u;
${ALONG_DIAGONAL}${SOFTMAX_WEIGHT}${biasDeclarations(spec)}${lengthFunction(spec)}${maskFunction(spec)}${loadFunctions(rows, "f32", spec.strides)}`,
    ],
    body,
  });
}
