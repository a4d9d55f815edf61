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
  [8, 32],
  [4, 32],
  [4, 16],
  [2, 16],
  [2, 8],
  [1, 8],
  [1, 1],
].map(([rows, rowLanes]) => ({ rows: rows!, rowLanes: rowLanes! }));

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
  const { headDim, valueDim } = shape;
  const { q, k } = projected ?? { q: storedRows(shape, tensors.q, headDim), k: storedRows(shape, tensors.k, headDim) };
  return { queries: q, keys: k, values: storedRows(shape, tensors.v, valueDim) };
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
interface DirectRows {
  readonly totals: Rows;
  readonly gradients: Rows;
  readonly flags: Handle;
}

/** Adds what rows that are summed directly add to the gradients of queries, keys or values, which are there. */
export function addDirectGradient(
  work: MultiplicativeWork,
  group: HeadGroup,
  of: Exclude<DirectGradientKernelSpec["of"], "weights">,
  scratch: FeatureScratch,
  { totals, gradients, flags, out }: DirectRows & { readonly out: Rows },
): void {
  const words = flagWords(work);
  const tiles = tilesOf(work);
  addHeadKernel(work, group, directGradientKernel({ ...pairShape(work), of }), {
    groups: tiles,
    rows: { ...pairRows(work, scratch), totals, gradients, out },
    uses: {
      kept: keptOf(work, group, 0),
      flags: {
        buffer: flags,
        slice: firstBytes(group.count * words * WORD_BYTES),
        reads: group.count * tiles * (of === "queries" ? 1 : tiles) * WORD_BYTES,
      },
    },
    flops: 0,
    mostFlops: mostFlops(work),
  });
}

/** Adds what such rows add to the gradient of the weights; of the first group of a head, instead of what is there. */
export function addDirectWeightGradient(
  work: MultiplicativeWork,
  group: HeadGroup,
  scratch: FeatureScratch,
  { totals, gradients, flags, out }: DirectRows & { readonly out: Handle },
): void {
  const { heads } = work.shape;
  const weights = headWeights(work.shape);
  const stride = Math.min(group.count, heads);
  const batches = group.count / stride;
  const firstHead = group.first % heads;
  const [tiles, weightTiles] = [tilesOf(work), Math.ceil(weights / pairShape(work).rows)];
  const headBytes = weights * FLOAT_BYTES;
  const outBytes = stride * headBytes;
  const accumulate = group.first >= heads;
  const kernel = directGradientKernel({ ...pairShape(work), of: "weights" });
  addHeadKernel(work, group, kernel, {
    groups: weightTiles, // of the heads of a batch row; the others end at once
    params: { batches, stride, accumulate: accumulate ? 1 : 0 },
    rows: { ...pairRows(work, scratch), totals, gradients },
    uses: {
      kept: keptOf(work, group, 0),
      flags: { buffer: flags, slice: firstBytes(group.count * (1 + tiles) * WORD_BYTES), reads: group.count * weightTiles * tiles * WORD_BYTES },
      out: {
        buffer: out,
        slice: sliceBytes(work.program.limits, firstHead * headBytes, firstHead * headBytes + outBytes),
        reads: accumulate ? outBytes : 0,
        writes: outBytes,
      },
    },
    flops: 0,
    mostFlops: 2 * mostFlops(work),
  });
}
