import { dropoutKernel } from "../../../shaders/nn/dropout.ts";
import { SEED_FACTOR } from "../../math/counter-random.ts";
import type { NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { sliceBytes } from "../../program/ranges.ts";
import { spansOf } from "../../program/slices.ts";
import { FLOAT_BYTES, WORD_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { type DropoutSpec, keepThreshold } from "./spec.ts";

const QUAD_BYTES = 4 * FLOAT_BYTES;
/** Operations on four neighbours, most of them integer. */
const FLOPS = 40;

/** Adds dropout of `x`, in slices of what a binding holds. */
export function planDropout(
  program: ProgramBuilder,
  { size, rate, site }: DropoutSpec,
  { x, clock, out }: NamedHandles<"x" | "clock" | "out">,
): void {
  const { limits } = program;
  const bytes = size * FLOAT_BYTES;
  const kernel = dropoutKernel({ lanes: elementwiseLanes(limits), vectors: size % 4 === 0, seedFactor: SEED_FACTOR });
  const bound = limits.maxStorageBufferBindingSize;
  const most = bytes <= bound ? Infinity : (bound - (bound % limits.minStorageBufferOffsetAlignment)) / QUAD_BYTES;
  const scale = new Uint32Array(Float32Array.of(1 / (1 - rate)).buffer)[0]!;
  for (const { first, count } of spansOf(Math.ceil(size / 4), most)) {
    const [begin, end] = [first * QUAD_BYTES, Math.min((first + count) * QUAD_BYTES, bytes)];
    const slice = sliceBytes(limits, begin, end);
    program.dispatch({
      kernel,
      elements: count,
      params: { firstQuad: first, size, site, threshold: keepThreshold(rate), scale },
      uses: {
        x: { buffer: x, slice, reads: end - begin },
        clock: { buffer: clock, reads: 3 * WORD_BYTES },
        out: { buffer: out, slice, writes: end - begin },
      },
      flops: count * FLOPS,
    });
  }
}
