/**
 * What attention/causal/apply.ts computes, for chunks of 64 rows of at most 64 features and values: by outer products of vectors in workgroup memory,
 * with patches of 4 × 4 in registers. Layout and bindings, and levels and references, are the same.
 *
 * A workgroup does `rows` rows of one chunk. Lane → (lane_row, column), column fastest. It has the four rows from own_row on, and loads vector `column`
 * of these, and of fours of keys, values and rows of the state. It adds up for its rows and the keys, and then values, 4·column … 4·column + 3.
 * Beyond the end the last row stands in, which takes no branch.
 *
 * In workgroup memory number x of the vectors of four rows stands in `rows<x>`, and of four keys in `others<x>`; row 4c + x of the state beside them in
 * `state_rows<x>`, DEPTH vectors of features at a time, or after them in `others<x>`. At last the scores of four rows and key 4c + x stand in `rows<x>`,
 * and the values of that key in `others<x>`.
 */
import { type KernelFeatureMap, keyStateConstants, sizeFactor } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { featureTileDeclarations, tileLanes, together } from "../query-features.ts";
import { type Kernel, makeKernel, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { vectorArray, vectorsOf, withinRow } from "../../wgsl/rows.ts";
import { causalProduct, causalProductFunctions, type CausalProductSpec, storeStatistics } from "./product.ts";
import { causalStart, findLevels, levelVariables, wholeSize } from "./tiles.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

/** Keys of a chunk, and the most features and values. */
export const PATCH_WIDTH = 64;
/** Lanes of a row: they have the keys of a chunk, or as many features or values, in fours. */
export const PATCH_COLUMNS = PATCH_WIDTH / 4;
/** vec4f of features for which rows of the state stand beside the keys, at a time. */
const DEPTH = 8;

export interface CausalPatchesKernelSpec extends CausalProductSpec {
  /** Rows of a workgroup. Where they are 64, keys and the state are gone through together. */
  readonly rows: 64 | 32;
}

type Tile = Pick<CausalPatchesKernelSpec, "rows"> & Omit<HeadShape, "length">;

/** How the lanes share a tile out. The rows of a lane are neighbours here. */
function laneTile({ rows }: Pick<Tile, "rows">) {
  return { rows, laneRows: 4, rowLanes: PATCH_COLUMNS } as const;
}

/** Lanes of the workgroup of a tile. */
export function patchLanes(tile: Pick<Tile, "rows">): number {
  return tileLanes(laneTile(tile));
}

/** vec4f from the scores with a key to those with the next four. */
function scorePitch({ rows }: Pick<Tile, "rows">): number {
  return (rows / 4) | 1;
}

function variables(tile: Tile): readonly WorkgroupVariable[] {
  const [vectors, values] = [vectorsOf(tile.headDim), vectorsOf(tile.valueDim)];
  const pitch = vectors | 1;
  return [
    ...range(4).map((x) => vectorArray(`rows${x}`, Math.max((tile.rows / 4) * pitch, PATCH_COLUMNS * scorePitch(tile)))),
    ...range(4).map((x) => vectorArray(`others${x}`, PATCH_COLUMNS * Math.max(pitch, values))),
    ...(tile.rows === 64 ? range(4).map((x) => vectorArray(`state_rows${x}`, DEPTH * values)) : []),
    vectorArray("shared_vectors", patchLanes(tile)),
    ...levelVariables({ ...tile, ...laneTile(tile), laneKeys: 4, tileVectors: 1, chunkRows: PATCH_WIDTH }),
    vectorArray("falls", vectors),
    vectorArray("key_sums", vectors),
  ];
}

/** Bytes of workgroup memory of a kernel of a tile. */
export function patchBytes(tile: Tile): number {
  return workgroupBytes(variables(tile));
}

const FOUR = range(4);

/** WGSL vector of number x of four vectors. */
export function across(name: (i: number) => string, x: number): string {
  return `vec4f(${FOUR.map((i) => `${name(i)}[${x}]`).join(", ")})`;
}

/** Statements that add what steep keys add to the scores, with references that are above these. This is rare, so it is short rather than fast. */
function steepScores(featureMap: KernelFeatureMap): string {
  const size = (x: string) => wholeSize(featureMap, x);
  return `  if (atomicLoad(&steep[0]) != 0u) {
    var raised = largest0;
    for (var c = 0u; c < VECTORS; c++) {
      let level = levels[c];
      var m = level;
      var j = chunk_begin;
      for (var i = 0u; i < 4u; i++) {
        for (; j < min(own_row + i + 1u, tokens); j++) {
          let key = ${size("load_keys(bh * N + j, c)")};
          m = max(m, select(key, level, are_gentle(key, level)));
        }
        raised[i] = max(raised[i], largest_feature(${size("load_row(bh * N, tokens, own_row + i, c)")} + m, c));
      }
    }
    fall = ${sizeFactor(featureMap, "largest0 - raised")};
    largest0 = raised;
    denominator0 *= fall;
${unroll(
  FOUR,
  (p) => `    score${p} *= fall;
    for (var c = 0u; c < VECTORS; c++) {
      let level = levels[c];
      let key = load_keys(bh * N + min(first_key + ${u32(p)}, tokens - 1u), c);
      if (!all(are_gentle(${size("key")}, level))) {
        for (var i = 0u; i < 4u; i++) {
          score${p}[i] += dot(features_only(steep_product(load_row(bh * N, tokens, own_row + i, c), key, level, largest0[i]), c), vec4f(1.0));
        }
      }
    }`,
)}
  }`;
}

/**
 * Statements that add the products of vectors `from` to before `to` of the features of rows: with keys to `score<p>`, with the state to `sum<r>`, where it
 * begins with vector `base` in the variables `name<x>`.
 */
function products([from, to]: readonly [number, number], keys: boolean, state?: { readonly name: string; readonly base: number }): string {
  return wgsl`  for (var c = ${u32(from)}; c < ${u32(to)}; c++) {
    let own_at = lane_row * PITCH + c;
    let key_at = column * PITCH + c;
    let state_at = (c - ${u32(state?.base ?? 0)}) * VALUE_VECTORS + value_column;
${unroll(
  FOUR,
  (x) => wgsl`    let a${x} = rows${x}[own_at];
#if ${keys}
    let b${x} = others${x}[key_at];
${unroll(FOUR, (p) => `    score${p} = fma(a${x}, vec4f(b${x}[${p}]), score${p});`)}
#endif
#if ${state !== undefined}
    let s${x} = ${state?.name ?? ""}${x}[state_at];
${unroll(FOUR, (r) => `    sum${r} = fma(vec4f(a${x}[${r}]), s${x}, sum${r});`)}
#endif`,
)}
  }`;
}

/** Statements that add to `sum<r>` the values of the four keys `g`; where they are those of the rows themselves (`own`), rows from p on see key p. */
function addValues(own: boolean): string {
  return `    let score_at = g * SCORE_PITCH + lane_row;
    let value_at = g * VALUE_VECTORS + value_column;
${unroll(
  FOUR,
  (p) => `    let w${p} = rows${p}[score_at];
    let x${p} = others${p}[value_at];
${unroll(FOUR.slice(own ? p : 0), (r) => `    sum${r} = fma(vec4f(w${p}[${r}]), x${p}, sum${r});`)}`,
)}`;
}

export function causalPatchesKernel(spec: CausalPatchesKernelSpec): Kernel {
  const { headDim, valueDim, rows } = spec;
  const statistics = spec.into === "statistics";
  const carried = spec.chunks > 1;
  const beside = carried && rows === 64;
  const tile = { ...spec, ...laneTile(spec), precision: spec.precision.queries };
  const [vectors, values] = [vectorsOf(headDim), vectorsOf(valueDim)];
  const turns = range(PATCH_WIDTH / rows); // of the lanes over fours of keys
  const fours = turns.flatMap((t) => FOUR.map((i) => ({ t, i, name: `${t}_${i}`, group: `(lane_row + ${u32(t * (rows / 4))})` })));
  const least = (count: number) => (count === PATCH_COLUMNS ? "column" : `min(column, ${u32(count - 1)})`);
  const has = (count: number) => (count === PATCH_COLUMNS ? "" : `if (column < ${u32(count)}) `);
  const loadState = unroll(
    fours,
    ({ name, i, group }) =>
      `  let s${name} = states[state + (STATE_PRODUCTS + min(4u * ${group} + ${u32(i)}, D - 1u) * STATE_STRIDE) / 4u + value_column];`,
  );
  /** Puts the lane's rows of the state, if they are from those of vector `from` to before `to`, into `name<x>`. */
  const storeState = (name: string, from: number, to: number) =>
    unroll(
      turns,
      (t) => `  {
    let c = lane_row + ${u32(t * (rows / 4))};
    if (c >= ${u32(from)} && c < ${u32(Math.min(to, vectors))} && column < VALUE_VECTORS) {
      let at = (c - ${u32(from)}) * VALUE_VECTORS + column;
${unroll(FOUR, (x) => `      ${name}${x}[at] = s${t}_${x} * falls[c][${x}];`)}
    }
  }`,
    );
  const loadValues = unroll(
    fours,
    ({ name, i, group }) => `  let value${name} = load_values(bh * N + min(chunk_begin + 4u * ${group} + ${u32(i)}, tokens - 1u), column);`,
  );
  const besideKeys = () =>
    unroll(
      range(Math.ceil(vectors / DEPTH)).map((piece) => DEPTH * piece),
      (from) => wgsl`${from > 0 ? "  workgroupBarrier();" : ""}
${storeState("state_rows", from, from + DEPTH)}
  workgroupBarrier();
${from === 0 ? loadValues : ""}
${products([from, Math.min(from + DEPTH, vectors)], true, { name: "state_rows", base: from })}`,
    );
  const afterKeys = () => wgsl`  workgroupBarrier();
${carried ? loadState : loadValues}
${products([0, vectors], true)}
#if ${carried}
  workgroupBarrier();
${carried ? storeState("others", 0, vectors) : ""}
  workgroupBarrier();
${carried ? loadValues : ""}
${products([0, vectors], false, { name: "others", base: 0 })}
#endif`;
  const body = wgsl`${causalStart(spec)}
  let chunk = tile_row / ${u32(PATCH_WIDTH)};
  let chunk_begin = chunk * ${u32(PATCH_WIDTH)};
  let before = tile_row - chunk_begin;
  let own_row = tile_row + 4u * lane_row;
  let first_key = chunk_begin + 4u * column;
  let value_column = ${least(values)};
#if ${carried}
  let state = (head * CHUNKS + chunk) * (STATE / 4u);
#endif
${unroll(FOUR, (r) => `  let query${r} = load_queries(bh * N + min(own_row + ${u32(r)}, tokens - 1u), column);`)}
${unroll(fours, ({ name, i, group }) => `  let key${name} = load_keys(bh * N + min(chunk_begin + 4u * ${group} + ${u32(i)}, tokens - 1u), column);`)}
${beside ? loadState : ""}
${findLevels(spec.featureMap, (j) => `load_keys(bh * N + ${j}, c)`, carried ? "states[state + c]" : `vec4f(${LOWEST})`)}
#if ${carried}
  for (var c = lane; c < VECTORS; c += LANES) {
    var key_sum = features_only(states[state + STATE_SUM / 4u + c], c);
    falls[c] = features_only(${sizeFactor(spec.featureMap, "states[state + c] - levels[c]")}, c);
    key_sum *= falls[c];
    key_sums[c] = key_sum;
  }
#endif
  workgroupBarrier();
  let level = levels[${least(vectors)}];
  var largest0 = vec4f(${LOWEST});
  ${has(vectors)}{ largest0 = vec4f(${FOUR.map((r) => `largest_feature(${wholeSize(spec.featureMap, `query${r}`)} + level, column)`).join(", ")}); }
  shared_vectors[lane] = largest0;
  workgroupBarrier();
  for (var i = lane - column; i < lane - column + ROW_LANES; i++) { largest0 = max(largest0, shared_vectors[i]); }
  var fall = vec4f(1.0);
${unroll(FOUR, (r) => `  let phi${r} = features_only(query_feature(query${r}, level, largest0[${r}]), column);`)}
  var denominator0 = vec4f();
#if ${carried}
  ${has(vectors)}{ denominator0 = vec4f(${FOUR.map((r) => `dot(phi${r}, key_sums[column])`).join(", ")}); }
#endif
  ${has(vectors)}{
${unroll(FOUR, (x) => `    rows${x}[lane_row * PITCH + column] = ${across((r) => `phi${r}`, x)};`)}
${unroll(fours, ({ name }) => `    let feature${name} = features_only(key_feature(key${name}, level), column);`)}
${unroll(fours, ({ t, i, group }) => `    others${i}[${group} * PITCH + column] = ${across((p) => `feature${t}_${p}`, i)};`)}
  }
${unroll(FOUR, (p) => `  var score${p} = vec4f();`)}
${unroll(FOUR, (r) => `  var sum${r} = vec4f();`)}
${beside ? besideKeys() : afterKeys()}
${steepScores(spec.featureMap)}
${unroll(FOUR, (p) => `  score${p} = select(vec4f(), score${p}, vec4u(first_key + ${u32(p)}) <= vec4u(own_row) + vec4u(0u, 1u, 2u, 3u));`)}
  // The scores may exceed 1 by far, and so may their products with values: they are divided first.
  shared_vectors[lane] = denominator0 + ((score0 + score1) + (score2 + score3));
  workgroupBarrier();
  denominator0 = vec4f();
  for (var i = lane - column; i < lane - column + ROW_LANES; i++) { denominator0 += shared_vectors[i]; }
  let share0 = 1.0 / denominator0;
${unroll(FOUR, (p) => `  rows${p}[column * SCORE_PITCH + lane_row] = score${p} * share0;`)}
  ${has(values)}{
${unroll(fours, ({ name, i, group }) => `    others${i}[${group} * VALUE_VECTORS + column] = value${name};`)}
  }
  workgroupBarrier();
${carried ? unroll(FOUR, (r) => `  sum${r} *= fall[${r}] * share0[${r}];`) : ""}
  for (var g = 0u; g < before / 4u + lane_row; g++) {
${addValues(false)}
  }
  {
    let g = before / 4u + lane_row;
${addValues(true)}
  }
#if ${statistics}
  var product0 = vec4f();
#endif
${unroll(
  FOUR,
  (r) => wgsl`  {
    let row = own_row + ${u32(r)};
    let result = select(sum${r}, vec4f(), denominator0[${r}] == 0.0 || row >= tokens);
#if ${statistics}
    if (column < VALUE_VECTORS && row < tokens) { product0[${r}] = dot(load_gradients(bh * N + row, column), ${valueDim % 4 === 0 ? "result" : `select(vec4f(), result, ${withinRow("column", u32(valueDim))})`}); }
#else
    if (column < VALUE_VECTORS && row < N) { store_out(bh * N + row, column, result); }
#endif
  }`,
)}
${statistics ? `${together(tile, "product", (a, b) => `${a} + ${b}`)}\n${storeStatistics(spec, 4, (r) => `own_row + ${u32(r)}`)}` : ""}
`;
  return makeKernel({
    id: "attention/causal/patches",
    ...causalProduct(spec, `patches ${rows}`),
    workgroupSize: patchLanes(spec),
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const CHUNKS = ${u32(spec.chunks)};
const VALUE_VECTORS = ${u32(values)};
const SCORE_PITCH = ${u32(scorePitch(spec))};
${keyStateConstants(spec.state)}`,
      ...featureTileDeclarations(tile, variables(spec)),
      causalProductFunctions(spec),
    ],
    body,
  });
}
