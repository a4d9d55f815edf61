/**
 * Pairs of a query and a key, for sums over one of them by their definition: exp(b_{j−i}) φ(q_id) φ(k_jd), relative to an exponent of the query's row.
 * All logarithms are added in whole numbers and rests, so that neither large ones nor −∞ among the weights do harm, nor features that are out of range.
 *
 * A workgroup has ROWS rows of one head, with ROW_LANES lanes each, which first share the partners of a tile and then the numbers of the row.
 */
import { EXPONENTIAL } from "../../wgsl/exponential.ts";
import type { KernelBinding, WorkgroupVariable } from "../../wgsl/kernel.ts";
import { f32, LOWEST, u32, wgsl } from "../../wgsl/wgsl.ts";
import { KEPT } from "../../toeplitz/exponentials.ts";
import type { KernelFeatureMap } from "../feature-map.ts";
import { totalsWidth } from "./channels.ts";

/** How a workgroup shares the work. */
export interface PairTile {
  /** Rows of a workgroup, at most 32. */
  readonly rows: number;
  /** Lanes of a row. */
  readonly rowLanes: number;
}

export interface PairKernelSpec extends PairTile {
  /** Rows and columns of the grid; a sequence is one row. */
  readonly grid: readonly [number, number];
  readonly features: number;
  readonly valueDim: number;
  readonly featureMap: KernelFeatureMap;
  readonly causal: boolean;
}

/** Weights of a head. */
export function weightsOf([height, width]: PairKernelSpec["grid"]): number {
  return (2 * height - 1) * (2 * width - 1);
}

/** The bindings of a pair, after those of a kernel's own. */
export const PAIR_BINDINGS: readonly Omit<KernelBinding, "binding">[] = ["queries", "keys", "values", "kept"].map((name) => ({
  name,
  access: "read",
  element: "f32",
  rarely: true,
}));

export const PAIR_PARAMS = ["firstHead", "heads", "totalsBase", "queriesBase", "keysBase", "valuesBase", "keptBase"] as const;

/** Workgroup memory: of the lanes, and of a workgroup, for all its lanes to read. */
export function pairVariables({ rows, rowLanes }: PairTile): readonly WorkgroupVariable[] {
  const lanes = rows * rowLanes;
  return [
    { name: "partials", element: "f32", count: lanes },
    { name: "bounds", element: "u32", count: 3 },
  ];
}

/** Features between 1 over this and this are taken as they are. */
const PLAIN = 1e6;

/** φ of a map that is no exponential: f·exp(s), where f may be taken to be near 1 in favour of s. */
function plainFeatures(f: string, s: string): string {
  return wgsl`
fn power(x: f32) -> f32 {
  let f = ${f};
  if (f == 0.0 || (f > ${f32(1 / PLAIN)} && f < ${f32(PLAIN)})) { return 0.0; }
  return round(log(f));
}

fn exponent(x: f32) -> f32 { return ${s} + power(x); }
fn amplitude(x: f32) -> f32 { return (${f}) * exponential(-power(x)); }
`;
}

/**
 * φ(x) = amplitude(x)·exp(exponent(x)) and φ′(x) = slope(x)·exp(exponent(x)), of which neither factor leaves the range of numbers where φ itself, or a
 * product of two, does.
 */
const FEATURES: Readonly<Record<KernelFeatureMap, string>> = {
  sikf: `fn exponent(x: f32) -> f32 { return x; }
fn amplitude(x: f32) -> f32 { return 1.0; }
fn slope(x: f32) -> f32 { return 1.0; }
`,
  "elu+1": `${plainFeatures("max(x, 0.0) + 1.0", "min(x, 0.0)")}fn slope(x: f32) -> f32 { return exponential(-power(x)); }
`,
  relu: `${plainFeatures("max(x, 0.0)", "0.0")}fn slope(x: f32) -> f32 { return select(0.0, exponential(-power(x)), x > 0.0); }
`,
};

/** Constants and functions. `i` and `j` are tokens; `query`, `key` where their rows begin; `shift` of a pair is its bias less the reference. */
export function pairFunctions(spec: PairKernelSpec): string {
  const { featureMap, causal } = spec;
  const [height, width] = spec.grid;
  return wgsl`const N = ${u32(height * width)};
const D = ${u32(spec.features)};
const E = ${u32(spec.valueDim)};
const TOTAL = ${u32(totalsWidth(spec.valueDim))};
const ROWS = ${u32(spec.rows)};
const ROW_LANES = ${u32(spec.rowLanes)};
const TILES = ${u32(Math.ceil((height * width) / spec.rows))};
const W = ${u32(width)};
const SIZE = ${u32(weightsOf(spec.grid))};
${EXPONENTIAL}
fn record_of(bh: u32) -> u32 { return bh % params.heads * (${u32(KEPT.weights)} + SIZE) - params.keptBase; }
fn query_of(bh: u32, i: u32) -> u32 { return (bh * N + i) * D - params.queriesBase; }
fn key_of(bh: u32, j: u32) -> u32 { return (bh * N + j) * D - params.keysBase; }
fn value_of(bh: u32, j: u32) -> u32 { return (bh * N + j) * E - params.valuesBase; }
fn total_of(bh: u32, i: u32) -> u32 { return (bh * N + i) * TOTAL - params.totalsBase; }

fn sees(i: u32, j: u32) -> bool { return ${causal ? "j <= i" : "true"}; }

fn bias_of(bh: u32, i: u32, j: u32) -> f32 {
  let offset = (j / W + ${u32(height - 1)} - i / W) * ${u32(2 * width - 1)} + j % W + ${u32(width - 1)} - i % W;
  return kept[record_of(bh) + ${u32(KEPT.weights)} + offset];
}

// Not −∞. A comparison of floats might be taken for always true.
fn counts(bias: f32) -> bool { return bitcast<u32>(bias) != 0xff800000u; }

// The tokens, from one number to before another, whose pairs with the tokens from first to last may have a weight that counts.
fn partners(bh: u32, first: u32, last: u32, tokens: u32, of_queries: bool) -> vec2u {
  let record = record_of(bh);
  var low = i32(kept[record + ${u32(KEPT.first)}]);
  var high = i32(kept[record + ${u32(KEPT.last)}]);
#if ${height > 1}
  low = low / ${2 * width - 1} - ${height - 1};
  high = high / ${2 * width - 1} - ${height - 1};
#else
  low -= ${width - 1};
  high -= ${width - 1};
#endif
  if (!of_queries) {
    let least = -high;
    high = -low;
    low = least;
  }
#if ${height > 1}
  let begin = (i32(first / W) + low) * ${width};
  let end = (i32(last / W) + high + 1) * ${width};
#else
  let begin = i32(first) + low;
  let end = i32(last) + high + 1;
#endif
  return vec2u(clamp(vec2i(begin, end), vec2i(0), vec2i(i32(tokens))));
}

// The bias of a pair in whole numbers and the rest, less the largest one of its row and the exponent of the largest term there.
fn shift_of(bias: f32, origin: vec2f) -> vec2f { return vec2f(round(bias) - origin.x - origin.y, bias - round(bias)); }

${FEATURES[featureMap]}
// The whole exponent of the largest term, less the bias.
fn reach(query: u32, key: u32) -> f32 {
  var largest = ${LOWEST};
  for (var d = 0u; d < D; d++) {
    let q = queries[query + d];
    let k = keys[key + d];
    if (amplitude(q) * amplitude(k) > 0.0) { largest = max(largest, round(exponent(q)) + round(exponent(k))); }
  }
  return largest;
}

// Of terms without an amplitude it may be far above 1, but has to stay finite.
fn exponentials(q: f32, k: f32, shift: vec2f) -> f32 {
  let x = exponent(q);
  let y = exponent(k);
  return exponential(min(2.0, round(x) + round(y) + shift.x) + ((x - round(x)) + (y - round(y)) + shift.y));
}

fn pair(query: u32, key: u32, shift: vec2f) -> f32 {
  var sum = 0.0;
  for (var d = 0u; d < D; d++) {
    let q = queries[query + d];
    let k = keys[key + d];
    sum = fma(amplitude(q) * amplitude(k), exponentials(q, k, shift), sum);
  }
  return sum;
}
`;
}
