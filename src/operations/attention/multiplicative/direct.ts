/**
 * The quotient of numerators and denominator, and the rows of which transforms leave only rounding: those are summed by definition, a query and a key
 * at a time. What plans state is what it takes without such rows.
 */
import {
  directGradientBytes,
  directGradientKernel,
  type DirectGradientKernelSpec,
} from "../../../../shaders/attention/multiplicative/direct-gradient.ts";
import { finishBytes, multiplicativeFinishKernel } from "../../../../shaders/attention/multiplicative/finish.ts";
import type { Handle } from "../../../program/builder.ts";
import { firstBytes, sliceBytes } from "../../../program/ranges.ts";
import { FLOAT_BYTES, WORD_BYTES } from "../../../program/units.ts";
import { firstTile } from "../../../program/workgroups.ts";
import { headWeights } from "../../toeplitz/kept.ts";
import { addHeadKernel, type HeadGroup, type Rows, storedRows } from "../head-groups.ts";
import { type FeatureScratch, keptOf, type MultiplicativeWork } from "./channels.ts";

/** Rows of a workgroup and lanes of a row, the best first. */
const TILES = [
  { rows: 8, rowLanes: 32 },
  { rows: 4, rowLanes: 32 },
  { rows: 2, rowLanes: 16 },
  { rows: 1, rowLanes: 1 },
];

/** What the kernels of pairs have in common. */
function pairShape({ program, shape, features, featureMap }: MultiplicativeWork) {
  const { length, grid = [1, length], valueDim, causal } = shape;
  const tile = firstTile(program, TILES, {
    lanes: ({ rows, rowLanes }) => rows * rowLanes,
    bytes: (each) => Math.max(finishBytes(each), directGradientBytes(each)),
    what: "a row that is summed directly",
  });
  return { ...tile, grid, features, valueDim, featureMap, causal };
}

/** The rows that pairs are made of. */
function pairRows({ shape, tensors }: MultiplicativeWork, { projected }: FeatureScratch) {
  const { q, k } = projected ?? { q: storedRows(shape, tensors, "q"), k: storedRows(shape, tensors, "k") };
  return { queries: q, keys: k, values: storedRows(shape, tensors, "v") };
}

/** Operations where all rows of a head are summed directly. */
function mostFlops({ shape, features, featureMap }: MultiplicativeWork): number {
  const { length, valueDim } = shape;
  const perFeature = featureMap === "sikf" ? 24 : 48;
  return length ** 2 * (perFeature * features + 2 * valueDim) * (shape.causal ? 0.5 : 1);
}

/** Scratch for which rows of the largest group are summed directly. */
export function flagScratch(work: MultiplicativeWork): Handle {
  return work.program.temporary("flags", work.mostHeads * flagWords(work) * WORD_BYTES);
}

function tilesOf(work: MultiplicativeWork): number {
  return Math.ceil(work.shape.length / pairShape(work).rows);
}

function flagWords(work: MultiplicativeWork): number {
  return 1 + tilesOf(work);
}

/** Adds the quotient, or the gradient of numerators and denominator in the place of the totals. */
export function addFinish(
  work: MultiplicativeWork,
  group: HeadGroup,
  scratch: FeatureScratch,
  totals: Rows,
  result: { readonly out: Rows; readonly gradients?: undefined } | { readonly gradients: Rows; readonly flags: Handle; readonly out?: undefined },
): void {
  const { length, valueDim, variableLengths } = work.shape;
  const flagBytes = group.count * flagWords(work) * WORD_BYTES;
  addHeadKernel(work, group, multiplicativeFinishKernel({ ...pairShape(work), into: result.out ? "out" : "inner", variableLengths }), {
    groups: tilesOf(work),
    rows: {
      ...pairRows(work, scratch),
      // Numerators, denominator and its bound; of the gradient not the bound.
      totals: { ...totals, columns: 1, reads: length * (valueDim + 2), writes: result.out ? 0 : length * (valueDim + 1) },
      out: result.out && { ...result.out, writes: length },
      gradients: result.gradients && { ...result.gradients, reads: length },
    },
    uses: {
      kept: keptOf(work, group, 0),
      flags: result.out ? undefined : { buffer: result.flags, slice: firstBytes(flagBytes), writes: flagBytes },
    },
    flops: 4 * length * valueDim,
    mostFlops: mostFlops(work),
  });
}

/** Rows that {@link addFinish} leaves for gradients. */
export interface DirectRows {
  readonly totals: Rows;
  readonly gradients: Rows;
  readonly flags: Handle;
}

/**
 * Adds what rows that are summed directly add to a gradient.
 *
 * @param to `out`: the gradient of queries, keys or values, which is there; `dBias`: that of the weights, which is there from the second batch row on
 */
export function addDirectGradient(
  work: MultiplicativeWork,
  group: HeadGroup,
  of: DirectGradientKernelSpec["of"],
  scratch: FeatureScratch,
  { totals, gradients, flags }: DirectRows,
  to: { readonly out?: Rows; readonly dBias?: Handle },
): void {
  const { program, shape } = work;
  const pairs = pairShape(work);
  const tiles = tilesOf(work);
  const weights = headWeights(shape);
  const groups = to.dBias ? Math.ceil(weights / pairs.rows) : tiles;
  // Workgroups of the heads of one batch row go through all; the others end at once.
  const stride = Math.min(group.count, shape.heads);
  const [firstByte, bytes] = [group.first % shape.heads, stride].map((heads) => heads * weights * FLOAT_BYTES) as [number, number];
  const accumulate = group.first >= shape.heads;
  const flagBytes = group.count * WORD_BYTES;
  addHeadKernel(work, group, directGradientKernel({ ...pairs, of }), {
    groups,
    params: { batches: group.count / stride, stride, accumulate: accumulate ? 1 : 0 },
    rows: { ...pairRows(work, scratch), totals, gradients, ...(to.out && { out: to.out }) },
    uses: {
      kept: keptOf(work, group, 0),
      flags: { buffer: flags, slice: firstBytes(flagBytes * (1 + tiles)), reads: flagBytes * groups * (of === "queries" ? 1 : tiles) },
      ...(to.dBias && {
        out: { buffer: to.dBias, slice: sliceBytes(program.limits, firstByte, firstByte + bytes), reads: accumulate ? bytes : 0, writes: bytes },
      }),
    },
    flops: 0,
    mostFlops: (to.dBias ? 2 : 1) * mostFlops(work),
  });
}
