/**
 * What both sides of attention/causal/gradient.ts compute, in one kernel, for chunks of 64 rows of at most 64 features and values: with
 * patches of 4 × 4 in registers, as attention/causal/patches.ts. Levels and references are the same. Of the rows of the chunk,
 *
 *   w_ij = (g_i·v_j) p_i + n_i and s_ij = p_i Σ_d φ(q_id) φ(k_jd) for j ≤ i, else 0;   dq += φ′(q)·(w φ(k)),   dk += φ′(k)·(wᵀ φ(q)),   dv += sᵀ g.
 *
 * Layout: queries, dq, keys, dk [B·H, N, D], values, dv, gradients [B·H, N, E], statistics [B·H, N] of (r, p, n, 0). A workgroup does one chunk.
 * Workgroup → (head, chunk); lane → (lane_row, column), column fastest. A lane has the four rows from own_row on: vector `column` of their queries, keys,
 * values and gradients, for which it adds up the gradients, and of w and s the four columns from 4·column on. Beyond the end the last row
 * stands in, which takes no branch.
 *
 * In workgroup memory, for the first two products number x of the vectors of four rows stands in `rows<x>` and `others<x>`, `depth` of them at a time.
 * For the others four columns of the row r of four in w or s stand in `rows<r>`, and that row's vectors in `others<r>`, `depth` fours of rows at a time.
 * Bindings: 0 queries, 1 keys, 2 values, 3 gradients, 4 statistics, 5 dq, 6 dk, 7 dv, or one of all where they
 * are packed, then lengths where there are such; then params.
 */
import type { KernelFeatureMap } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { featureTileDeclarations, tileLanes } from "../query-features.ts";
import { type Kernel, makeKernel, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { loadFunctions, readBindings, storeBases, storeBindings, storeVector, type Strided, vectorArray, vectorsOf } from "../../wgsl/rows.ts";
import { across, PATCH_COLUMNS, PATCH_WIDTH } from "./patches.ts";
import { causalStart, findLevels, levelFunctions, levelSlope, levelVariables, wholeSize } from "./tiles.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface CausalPatchesGradientKernelSpec extends HeadShape, Strided {
  readonly featureMap: KernelFeatureMap;
  readonly variableLengths: boolean;
  /** Vectors, or fours of rows, that go through workgroup memory at a time: 16 takes the fewest barriers. */
  readonly depth: 16 | 8;
  /** Add to what `dq` and `dk`, and `dv`, hold instead of overwriting it. */
  readonly accumulate: { readonly out: boolean; readonly dv: boolean };
}

const LANE_TILE = { rows: PATCH_WIDTH, laneRows: 4, rowLanes: PATCH_COLUMNS } as const;
const FOUR = range(4);
/** Fours of rows of a chunk. */
const GROUPS = PATCH_WIDTH / 4;

/** Lanes of its workgroup. */
export const PATCHES_GRADIENT_LANES = tileLanes(LANE_TILE);

type Tile = Pick<CausalPatchesGradientKernelSpec, "depth"> & Omit<HeadShape, "length">;

function variables(tile: Tile): readonly WorkgroupVariable[] {
  const pitch = tile.depth | 1;
  return [
    ...FOUR.map((x) => vectorArray(`rows${x}`, Math.max(GROUPS * pitch, GROUPS * GROUPS))),
    ...FOUR.map((x) => vectorArray(`others${x}`, Math.max(GROUPS * pitch, tile.depth * PATCH_COLUMNS))),
    ...levelVariables({ ...tile, ...LANE_TILE, laneKeys: 4, tileVectors: 1, chunkRows: PATCH_WIDTH }),
  ];
}

/** Bytes of its workgroup memory. */
export function patchesGradientBytes(tile: Tile): number {
  return workgroupBytes(variables(tile));
}

export function causalPatchesGradientKernel(spec: CausalPatchesGradientKernelSpec): Kernel {
  const { headDim, valueDim, depth, strides = {} } = spec;
  const { featureMap } = spec;
  const [vectors, values] = [vectorsOf(headDim), vectorsOf(valueDim)];
  const tile = { ...spec, ...LANE_TILE };
  const read = { keys: headDim, values: valueDim, gradients: valueDim };
  const made = { dq: headDim, dk: headDim, dv: valueDim };
  /** Statements that make `<sum><p>`, of rows and column 4·column + p, of the products of `count` vectors `row<i>` and `other<i>` of the lanes. */
  const patchProduct = (sum: string, count: number, row: string, other: string) => `${unroll(FOUR, (p) => `  var ${sum}${p} = vec4f();`)}
  for (var first = 0u; first < ${u32(count)}; first += DEPTH) {
    let to = min(first + DEPTH, ${u32(count)});
    workgroupBarrier();
    if (column >= first && column < to) {
      let at = lane_row * DEPTH_PITCH + column - first;
${unroll(FOUR, (x) => `      rows${x}[at] = ${across((i) => `${row}${i}`, x)};\n      others${x}[at] = ${across((i) => `${other}${i}`, x)};`)}
    }
    workgroupBarrier();
    for (var c = 0u; c < to - first; c++) {
${unroll(
  FOUR,
  (x) => `      let a${x} = rows${x}[lane_row * DEPTH_PITCH + c];
      let b${x} = others${x}[column * DEPTH_PITCH + c];
${unroll(FOUR, (p) => `      ${sum}${p} = fma(a${x}, vec4f(b${x}[${p}]), ${sum}${p});`)}`,
)}
    }
  }`;
  /** Statements that put a patch into workgroup memory, by its rows. */
  const storePatch = (patch: string) => `  workgroupBarrier();
${unroll(FOUR, (r) => `  rows${r}[lane_row * ${u32(GROUPS)} + column] = ${across((p) => `${patch}${p}`, r)};`)}`;
  /**
   * Statements that make `sum<i>`, vector `column` of the lane's rows, of the patches and the vectors that `others` puts into `others<i>[at]`: as keys
   * that rows of `queries` see, or as rows of queries that see keys. A row does not touch what it does not see, which may be NaN.
   */
  const rowProduct = (queries: boolean, others: string) => {
    const products = (all: boolean) => `        let block = ${queries ? `lane_row * ${u32(GROUPS)} + g` : `g * ${u32(GROUPS)} + lane_row`};
        let at = (g - first) * ${u32(PATCH_COLUMNS)} + column;
${unroll(FOUR, (r) => `        let t${r} = rows${r}[block];\n        let x${r} = others${r}[at];`)}
${unroll(FOUR, (r) =>
  unroll(FOUR.slice(0, all ? 4 : r + 1), (p) =>
    queries ? `        sum${r} = fma(vec4f(t${r}[${p}]), x${p}, sum${r});` : `        sum${p} = fma(vec4f(t${r}[${p}]), x${r}, sum${p});`,
  ),
)}`;
    return `${unroll(FOUR, (i) => `    var sum${i} = vec4f();`)}
    for (var first = 0u; first < ${u32(GROUPS)}; first += DEPTH) {
      let to = first + DEPTH;
      let mine = lane_row >= first && lane_row < to;
      workgroupBarrier();
      if (mine) {
        let at = (lane_row - first) * ${u32(PATCH_COLUMNS)} + column;
${others}
      }
      workgroupBarrier();
      for (var g = ${queries ? "first" : "max(first, lane_row + 1u)"}; g < ${queries ? "min(to, lane_row)" : "to"}; g++) {
${products(true)}
      }
      if (mine) {
        let g = lane_row;
${products(false)}
      }
    }`;
  };
  const putOthers = (name: string) => unroll(FOUR, (r) => `        others${r}[at] = ${name}${r};`);
  /** Statements that store the sums as the rows' gradients. */
  const store = (name: string, count: number) =>
    unroll(
      FOUR,
      (i) =>
        `  if (column < ${u32(count)} && own_row + ${u32(i)} < N) { store_${name}(bh * N + own_row + ${u32(i)}, column, select(vec4f(), sum${i}, own_row + ${u32(i)} < tokens)); }`,
    );
  const size = (x: string) => wholeSize(featureMap, x);
  /** Statements that add what steep keys have to the scores of the lane's patch. This is rare: in loops it leaves registers to the rest. */
  const addSteepScores = `  if (atomicLoad(&steep[0]) != 0u) {
    var steep_score: array<vec4f, 4>;
    for (var c = 0u; c < VECTORS; c++) {
      let level = levels[c];
      for (var p = 0u; p < 4u; p++) {
        let key = load_keys(bh * N + min(first_key + p, tokens - 1u), c);
        if (!all(are_gentle(${size("key")}, level))) {
          for (var i = 0u; i < 4u; i++) {
            let product = steep_product(load_row(bh * N, tokens, own_row + i, c), key, level, reference[i]);
            steep_score[p][i] += dot(features_only(product, c), vec4f(1.0));
          }
        }
      }
    }
${unroll(FOUR, (p) => `    score${p} += steep_score[${p}];`)}
  }`;
  /** Statements that add to the gradients of queries, or of keys, those of pairs in which keys are steep, after they are stored. */
  const addSteepPairs = (queries: boolean) => {
    const [query, key] = queries ? ["own", "other"] : ["other", "own"];
    const [i, j] = queries ? ["row", "pair"] : ["pair", "row"];
    const reference = `statistics[bh * N + ${i} - params.statisticsBase].x`;
    const slope = featureMap === "sikf" ? "" : "steep_slope4(own) * ";
    return `  if (atomicLoad(&steep[0]) != 0u && column < VECTORS) {
    for (var row = own_row; row < min(own_row + 4u, tokens); row++) {
      let own = load_${queries ? "queries" : "keys"}(bh * N + row, column);
      var sum = vec4f();
      var found = false;
      for (var pair = ${queries ? "tile_row" : "row"}; pair < ${queries ? "row + 1u" : "min(tile_row + ROWS, tokens)"}; pair++) {
        let other = load_${queries ? "keys" : "queries"}(bh * N + pair, column);
        if (!all(are_gentle(${size(key)}, level))) {
          let weight = rows_at(${i} - tile_row, (${j} - tile_row) / 4u)[(${j} - tile_row) % 4u];
          found = true;
          sum = fma(vec4f(weight), ${slope}steep_product(${query}, ${key}, level, ${reference}), sum);
        }
      }
      // Steep keys that a row does not see do not change the sign of its zeros either.
      if (found) { add_${queries ? "dq" : "dk"}(bh * N + row, column, sum); }
    }
  }`;
  };
  /** Statements that make the sums of queries, or of keys, their gradients, but for steep keys. */
  const sums = (of: "query" | "key") =>
    unroll(FOUR, (i) => `  sum${i} *= ${levelSlope(featureMap, of, `${of}${i}`, `${of}_feature${i}`, `reference[${i}]`)};`);
  const body = wgsl`${causalStart(tile)}
  let chunk_begin = tile_row;
  let own_row = tile_row + 4u * lane_row;
  let first_key = tile_row + 4u * column;
${unroll(
  FOUR,
  (i) => `  let row${i} = bh * N + min(own_row + ${u32(i)}, tokens - 1u);
  let gradient${i} = load_gradients(row${i}, column);
  let value${i} = load_values(row${i}, column);
  let statistics${i} = statistics[row${i} - params.statisticsBase];`,
)}
${unroll(FOUR, (i) => `  let query${i} = load_queries(row${i}, column);\n  let key${i} = load_keys(row${i}, column);`)}
  let inside = vec4u(own_row) + vec4u(0u, 1u, 2u, 3u) < vec4u(tokens);
  let p = select(vec4f(), vec4f(${FOUR.map((i) => `statistics${i}.y`).join(", ")}), inside);
  let n = select(vec4f(), vec4f(${FOUR.map((i) => `statistics${i}.z`).join(", ")}), inside);
  let reference = vec4f(${FOUR.map((i) => `statistics${i}.x`).join(", ")});
${findLevels(featureMap, (j) => `load_keys(bh * N + ${j}, c)`, `vec4f(${LOWEST})`)}
${patchProduct("weight", values, "gradient", "value")}
  let level = levels[min(column, VECTORS - 1u)];
${unroll(
  FOUR,
  (i) => `  let query_feature${i} = features_only(query_feature(query${i}, level, reference[${i}]), column);
  let key_feature${i} = features_only(key_feature(key${i}, level), column);`,
)}
${patchProduct("score", vectors, "query_feature", "key_feature")}
${addSteepScores}
${unroll(
  FOUR,
  (i) => `  {
    let sees = vec4u(first_key + ${u32(i)}) <= vec4u(own_row) + vec4u(0u, 1u, 2u, 3u);
    weight${i} = select(vec4f(), fma(weight${i}, p, n), sees);
    score${i} = select(vec4f(), score${i} * p, sees);
  }`,
)}
${storePatch("weight")}
  {
${rowProduct(true, putOthers("key_feature"))}
${sums("query")}
${store("dq", vectors)}
${addSteepPairs(true)}
  }
  // Keys, and then values.
  for (var turn = 0u; turn < 2u; turn++) {
${rowProduct(
  false,
  `        if (turn == 0u) {
${putOthers("query_feature")}
        } else {
${putOthers("gradient")}
        }`,
)}
    if (turn == 0u) {
${sums("key")}
${store("dk", vectors)}
${addSteepPairs(false)}
${storePatch("score")}
    } else {
${store("dv", values)}
    }
  }
`;
  return makeKernel({
    id: "attention/causal/patches-gradient",
    label: `linear attention causal gradient ${spec.featureMap}${spec.accumulate.out ? ", added" : ""} patches ${depth}`,
    constants: spec,
    workgroupSize: PATCHES_GRADIENT_LANES,
    bindings: [
      ...readBindings({ queries: headDim, ...read }, "f32", strides),
      { name: "statistics", access: "read", element: "vec4f" },
      ...storeBindings(made, strides),
      ...lengthBinding(spec),
    ],
    params: [
      "firstHead",
      ...["queries", "keys", "values", "gradients", "statistics"].map((name) => `${name}Base`),
      ...storeBases(Object.keys(made), strides),
      ...lengthParams(spec),
    ],
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const DEPTH = ${u32(depth)};
const DEPTH_PITCH = ${u32(depth | 1)};`,
      ...featureTileDeclarations(tile, variables(spec)),
      wgsl`${levelFunctions(featureMap)}${loadFunctions(read, "f32", strides)}${Object.entries(made)
        .map(([name, width]) =>
          storeVector(`store_${name}`, name, width, name === "dv" ? spec.accumulate.dv : spec.accumulate.out, "f32", strides[name]),
        )
        .join("")}${["dq", "dk"].map((name) => storeVector(`add_${name}`, name, headDim, true, "f32", strides[name])).join("")}
// Four neighbours in a row of the patches that stand in workgroup memory.
fn rows_at(row: u32, group: u32) -> vec4f {
  let at = row / 4u * ${u32(GROUPS)} + group;
  switch row % 4u {
    case 0u: { return rows0[at]; }
    case 1u: { return rows1[at]; }
    case 2u: { return rows2[at]; }
    default: { return rows3[at]; }
  }
}
`,
    ],
    body,
  });
}
