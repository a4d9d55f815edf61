/**
 * For each chunk of rows of a head the key state of all chunks before it, in one pass: what attention/linear/reduce.ts and attention/causal/scan.ts make in
 * two, for where heads are enough to fill a GPU.
 *
 * Layout: keys [B·H, N, D], values [B·H, N, E], states [heads of the dispatch, chunks, state] (KeyStateLayout). Workgroup → (head, feature tile, value
 * tile), value tile fastest; it goes through all rows of the head, RUNNING_ROWS at a time, and loads the next ones before it adds up the present ones.
 * Lane → (four features, four values), values fastest, or while it loads (row, four features), features fastest, and then (row, four values). A quarter
 * of the rows stands in each variable, because one index serves all four, and is checked once. The maximum runs along. Each tile is summed on its own
 * before it joins the total, which keeps the rounding error down. Bindings: 0 keys, 1 values, 2 states, then lengths where there are such; then params.
 */
import {
  type ChunkedStates,
  featureBelow,
  featureSize,
  type KernelFeatureMap,
  keyStateConstants,
  relativeFunctions,
  sizeFactor,
} from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, type Precision, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../../wgsl/lengths.ts";
import { loadVector, type Strided, vectorArray, vectorElement, vectorsOf } from "../../wgsl/rows.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

/** Rows in workgroup memory at a time, of which a chunk is a multiple. */
export const RUNNING_ROWS = 64;
/** Of those, how many stand in each variable. */
const QUARTER = RUNNING_ROWS / 4;

export interface RunningStatesKernelSpec extends HeadShape, ChunkedStates, Strided {
  readonly featureMap: KernelFeatureMap;
  readonly variableLengths: boolean;
  readonly precision: { readonly keys: Precision; readonly values: Precision };
  /** vec4f of features of a workgroup, and of values: powers of two, at most 16, so that lanes fill whole rows. */
  readonly featureVectors: number;
  readonly valueVectors: number;
}

type Tile = Pick<RunningStatesKernelSpec, "featureVectors" | "valueVectors">;

/** Lanes of the workgroup of a tile. */
export function runningStatesLanes({ featureVectors, valueVectors }: Tile): number {
  return featureVectors * valueVectors;
}

function variables(tile: Tile): readonly WorkgroupVariable[] {
  const { featureVectors, valueVectors } = tile;
  return [
    ...range(4).flatMap((i) => [vectorArray(`key_rows${i}`, QUARTER * featureVectors), vectorArray(`value_rows${i}`, QUARTER * valueVectors)]),
    vectorArray("shared_vectors", QUARTER * featureVectors),
    vectorArray("factors", featureVectors),
  ];
}

/** Bytes of workgroup memory of a tile. */
export function runningStatesBytes(tile: Tile): number {
  return workgroupBytes(variables(tile));
}

export function runningStatesKernel(spec: RunningStatesKernelSpec): Kernel {
  const { headDim, valueDim, featureVectors, valueVectors, precision, strides = {} } = spec;
  const lanes = runningStatesLanes(spec);
  const four = range(4);
  /** What a lane loads of `vectors` a row: quarter i of the rows, and where in it. */
  const loads = (vectors: number) =>
    four.flatMap((i) => range((QUARTER * vectors) / lanes).map((t) => ({ i, name: `${i}_${t}`, at: `(lane + ${u32(t * lanes)})` })));
  const keys = loads(featureVectors);
  const values = loads(valueVectors);
  const row = ({ i, at }: { i: number; at: string }, vectors: number) => `${at} / ${u32(vectors)} + ${u32(QUARTER * i)}`;
  const featureTiles = Math.ceil(vectorsOf(headDim) / featureVectors);
  const valueTiles = Math.ceil(vectorsOf(valueDim) / valueVectors);
  const load = (
    assign: string,
    tile: string,
  ) => wgsl`${unroll(keys, (k) => `    ${assign}key${k.name} = load_keys(bh * N + min(${tile} + ${row(k, featureVectors)}, last), first_feature + ${k.at} % ${u32(featureVectors)});`)}
${unroll(values, (v) => `    ${assign}value${v.name} = load_values(bh * N + min(${tile} + ${row(v, valueVectors)}, last), first_value + ${v.at} % ${u32(valueVectors)});`)}`;
  const body = wgsl`  let value_tile = group % ${u32(valueTiles)};
  let feature_tile = group / ${u32(valueTiles)} % ${u32(featureTiles)};
  let head = group / ${u32(valueTiles * featureTiles)};
  let bh = params.firstHead + head;
  let tokens = ${tokensOf(spec)};
  let last = tokens - 1u;
  let first_feature = feature_tile * ${u32(featureVectors)};
  let first_value = value_tile * ${u32(valueVectors)};
  let column = lane % ${u32(featureVectors)}; // as a loader of keys
  let feature = lane / ${u32(valueVectors)};
  let value = lane % ${u32(valueVectors)};
${unroll(four, (r) => `  var total${r} = vec4f();`)}
  var total_z = vec4f();
  var maximum = vec4f(${LOWEST});
${load("var ", "0u")}
  for (var tile = 0u; tile < N; tile += ${u32(RUNNING_ROWS)}) {
    var largest = maximum;
${unroll(keys, (k) => `    largest = max(largest, select(maximum, ${featureSize(spec.featureMap, `key${k.name}`)}, tile + ${row(k, featureVectors)} < tokens));`)}
    shared_vectors[lane] = largest;
    workgroupBarrier();
    for (var i = column; i < LANES; i += ${u32(featureVectors)}) { largest = max(largest, shared_vectors[i]); }
    let factor = ${sizeFactor(spec.featureMap, "maximum - largest")};
${unroll(
  keys,
  (k) =>
    `    key_rows${k.i}[${k.at}] = select(vec4f(), ${featureBelow(spec.featureMap, `key${k.name}`, "largest")}, tile + ${row(k, featureVectors)} < tokens);`,
)}
${unroll(values, (v) => `    value_rows${v.i}[${v.at}] = select(vec4f(), value${v.name}, tile + ${row(v, valueVectors)} < tokens);`)}
    if (tile % CHUNK_ROWS == 0u) {
      let state = (head * CHUNKS + tile / CHUNK_ROWS) * STATE;
      let e = first_value + value;
${unroll(
  four,
  (r) => `      {
        let d = 4u * (first_feature + feature) + ${u32(r)};
        if (d < D && e < ${u32(vectorsOf(valueDim))}) { states[(state + STATE_PRODUCTS + d * STATE_STRIDE) / 4u + e] = total${r}; }
      }`,
)}
      if (value_tile == 0u && value == 0u && first_feature + feature < ${u32(vectorsOf(headDim))}) { states[(state + STATE_SUM) / 4u + first_feature + feature] = total_z; }
      if (value_tile == 0u && lane < ${u32(featureVectors)} && first_feature + lane < ${u32(vectorsOf(headDim))}) { states[state / 4u + first_feature + lane] = maximum; }
    }
    maximum = largest;
    if (lane < ${u32(featureVectors)}) { factors[lane] = factor; }
    workgroupBarrier();
    if (tile + ${u32(RUNNING_ROWS)} >= N) { break; }
${load("", `tile + ${u32(RUNNING_ROWS)}`)}
${unroll(four, (r) => `    var sum${r} = vec4f();`)}
    var z = vec4f();
    for (var row = 0u; row < ${u32(QUARTER)}; row++) {
      let key_at = row * ${u32(featureVectors)} + feature;
      let value_at = row * ${u32(valueVectors)} + value;
${unroll(
  four,
  (i) => `      let k${i} = key_rows${i}[key_at];
      let v${i} = value_rows${i}[value_at];
      z += k${i};
${unroll(four, (r) => `      sum${r} = fma(vec4f(k${i}[${r}]), v${i}, sum${r});`)}`,
)}
    }
    let keep = factors[feature];
    total_z = fma(total_z, keep, z);
${unroll(four, (r) => `    total${r} = fma(total${r}, vec4f(keep[${r}]), sum${r});`)}
  }
`;
  return makeKernel({
    id: "attention/causal/running-states",
    label: `linear attention causal states ${spec.featureMap} ${4 * featureVectors}×${4 * valueVectors}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "keys", access: "read", element: vectorElement(headDim, precision.keys, strides["keys"]) },
      { name: "values", access: "read", element: vectorElement(valueDim, precision.values, strides["values"]) },
      { name: "states", access: "read_write", element: "vec4f" },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "keysBase", "valuesBase", ...lengthParams(spec)],
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const CHUNKS = ${u32(spec.chunks)};
const CHUNK_ROWS = ${u32(spec.chunkRows)};
${keyStateConstants(spec.state)}`,
      ...variables(spec),
      wgsl`${relativeFunctions(spec.featureMap)}${lengthFunction(spec)}${loadVector("load_keys", "keys", headDim, precision.keys, strides["keys"])}${loadVector("load_values", "values", valueDim, precision.values, strides["values"])}`,
    ],
    body,
  });
}
