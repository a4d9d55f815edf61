/**
 * Gradient of a bias in the logits: adds up what attention/softmax/bias-gradient.ts has left of each offset, over the batch rows of the dispatch,
 * parts, row tiles and bands, in this order; (+ out, for a dispatch that is not the first).
 *
 * Layout: partials as there; out [heads, 2H − 1, 2W − 1]. Lane → weight.
 * Bindings: 0 partials, 1 out; then params.
 */
import { type BiasBands, biasFlags } from "./bias-gradient.ts";
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxJoinBiasGradientSpec extends BiasBands {
  readonly biasGrid: readonly [height: number, width: number];
  /** Of cross-attention, its queries and keys. */
  readonly biasBetween?: readonly [queries: number, keys: number] | undefined;
  /** Queries and keys of a pair of tiles. */
  readonly rows: number;
  readonly others: number;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
  /** Lanes of a workgroup. */
  readonly lanes: number;
}

export function softmaxJoinBiasGradientKernel(spec: SoftmaxJoinBiasGradientSpec): Kernel {
  const { biasGrid, biasBetween, rows, others, rowTiles, bands, before, accumulate, lanes } = spec;
  const [height, width] = biasGrid;
  const [offsetsBefore, offsetsAfter] = biasBetween ?? [width, width];
  const pitch = offsetsBefore + offsetsAfter - 1;
  const flags = biasFlags(spec);
  return makeKernel({
    id: "attention/softmax/join-bias-gradient",
    label: `softmax attention bias gradient sums${accumulate ? " + others" : ""}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "partials", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "f32" },
    ],
    params: ["count", "firstHead", "heads", "groupHeads", "parts"],
    declarations: wgsl`
const WEIGHTS = ${u32((2 * height - 1) * pitch)};
const PITCH = ${u32(pitch)};
const BANDS = ${u32(bands)};
const OTHERS = ${u32(others)};
const DIAGONALS = ${u32(rows + others - 1)};
`,
    body: wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let head = index / WEIGHTS;
  let dy = i32(index % WEIGHTS / PITCH) - ${height - 1};
  let dx = i32(index % WEIGHTS % PITCH) - ${offsetsBefore - 1};
#if ${flags > 1}
  let flag = select(0u, 1u, dx < 0);
#else
  let flag = 0u;
#endif
  // How far the keys are from the first one of the first band and the last query of the tile.
  let reach = dy * ${width} + dx + ${before + rows - 1};
  let first_band = u32(max(0, (reach - i32(DIAGONALS) + i32(OTHERS)) / i32(OTHERS)));
  let end_band = select(min(BANDS, u32(max(0, reach)) / OTHERS + 1u), 0u, reach < 0);
  var sum = ${accumulate ? "out[index]" : "0.0"};
  for (var bh = (head + params.heads - params.firstHead % params.heads) % params.heads; bh < params.groupHeads; bh += params.heads) {
    for (var tiles = bh * params.parts * ${u32(rowTiles)}; tiles < (bh + 1u) * params.parts * ${u32(rowTiles)}; tiles++) {
      for (var band = first_band; band < end_band; band++) {
        sum += partials[((tiles * BANDS + band) * ${u32(flags)} + flag) * DIAGONALS + u32(reach) - band * OTHERS];
      }
    }
  }
  out[index] = sum;
`,
  });
}
