/**
 * What a training step came to, into its row of a history that the host reads when it likes: the number of the step, the health after it, the sum of
 * squares of all gradients, the loss, how many targets counted, and how many of them were right. Where a step adds up several batches, the first one
 * starts the row, the others add to it, and the last one ends it.
 *
 * Layout: `loss`, `norm` one float32; `clock` four words, the third of them the number of the step; `counts`, `health` two words; `history` HISTORY_ROWS
 * rows of HISTORY_COLUMNS float32, the row of a step being its number modulo the rows. Integers are exact up to 2²⁴. One lane.
 * Bindings: 0 loss, 1 clock, 2 history, then counts, norm, health as far as they are there; then params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export const HISTORY_ROWS = 256;
export const HISTORY_COLUMNS = 8;

export interface RecordKernelSpec {
  readonly isFirst: boolean;
  readonly isLast: boolean;
  /** Whether targets are counted. */
  readonly counts: boolean;
}

export function recordKernel(spec: RecordKernelSpec): Kernel {
  const { isFirst, isLast, counts } = spec;
  const body = wgsl`  let row = (clock[2] % ${u32(HISTORY_ROWS)}) * ${u32(HISTORY_COLUMNS)};
#if ${isFirst}
  history[row] = f32(clock[2]);
  history[row + 3u] = loss[0];
#else
  history[row + 3u] += loss[0];
#endif
#if ${counts && isFirst}
  history[row + 4u] = f32(counts[0]);
  history[row + 5u] = f32(counts[1]);
#elif ${counts}
  history[row + 4u] += f32(counts[0]);
  history[row + 5u] += f32(counts[1]);
#endif
#if ${isLast}
  history[row + 1u] = f32(health[0]);
  history[row + 2u] = norm[0];
#endif
`;
  return makeKernel({
    id: "nn/record",
    label: "record",
    constants: spec,
    workgroupSize: 1,
    bindings: [
      { name: "loss", access: "read", element: "f32" },
      { name: "clock", access: "read", element: "u32" },
      { name: "history", access: "read_write", element: "f32" },
      ...(counts ? [{ name: "counts", access: "read", element: "u32" } as const] : []),
      ...(isLast
        ? ([
            { name: "norm", access: "read", element: "f32" },
            { name: "health", access: "read", element: "u32" },
          ] as const)
        : []),
    ],
    params: [],
    declarations: "",
    body,
  });
}
