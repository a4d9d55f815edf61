/**
 * From numerators and denominators to the result, or to the gradient of both:
 *
 *   out_ne = total_ne / total_nE,   or   inner_ne = g_ne / δ,   inner_nE = −Σ_e g_ne total_ne / δ², δ = total_nE.
 *
 * Where the denominator does not exceed its bound, total_n,E+1 (attention/multiplicative/tolerances.ts), it may be no more than rounding; where it is
 * out of the range of numbers, or near its ends, features or their products were. Such a row is summed anew, by definition, relative to its largest
 * term. A row without a term has nothing to see: its result and gradients are zero.
 *
 * Rows that are summed here must not go through transforms backward either, for 1/δ may be large: `inner` is zero there, and what their gradients
 * need follows it (attention/multiplicative/channels.ts). Which they are stands in flags [heads of the dispatch, 1 + tiles]: the number of tokens,
 * then a bit for each row of a tile.
 *
 * Layout: totals, inner [heads of the dispatch, N, totals], gradients, out [B·H, N, E]. Pairs: attention/multiplicative/pairs.ts.
 * Bindings: 0 totals, 1 out (or gradients), queries, keys, values, kept, flags (backward), lengths where there are such; then params.
 */
import { type Kernel, makeKernel, workgroupBytes } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, tokensOf } from "../../wgsl/lengths.ts";
import { f32, LOWEST, wgsl } from "../../wgsl/wgsl.ts";
import { PAIR_BINDINGS, PAIR_PARAMS, pairFunctions, type PairKernelSpec, type PairTile, pairVariables } from "./pairs.ts";

export interface MultiplicativeFinishKernelSpec extends PairKernelSpec {
  /** `"out"`: the result. `"inner"`: the gradient of numerators and denominators. */
  readonly into: "out" | "inner";
  readonly variableLengths: boolean;
}

/** Bytes of workgroup memory of a finish kernel. */
export function finishBytes(tile: PairTile): number {
  return workgroupBytes(variables(tile));
}

function variables(tile: PairTile) {
  return [...pairVariables(tile), { name: "marks", element: "u32", count: tile.rows } as const];
}

/** Denominators below one and above the other are of numbers that may have been out of range. */
const SMALLEST = 1e-30;
const LARGEST = 1e37;

/** Statements that find the largest of a number over the pairs of a row, which its lanes share. `most`: the exponent of a pair without its weight. */
function largest(component: "x" | "y", value: string, { featureMap }: PairKernelSpec): string {
  return wgsl`    for (var j = begin + column; doubtful && j < end; j += ROW_LANES) {
      let bias = bias_of(bh, n, j);
      let most = reach(query, key_of(bh, j));
      if (sees(n, j) && counts(bias)${featureMap === "relu" ? wgsl` && most > ${LOWEST}` : ""}) { origin.${component} = max(origin.${component}, ${value}); }
    }
    workgroupBarrier();
    partials[lane] = origin.${component};
    workgroupBarrier();
    for (var c = 0u; c < ROW_LANES; c++) { origin.${component} = max(origin.${component}, partials[row_lanes + c]); }`;
}

/** Padding has no features: its sum is zero without being doubtful. */
const SEES_ANY = `
fn sees_any(query: u32) -> bool {
  for (var d = 0u; d < D; d++) { if (queries[query + d] > 0.0) { return true; } }
  return false;
}
`;

export function multiplicativeFinishKernel(spec: MultiplicativeFinishKernelSpec): Kernel {
  const forward = spec.into === "out";
  const relu = spec.featureMap === "relu";
  const body = wgsl`  let head = group / TILES;
  let bh = params.firstHead + head;
  let tokens = ${tokensOf(spec)};
  let column = lane % ROW_LANES;
  let row = lane / ROW_LANES;
  let first = group % TILES * ROWS;
  let n = first + row;
  let total = total_of(bh, n);
  let row_lanes = lane - column;

  if (column == 0u) {
    marks[row] = 0u; // nothing to see
    if (n < tokens${relu ? " && sees_any(query_of(bh, n))" : ""}) {
      let sum = totals[total + E];
      partials[lane] = sum;
      marks[row] = select(1u, 2u, sum <= totals[total + E + 1u] + ${f32(SMALLEST)} || sum > ${f32(LARGEST)});
    }
  }
  workgroupBarrier();
  if (lane == 0u) {
    var found = 0u;
    for (var r = 0u; r < ROWS; r++) { found |= (marks[r] >> 1u) << r; }
    bounds[0] = found;
    if (found != 0u) {
      let last = min(first + ROWS, N) - 1u;
      let range = partners(bh, first, last, ${spec.causal ? "min(tokens, last + 1u)" : "tokens"}, true);
      bounds[1] = range.x;
      bounds[2] = range.y;
    }
#if ${!forward}
    if (first == 0u) { flags[head * (1u + TILES)] = tokens; }
    flags[head * (1u + TILES) + 1u + group % TILES] = found;
#endif
  }
  var denominator = partials[row_lanes];
  var origin = vec2f();
  let doubts = workgroupUniformLoad(&bounds[0]);
  let doubtful = ((doubts >> row) & 1u) != 0u;
  if (doubts != 0u) {
    let begin = workgroupUniformLoad(&bounds[1]);
    let end = workgroupUniformLoad(&bounds[2]);
    let query = query_of(bh, n);
    origin = vec2f(${LOWEST});
${largest("x", "round(bias)", spec)}
${largest("y", "most + (round(bias) - origin.x)", spec)}
    if (doubtful) {
      denominator = 0.0;
      for (var e = column; e < E; e += ROW_LANES) { totals[total + e] = 0.0; }
    }
    for (var start = begin; start < end; start += ROW_LANES) {
      let j = start + column;
      var p = 0.0;
      if (doubtful && origin.y > ${LOWEST} && j < end && sees(n, j)) {
        let bias = bias_of(bh, n, j);
        if (counts(bias)) { p = pair(query, key_of(bh, j), shift_of(bias, origin)); }
      }
      workgroupBarrier();
      partials[lane] = p;
      workgroupBarrier();
      if (doubtful) {
        var sum = 0.0; // of a tile by itself: fewer roundings
        for (var c = 0u; c < ROW_LANES; c++) { sum += partials[row_lanes + c]; }
        denominator += sum;
        for (var e = column; e < E; e += ROW_LANES) {
          sum = 0.0;
          for (var c = 0u; c < ROW_LANES; c++) {
            let share = partials[row_lanes + c];
            if (share != 0.0) { sum = fma(share, values[value_of(bh, start + c) + e], sum); }
          }
          totals[total + e] += sum;
        }
      }
    }
  }
  var share = 0.0;
  if (marks[row] == 1u || (doubtful && denominator != 0.0)) { share = 1.0 / denominator; }
#if ${forward}
  if (n >= N) { return; }
  let at = value_of(bh, n) + params.valuesBase - params.outBase;
  for (var e = column; e < E; e += ROW_LANES) { out[at + e] = totals[total + e] * share; }
#else
  let at = value_of(bh, n) + params.valuesBase - params.gradientsBase;
  let inside = n < tokens;
  var product = 0.0;
  for (var e = column; e < E && n < N; e += ROW_LANES) {
    var g = 0.0;
    if (inside) { g = gradients[at + e]; }
    product = fma(g, totals[total + e] * share, product);
    totals[total + e] = select(g * share, 0.0, doubtful);
  }
  workgroupBarrier();
  partials[lane] = product;
  workgroupBarrier();
  if (column == 0u && n < N) {
    product = 0.0;
    for (var c = 0u; c < ROW_LANES; c++) { product += partials[row_lanes + c]; }
    totals[total + E] = select(-product * share, 0.0, doubtful);
    if (doubtful) {
      totals[total + E + 1u] = share;
      totals[total + E + 2u] = origin.x;
      totals[total + E + 3u] = origin.y;
      totals[total + E + 4u] = product;
    }
  }
#endif
`;
  return makeKernel({
    id: "attention/multiplicative/finish",
    label: `multiplicative finish ${spec.features} × ${spec.valueDim}${forward ? "" : ", backward"}`,
    constants: spec,
    workgroupSize: spec.rows * spec.rowLanes,
    bindings: [
      { name: "totals", access: "read_write", element: "f32", rarely: true },
      forward ? { name: "out", access: "read_write", element: "f32" } : { name: "gradients", access: "read", element: "f32" },
      ...PAIR_BINDINGS,
      ...(forward ? [] : [{ name: "flags", access: "read_write", element: "u32" } as const]),
      ...lengthBinding(spec),
    ],
    params: [...PAIR_PARAMS, forward ? "outBase" : "gradientsBase"],
    declarations: [...variables(spec), wgsl`${pairFunctions(spec)}${lengthFunction(spec)}${relu ? SEES_ANY : ""}`],
    body,
  });
}
