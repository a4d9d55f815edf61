/** Softmax attention: one dispatch that goes through the keys in tiles, and with splits another one that brings them together. */
import { softmaxAttentionKernel, softmaxAttentionLayout } from "../../../../shaders/attention/softmax/forward.ts";
import type { ProgramBuilder } from "../../../program/builder.ts";
import { addBias, type AttentionTensors } from "../bias.ts";
import { addHeadKernel, headGroups, storedRows, stridesOf } from "../head-groups.ts";
import type { AttentionShape } from "../spec.ts";
import { chooseSplits, chooseTile, type SoftmaxChoice } from "./choose.ts";
import {
  addJoin,
  biasUse,
  blocksOf,
  kernelShape,
  MAXIMA,
  outputJoin,
  partialBytes,
  partialScratch,
  type SweepWork,
  writtenPartials,
} from "./splits.ts";
import { columnTilesOf, productLoads, WEIGHT_FLOPS } from "./sweep.ts";

/** Adds softmax attention, with FastRPB, a bias in the logits, or none. */
export function planSoftmaxAttention(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionTensors, scratch: number): void {
  const { headDim, valueDim } = shape;
  const partialWidths = [valueDim, MAXIMA];
  const choice: SoftmaxChoice = {
    program,
    shape,
    pairFlops: { "attention/softmax/forward": 2 * headDim + 2 * valueDim + WEIGHT_FLOPS },
    columnTiles: (tile) => columnTilesOf(tile, valueDim),
    partialWidths: () => partialWidths,
    scratch,
  };
  const tile = chooseTile(choice, (candidate) => [
    softmaxAttentionLayout({ tile: candidate, headDim, valueDim, columnTiles: columnTilesOf(candidate, valueDim) }),
  ]);
  const splits = chooseSplits(choice, tile);
  const groups = headGroups(program, shape, [headDim, valueDim], scratch, 0, splits.mostHeads);
  const { lengths, keyMask, bias } = tensors;
  const work: SweepWork = { program, shape, lengths, keyMask, bias, mostHeads: groups[0]!.count, tile, splits };
  const accumulate = addBias(program, shape, tensors, scratch - partialBytes(work, partialWidths));
  const out = storedRows(shape, tensors, "out");
  const sums = partialScratch(work, "sums", valueDim);
  const maxima = partialScratch(work, "maxima", MAXIMA);
  const join = sums && maxima && outputJoin(work, sums, maxima, out, accumulate);
  const added = accumulate && !join;
  const columnTiles = columnTilesOf(tile, valueDim);
  const [queries, keys, values] = [storedRows(shape, tensors, "q"), storedRows(shape, tensors, "k"), storedRows(shape, tensors, "v")];
  const strides = stridesOf({ queries, keys, values, out: join ? undefined : out });
  const kernel = softmaxAttentionKernel({ ...kernelShape(work), storage: shape.storage, accumulate: added, columnTiles, strides });
  for (const block of groups.flatMap((group) => blocksOf(work, group, "queries"))) {
    addHeadKernel(work, block.group, kernel, {
      groups: block.groups * columnTiles,
      params: block.params,
      rows: {
        queries: { ...queries, reads: block.own * columnTiles },
        keys: { ...keys, reads: block.others * columnTiles },
        values: { ...values, reads: block.others * productLoads(tile, valueDim, columnTiles) },
        out: { ...out, reads: added ? block.rows : 0, writes: block.rows },
      },
      uses: { ...biasUse(work, block.group), ...writtenPartials(block, { out: sums, maxima }) },
      flops: block.pairs * (columnTiles * (2 * headDim + WEIGHT_FLOPS) + 2 * valueDim),
    });
    if (join) addJoin(work, block, join);
  }
}
