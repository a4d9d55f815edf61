/**
 * Gradients of the rows that are summed by definition (attention/multiplicative/finish.ts), added to those of all others, with
 * c_ij = exp(b_{j−i}) / δ_i, p_ij = c_ij Σ_d φ(q_id) φ(k_jd) and a_ij = g_i·v_j − g_i·o_i:
 *
 *   queries  out_id += Σ_j c_ij φ′(q_id) φ(k_jd) a_ij            keys    out_jd += Σ_i c_ij φ(q_id) φ′(k_jd) a_ij
 *   values   out_je += Σ_i p_ij g_ie                             weights out_o (+)= Σ_{j−i=o} p_ij a_ij, over the batch rows of the dispatch too
 *
 * with sums over such rows i only. Where a head has none, nothing is done.
 *
 * Layout: totals and flags as attention/multiplicative/finish.ts leaves them, gradients [B·H, N, E], out [B·H, N, D] or [B·H, N, E], of weights
 * [heads, weights]. A workgroup has ROWS rows of the output of one head, or so many weights. Pairs: attention/multiplicative/pairs.ts.
 * Bindings: 0 totals, 1 gradients, 2 queries, 3 keys, 4 values, 5 kept, 6 flags, 7 out, 8 params.
 */
import { type Kernel, makeKernel, workgroupBytes } from "../../wgsl/kernel.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";
import { PAIR_BINDINGS, PAIR_PARAMS, pairFunctions, type PairKernelSpec, type PairTile, pairVariables, weightsOf } from "./pairs.ts";

export interface DirectGradientKernelSpec extends PairKernelSpec {
  readonly of: "queries" | "keys" | "values" | "weights";
}

function variables(tile: PairTile) {
  return [...pairVariables(tile), { name: "shifts", element: "vec2f", count: tile.rows * tile.rowLanes } as const];
}

/** Bytes of workgroup memory of such a kernel. */
export function directGradientBytes(tile: PairTile): number {
  return workgroupBytes(variables(tile));
}

/** Leaves in \`bounds\` from which row to before which one there are rows to do, of the head `head` of the dispatch. */
const FIND_ROWS = wgsl`
    var low = TILES;
    var high = 0u;
    for (var t = lane; t < TILES; t += LANES) {
      if (flags[record + 1u + t] != 0u) {
        low = min(low, t);
        high = t + 1u;
      }
    }
    workgroupBarrier();
    shifts[lane] = vec2f(f32(low), f32(high));
    workgroupBarrier();
    if (lane == 0u) {
      for (var l = 1u; l < LANES; l++) { shifts[0] = vec2f(min(shifts[0].x, shifts[l].x), max(shifts[0].y, shifts[l].y)); }
      bounds[0] = ROWS * u32(shifts[0].x);
      bounds[1] = min(N, ROWS * u32(shifts[0].y));
    }
    let begin = workgroupUniformLoad(&bounds[0]);
    let end = workgroupUniformLoad(&bounds[1]);`;

/** Of queries a row looks for keys; of keys and values, for rows that are summed directly. */
function rowsBody({ of, causal }: DirectGradientKernelSpec): string {
  const queries = of === "queries";
  const numbers = of === "values" ? "E" : "D";
  const [i, j] = queries ? ["row", "partner"] : ["partner", "row"];
  const next =
    of === "values"
      ? "gradients[gradient_of(bh, start + c) + d]"
      : wgsl`term(queries[${queries ? "query" : "query_of(bh, start + c)"} + d], keys[${queries ? "key_of(bh, start + c)" : "key"} + d], shifts[row_lanes + c])`;
  return wgsl`  let head = group / TILES;
  let bh = params.firstHead + head;
  let record = head * (1u + TILES);
  let column = lane % ROW_LANES;
  let row_lanes = lane - column;
  let first = group % TILES * ROWS;
  let row = first + lane / ROW_LANES;
  let last = min(first + ROWS, N) - 1u;
#if ${queries}
  if (lane == 0u) {
    bounds[0] = flags[record + 1u + group % TILES];
    if (bounds[0] != 0u) {
      let tokens = flags[record];
      let range = partners(bh, first, last, ${causal ? "min(tokens, last + 1u)" : "tokens"}, true);
      bounds[1] = range.x;
      bounds[2] = range.y;
    }
  }
  let found = workgroupUniformLoad(&bounds[0]);
  if (found == 0u) { return; }
  let begin = workgroupUniformLoad(&bounds[1]);
  let end = workgroupUniformLoad(&bounds[2]);
  let acting = ((found >> (lane / ROW_LANES)) & 1u) != 0u;
  let query = query_of(bh, row);
#else
${FIND_ROWS}
  if (begin >= end) { return; }
  if (lane == 0u) {
    let range = partners(bh, first, last, N, false);
    bounds[0] = max(begin, range.x);
    bounds[1] = min(end, range.y);
  }
  let nearest = workgroupUniformLoad(&bounds[0]);
  let farthest = workgroupUniformLoad(&bounds[1]);
  let acting = row < flags[record];
  let key = key_of(bh, row);
#endif
  let at = (bh * N + row) * ${numbers} - params.outBase;
  for (var start = ${queries ? "begin" : "nearest"}; start < ${queries ? "end" : "farthest"}; start += ROW_LANES) {
    let partner = start + column;
    var a = 0.0;
    var shift = vec2f();
    if (acting && partner < ${queries ? "end" : "farthest"} && sees(${i}, ${j})${queries ? "" : " && direct(record, partner)"}) {
      let total = total_of(bh, ${i});
      let bias = bias_of(bh, ${i}, ${j});
      let share = totals[total + E + 1u];
      if (counts(bias) && share != 0.0) {
        shift = shift_of(bias, origin_of(total));
#if ${of === "values"}
        a = pair(query_of(bh, partner), key, shift) * share;
#else
        a = inner(bh, ${i}, ${j}, total) * share;
#endif
      }
    }
    workgroupBarrier();
    partials[lane] = a;
    shifts[lane] = shift;
    workgroupBarrier();
    if (acting) {
      for (var d = column; d < ${numbers}; d += ROW_LANES) {
        var sum = 0.0;
        for (var c = 0u; c < ROW_LANES; c++) {
          let share = partials[row_lanes + c];
          if (share != 0.0) { sum = fma(share, ${next}, sum); }
        }
        if (sum != 0.0) { out[at + d] += sum; }
      }
    }
  }
`;
}

const WEIGHTS_BODY = wgsl`  let h = group / WEIGHT_TILES;
  if (h >= params.stride) { return; }
  let column = lane % ROW_LANES;
  let row_lanes = lane - column;
  let offset = group % WEIGHT_TILES * ROWS + lane / ROW_LANES;
  var sum = 0.0;
  for (var b = 0u; b < params.batches; b++) {
    let head = h + b * params.stride;
    let bh = params.firstHead + head;
    let record = head * (1u + TILES);
${FIND_ROWS}
    for (var i = begin + column; i < end && offset < SIZE; i += ROW_LANES) {
      // Both coordinates of j, or something beyond where they would be negative.
      let y = i / W + offset / (2u * W - 1u) - (N / W - 1u);
      let x = i % W + offset % (2u * W - 1u) - (W - 1u);
      let j = y * W + x;
      if (y < N / W && x < W && direct(record, i) && j < flags[record] && sees(i, j)) {
        let total = total_of(bh, i);
        let bias = bias_of(bh, i, j);
        let share = totals[total + E + 1u];
        if (counts(bias) && share != 0.0) {
          let weight = pair(query_of(bh, i), key_of(bh, j), shift_of(bias, origin_of(total))) * share;
          sum = fma(inner(bh, i, j, total), weight, sum);
        }
      }
    }
  }
  partials[lane] = sum;
  workgroupBarrier();
  if (column == 0u && offset < SIZE) {
    let at = ((params.firstHead + h) % params.heads) * SIZE + offset - params.outBase;
    sum = 0.0;
    if (params.accumulate != 0u) { sum = out[at]; }
    for (var c = 0u; c < ROW_LANES; c++) { sum += partials[row_lanes + c]; }
    out[at] = sum;
  }
`;

export function directGradientKernel(spec: DirectGradientKernelSpec): Kernel {
  const weights = spec.of === "weights";
  return makeKernel({
    id: "attention/multiplicative/direct-gradient",
    label: `multiplicative gradient of ${spec.of}, direct ${spec.features} × ${spec.valueDim}`,
    constants: spec,
    workgroupSize: spec.rows * spec.rowLanes,
    bindings: [
      { name: "totals", access: "read", element: "f32", rarely: true },
      { name: "gradients", access: "read", element: "f32", rarely: true },
      ...PAIR_BINDINGS,
      { name: "flags", access: "read", element: "u32" },
      { name: "out", access: "read_write", element: "f32", ...(weights ? {} : { rarely: true }) },
    ],
    params: [...PAIR_PARAMS, "gradientsBase", "outBase", ...(weights ? ["batches", "stride", "accumulate"] : [])],
    declarations: [
      ...variables(spec),
      wgsl`${pairFunctions(spec)}
const WEIGHT_TILES = ${u32(Math.ceil(weightsOf(spec.grid) / spec.rows))};

fn gradient_of(bh: u32, i: u32) -> u32 { return (bh * N + i) * E - params.gradientsBase; }

// Whether row i is one of those that are summed here.
fn direct(record: u32, i: u32) -> bool { return ((flags[record + 1u + i / ROWS] >> (i % ROWS)) & 1u) != 0u; }

fn origin_of(total: u32) -> vec2f { return vec2f(totals[total + E + 2u], totals[total + E + 3u]); }

// A feature's part of φ′ times the other φ.
fn term(q: f32, k: f32, shift: vec2f) -> f32 {
  return ${spec.of === "queries" ? "slope(q) * amplitude(k)" : "amplitude(q) * slope(k)"} * exponentials(q, k, shift);
}

// g·v − g·o of a pair.
fn inner(bh: u32, i: u32, j: u32, total: u32) -> f32 {
  var sum = -totals[total + E + 4u];
  for (var e = 0u; e < E; e++) { sum = fma(gradients[gradient_of(bh, i) + e], values[value_of(bh, j) + e], sum); }
  return sum;
}
`,
    ],
    body: weights ? WEIGHTS_BODY : rowsBody(spec),
  });
}
