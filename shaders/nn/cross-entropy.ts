/**
 * Cross-entropy of rows of logits with smoothed targets (Szegedy et al. 2016), and what its gradient needs. With m = max_c x_c, t the target of the
 * row and ε the label smoothing over C classes,
 *
 *   l = log Σ_c exp(x_c − m),   loss = −Σ_c s_c (x_c − m − l) = l + (m − x_t) − ε/C Σ_c (x_c − x_t),   s_c = (1 − ε)·[c = t] + ε/C.
 *
 * The term of the maximum is 1 and left out of the sum, R = Σ_c exp(x_c − m) − 1, so that l = log(1 + R) is as good for rows that are sure. Rows whose
 * target is no class do not count.
 *
 * Numbers that are not finite are told by their bits: l and the loss of a row with NaN or +∞, or with −∞ alone, are NaN, and −∞ where the target has
 * a weight makes the loss ∞.
 *
 * Layout: logits [rows, C], targets [rows] → statistics (m, l) [rows]; sums, three words for each workgroup: the loss of its rows, how many count, and
 * how many of them have the largest logit, the first of equal ones, at the target. A workgroup does `rounds` times ROWS rows, ROW_LANES lanes a row;
 * a lane does every so many vectors, its maximum running along. Bindings: 0 logits, 1 targets, 2 statistics, 3 sums, 4 params.
 */
import { type ClassRowsSpec, classRowBindings, classRowDeclarations } from "./class-rows.ts";
import { EXPONENTIAL, EXPONENTIAL4, LOGARITHM4 } from "../wgsl/exponential.ts";
import { type Kernel, makeKernel, type WorkgroupVariable } from "../wgsl/kernel.ts";
import { partials, SUM_LANES } from "../wgsl/lanes.ts";
import { NON_FINITE } from "../wgsl/non-finite.ts";
import { vectorElement, withinRow } from "../wgsl/rows.ts";
import { f32, LOWEST, unroll, wgsl } from "../wgsl/wgsl.ts";

/** What is in workgroup memory: for each lane what it knows of its row, where several have one. */
export function crossEntropyVariables({ lanes, rowLanes, labelSmoothing }: ClassRowsSpec): readonly WorkgroupVariable[] {
  const smooth = labelSmoothing > 0;
  const joined: readonly WorkgroupVariable[] = [
    { name: "maxima", element: "f32", count: lanes },
    { name: "places", element: "u32", count: lanes },
    { name: "rests", element: "f32", count: lanes },
    { name: "kinds", element: "u32", count: lanes },
    ...(smooth ? ([{ name: "differences", element: "f32", count: lanes }] as const) : []),
    ...(smooth ? ([{ name: "pivots", element: "f32", count: lanes / rowLanes }] as const) : []),
  ];
  return [partials("f32", lanes), { name: "tallies", element: "atomic<u32>", count: 2 }, ...(rowLanes > 1 ? joined : [])];
}

/** `fn log_of_one_plus(r: f32)`, for r ≥ 0: as precise for a small r, by 2 atanh(r / (2 + r)). */
const LOG_OF_ONE_PLUS = wgsl`${LOGARITHM4}
fn log_of_one_plus(r: f32) -> f32 {
  let s = r / (2.0 + r);
  let square = s * s;
  var p = ${f32(2 / 9)};
${unroll([7, 5, 3], (n) => `  p = fma(p, square, ${f32(2 / n)});`)}
  return select(logarithm4(vec4f(1.0 + r)).x, fma(p * square, s, 2.0 * s), r < 0.4);
}
`;

export function crossEntropyKernel(spec: ClassRowsSpec): Kernel {
  const { classes, rowLanes } = spec;
  const smooth = spec.labelSmoothing > 0;
  const joins = rowLanes > 1;
  const logit =
    vectorElement(classes) === "vec4f"
      ? "logits[row * VECTORS + class_index / 4u - params.logitsBase][class_index % 4u]"
      : "logits[row * CLASSES + class_index - params.logitsBase]";
  const body = wgsl`  let slot = lane / ROW_LANES;
  let part = lane % ROW_LANES;
  var loss = 0.0;
  for (var round = 0u; round < params.rounds; round++) {
    let local_row = (group * params.rounds + round) * ROWS + slot;
    let there = local_row < params.rows;
    let row = params.firstRow + local_row;
    var wanted = CLASSES;
    var own = 0.0;
    if (there && part == 0u) {
      wanted = targets[row - params.targetsBase];
      if (wanted < CLASSES) { own = logit(row, wanted); }
    }
#if ${smooth}
    var pivot = own;
#if ${joins}
    if (part == 0u) { pivots[slot] = own; }
    workgroupBarrier();
    pivot = pivots[slot];
#endif
    var difference = 0.0;
#endif
    var maximum = ${LOWEST};
    var place = 0u;
    var rest = -1.0; // no term yet, not even that of the maximum
    var kind = 0u;
    if (there) {
      for (var column = part; column < VECTORS; column += ROW_LANES) {
        let given = load_logits(row, column);
        let bits = bitcast<vec4u>(given);
        let within = ${withinRow("column", "CLASSES")};
        let lowest = bits == vec4u(MINUS_INFINITE);
        let finite = (bits & vec4u(INFINITE)) != vec4u(INFINITE);
        kind |= select(0u, IS_NONE, any(within & !finite & !lowest)) | select(0u, HAS_LOWEST, any(within & lowest));
        let x = select(vec4f(${LOWEST}), given, within & finite);
#if ${smooth}
        difference += dot(select(vec4f(), given - pivot, within), vec4f(1.0));
#endif
        let largest = max(max(x.x, x.y), max(x.z, x.w));
        let first = select(select(select(3u, 2u, x.z == largest), 1u, x.y == largest), 0u, x.x == largest);
        let higher = largest > maximum;
        if (higher) {
          rest = (rest + 1.0) * exponential(maximum - largest);
          maximum = largest;
          place = 4u * column + first;
        }
        let terms = select(exponential4(x - maximum), vec4f(), vec4<bool>(higher) & (vec4u(0u, 1u, 2u, 3u) == vec4u(first)));
        rest += dot(select(vec4f(), terms, within), vec4f(1.0));
      }
    }
#if ${joins}
    maxima[lane] = maximum;
    places[lane] = place;
    rests[lane] = rest;
    kinds[lane] = kind;
#if ${smooth}
    differences[lane] = difference;
#endif
    workgroupBarrier();
    for (var half = ROW_LANES / 2u; half > 0u; half /= 2u) {
      if (part < half) { join_rows(lane, lane + half); }
      workgroupBarrier();
    }
    maximum = maxima[lane];
    place = places[lane];
    rest = rests[lane];
    kind = kinds[lane];
#if ${smooth}
    difference = differences[lane];
#endif
#endif
    if (there && part == 0u) {
      let is_none = (kind & IS_NONE) != 0u || maximum <= ${LOWEST};
      let spread = select(log_of_one_plus(max(rest, 0.0)), of_bits(NO_NUMBER), is_none);
      statistics[row - params.statisticsBase] = vec2f(maximum, spread);
      if (wanted < CLASSES) {
        atomicAdd(&tallies[0], 1u);
        if (place == wanted && !is_none) { atomicAdd(&tallies[1], 1u); }
        let is_infinite = ${smooth ? "(kind & HAS_LOWEST) != 0u" : "bitcast<u32>(own) == MINUS_INFINITE"};
        let finite_loss = spread + (maximum - own)${smooth ? " - SPREAD * difference" : ""};
        loss += select(select(finite_loss, of_bits(INFINITE), is_infinite), of_bits(NO_NUMBER), is_none);
      }
    }
  }
  partials[lane] = loss;
${SUM_LANES}
  if (lane == 0u) {
    let at = 3u * (params.firstSum + group);
    sums[at] = bitcast<u32>(partials[0]);
    sums[at + 1u] = atomicLoad(&tallies[0]);
    sums[at + 2u] = atomicLoad(&tallies[1]);
  }
`;
  const join = wgsl`
// What two lanes know of a row: the maximum of one is a term of the other's.
fn join_rows(a: u32, b: u32) {
  let swapped = maxima[b] > maxima[a] || (maxima[b] == maxima[a] && places[b] < places[a]);
  let high = select(a, b, swapped);
  let low = select(b, a, swapped);
  let rest = rests[high] + (rests[low] + 1.0) * exponential(maxima[low] - maxima[high]);
  let maximum = maxima[high];
  let place = places[high];
  maxima[a] = maximum;
  places[a] = place;
  rests[a] = rest;
  kinds[a] |= kinds[b];
#if ${smooth}
  differences[a] += differences[b];
#endif
}
`;
  return makeKernel({
    id: "nn/cross-entropy",
    label: `cross-entropy of ${classes} classes`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      ...classRowBindings(spec),
      { name: "statistics", access: "read_write", element: "vec2f" },
      { name: "sums", access: "read_write", element: "u32" },
    ],
    params: ["rows", "firstRow", "rounds", "firstSum", "logitsBase", "targetsBase", "statisticsBase"],
    declarations: [
      wgsl`${classRowDeclarations(spec)}
// Kinds of rows.
const IS_NONE = 1u;
const HAS_LOWEST = 2u;
${NON_FINITE}${EXPONENTIAL}${EXPONENTIAL4}${LOG_OF_ONE_PLUS}
fn logit(row: u32, class_index: u32) -> f32 { return ${logit}; }
`,
      ...crossEntropyVariables(spec),
      joins ? join : "",
    ],
    body,
  });
}
