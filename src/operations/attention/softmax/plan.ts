/** Softmax attention: one dispatch that goes through the keys in tiles. */
import { queriesStay, softmaxAttentionKernel, softmaxAttentionLayout } from "../../../../shaders/attention/softmax/forward.ts";
import type { SoftmaxTile } from "../../../../shaders/attention/softmax/tiles.ts";
import type { ProgramBuilder } from "../../../program/builder.ts";
import { addBias, type AttentionTensors } from "../bias.ts";
import { addHeadKernel, headGroups, storedRows } from "../head-groups.ts";
import type { AttentionShape } from "../spec.ts";
import { chooseTile, columnTilesOf, kernelShape, sweepOf, WEIGHT_FLOPS } from "./sweep.ts";

/** Adds softmax attention, with FastRPB or without a bias. */
export function planSoftmaxAttention(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionTensors, scratch: number): void {
  const { headDim, valueDim, length } = shape;
  const layoutOf = (tile: SoftmaxTile) => softmaxAttentionLayout({ tile, headDim, valueDim, columnTiles: columnTilesOf(tile, valueDim) });
  const tile = chooseTile(program, shape, 2 * headDim + 2 * valueDim + WEIGHT_FLOPS, (candidate) => [layoutOf(candidate)]);
  const columnTiles = columnTilesOf(tile, valueDim);
  const accumulate = addBias(program, shape, tensors, scratch);
  const kernel = softmaxAttentionKernel({ ...kernelShape(shape), storage: shape.storage, accumulate, tile, columnTiles });
  const sweep = sweepOf(shape, tile, "queries");
  for (const group of headGroups(program, shape, [headDim, valueDim], scratch)) {
    addHeadKernel({ program, shape, lengths: tensors.lengths }, group, kernel, {
      groups: sweep.tiles * columnTiles,
      rows: {
        queries: { ...storedRows(shape, tensors.q, headDim), reads: (queriesStay({ tile, headDim }) ? length : sweep.own) * columnTiles },
        keys: { ...storedRows(shape, tensors.k, headDim), reads: sweep.others * columnTiles },
        values: { ...storedRows(shape, tensors.v, valueDim), reads: sweep.others },
        out: { ...storedRows(shape, tensors.out, valueDim), reads: accumulate ? length : 0, writes: length },
      },
      flops: sweep.pairs * (columnTiles * (2 * headDim + WEIGHT_FLOPS) + 2 * valueDim),
    });
  }
}
