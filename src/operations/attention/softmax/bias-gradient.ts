/** The gradient of a bias in the logits: tiles of queries and keys that walk along the diagonals, and what brings their sums together. */
import {
  type BiasBands,
  biasFlags,
  softmaxBiasGradientKernel,
  softmaxBiasGradientLayout,
} from "../../../../shaders/attention/softmax/bias-gradient.ts";
import { softmaxJoinBiasGradientKernel } from "../../../../shaders/attention/softmax/join-bias-gradient.ts";
import { type SoftmaxKernelLayout, softmaxOthers, softmaxRows, type SoftmaxTile } from "../../../../shaders/attention/softmax/tiles.ts";
import { largestScratch } from "../../../program/ranges.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes } from "../../../program/workgroups.ts";
import { elementCount } from "../../../core/check.ts";
import { weightsShape } from "../../toeplitz/spec.ts";
import { addHeadKernel, stridesOf } from "../head-groups.ts";
import { type AttentionShape, keyLengthOf } from "../spec.ts";
import type { BiasGradient, BiasGradientSweep } from "./gradient.ts";
import { biasUse, kernelShape } from "./splits.ts";
import { mostSeen, sweepOf, WEIGHT_FLOPS } from "./sweep.ts";

/** Share of the scratch for sums of diagonals, at most. */
const SUMS_SHARE = 1 / 8;

/** The tile of the gradient: four rows and four others of a lane. */
function biasTile(tile: SoftmaxTile): SoftmaxTile {
  return { ...tile, rowVectors: 1, patchOthers: 4 };
}

/** The period whose row tiles have the fewest rows too many, of those of a few tiles, or of one row of a grid. */
function periodOf({ grid }: AttentionShape, rows: number): number {
  if (!grid) return rows;
  const [height, width] = grid;
  const waste = (period: number) => (Math.ceil(period / rows) * rows) / period;
  const most = Math.max(1, Math.min(height, Math.floor((4 * rows) / width)));
  const periods = Array.from({ length: most }, (_, i) => (i + 1) * width);
  return periods.reduce((best, period) => (waste(period) < waste(best) ? period : best));
}

function bandsOf(shape: AttentionShape, tile: SoftmaxTile): BiasBands {
  const { length, causal, window = length } = shape;
  const keys = keyLengthOf(shape);
  const [rows, others] = [softmaxRows(tile), softmaxOthers(tile)];
  const period = periodOf(shape, rows);
  const before = others * Math.ceil((window - 1) / others);
  const after = causal ? rows : keys === length ? Math.min(length, rows + window - 1) : keys;
  return { period, rowTiles: Math.ceil(period / rows), bands: before / others + Math.ceil(after / others), before };
}

/** Pairs of tiles that the workgroups of a head go through. */
function visitsOf(shape: AttentionShape, tile: SoftmaxTile, { period, rowTiles, bands, before }: BiasBands) {
  const [rows, others] = [softmaxRows(tile), softmaxOthers(tile)];
  const { length } = shape;
  const keys = keyLengthOf(shape);
  let [pairs, statistics] = [0, 0];
  for (let step = 0; step * period < length; step++) {
    for (let first = step * period; first < Math.min(length, step * period + rowTiles * rows); first += rows) {
      const begin = Math.max(0, Math.floor((before - first) / others));
      const end = Math.min(bands, Math.ceil((keys + before - first) / others));
      pairs += end - begin;
      statistics += (end - begin) * Math.min(rows, length - first);
    }
  }
  return { pairs, statistics };
}

/** Sums that are read of a part of a row tile of a head. */
function sumsRead(shape: AttentionShape, rows: number, others: number, { bands, before }: BiasBands): number {
  const { length, form } = shape;
  const grid = shape.grid ?? ([1, length] as const);
  const [left, right] = form?.between ?? [grid[1], grid[1]];
  let count = 0;
  for (let dy = 1 - grid[0]; dy < grid[0]; dy++) {
    for (let dx = 1 - left; dx < right; dx++) {
      const reach = dy * grid[1] + dx + before + rows - 1;
      if (reach < 0) continue;
      const first = Math.max(0, Math.floor((reach - (rows + others - 1) + others) / others));
      count += Math.max(0, Math.min(bands, Math.floor(reach / others) + 1) - first);
    }
  }
  return count;
}

export const biasGradient: BiasGradient = {
  layout({ keyLength: otherRows, headDim, valueDim }, tile): SoftmaxKernelLayout {
    return softmaxBiasGradientLayout({ otherRows, tile: biasTile(tile), headDim, valueDim });
  },

  plan({ program, shape, scratch }, wide, splits): BiasGradientSweep {
    const tile = biasTile(wide);
    const [rows, others] = [softmaxRows(tile), softmaxOthers(tile)];
    const { length, batch, heads, headDim, valueDim, grid } = shape;
    const biasGrid = grid ?? ([1, length] as const);
    const bands = bandsOf(shape, tile);
    const sums = bands.rowTiles * bands.bands * biasFlags({ biasGrid }) * (rows + others - 1);
    const periods = Math.ceil(length / bands.period);
    // As much for a workgroup as it has in other sweeps, where the sums find room.
    const wanted = Math.ceil(length / Math.min(splits.others, mostSeen(shape, tile)));
    const room = Math.floor(largestScratch(program.limits, scratch * SUMS_SHARE) / (sums * FLOAT_BYTES));
    const steps = Math.ceil(periods / Math.max(1, Math.min(wanted, room)));
    const parts = Math.ceil(periods / steps);
    const headFloats = parts * sums;
    const visits = visitsOf(shape, tile, bands);
    const read = sumsRead(shape, rows, others, bands) * bands.rowTiles * parts;
    const { pairs } = sweepOf(shape, tile, "queries", { others: keyLengthOf(shape) }, { first: 0, count: Math.ceil(length / rows) });
    const weights = elementCount(weightsShape(shape));
    return {
      headBytes: headFloats * FLOAT_BYTES,
      add(work, dBias) {
        const partials = program.temporary("bias sums", work.mostHeads * headFloats * FLOAT_BYTES);
        const { q: queries, k: keys, v: values, dOut: gradients } = work.rows;
        const strides = stridesOf({ queries, keys, values, gradients });
        const kernel = softmaxBiasGradientKernel({ ...kernelShape({ shape, splits: { ...splits, count: 1 }, tile }), biasGrid, ...bands, strides });
        return (group) => {
          const bytes = group.count * headFloats * FLOAT_BYTES;
          addHeadKernel(work, group, kernel, {
            groups: parts * bands.rowTiles * bands.bands,
            params: { parts, steps },
            rows: {
              queries: { ...work.rows.q, reads: visits.pairs * rows },
              keys: { ...work.rows.k, reads: visits.pairs * others },
              values: { ...work.rows.v, reads: visits.pairs * others },
              gradients: { ...work.rows.dOut, reads: visits.pairs * rows },
              statistics: { ...work.statistics, reads: visits.statistics },
            },
            uses: { ...biasUse(work, group), partials: { buffer: partials, writes: bytes } },
            flops: pairs * (2 * headDim + 2 * valueDim + WEIGHT_FLOPS),
          });
          const accumulate = group.first > 0;
          program.dispatch({
            kernel: softmaxJoinBiasGradientKernel({
              biasGrid,
              biasBetween: shape.form?.between,
              rows,
              others,
              ...bands,
              accumulate,
              lanes: elementwiseLanes(program.limits),
            }),
            elements: weights,
            params: { firstHead: group.first, heads, groupHeads: group.count, parts },
            uses: {
              partials: { buffer: partials, reads: group.count * read * FLOAT_BYTES },
              out: { buffer: dBias, reads: accumulate ? weights * FLOAT_BYTES : 0, writes: weights * FLOAT_BYTES },
            },
            flops: batch * read,
          });
        };
      },
    };
  },
};
