/** What others take for softmax attention, as bench/RESULTS.md has it. */
import { COST_HEAD_DIM } from "./tasks/cost.ts";
import type { Known } from "./sections/cost-words.ts";

/** PyTorch 2.11, scaled_dot_product_attention in float32 as a CUDA graph, 8 heads of 64, on an H100. */
const PYTORCH = {
  vendor: "nvidia",
  architecture: "hopper",
  heads: 8,
  headDim: 64,
  milliseconds: new Map([
    [256, 0.0374],
    [512, 0.0655],
    [1024, 0.123],
    [4096, 1.31],
    [16384, 16.9],
  ]),
} as const;

/** Of softmax attention with so many heads and tokens on an adapter. */
export function knownSoftmax(info: GPUAdapterInfo | undefined, heads: number, n: number): Known | undefined {
  const { vendor, architecture, headDim } = PYTORCH;
  if (info?.vendor !== vendor || info.architecture !== architecture || heads !== PYTORCH.heads || headDim !== COST_HEAD_DIM) return undefined;
  const milliseconds = PYTORCH.milliseconds.get(n);
  return milliseconds === undefined ? undefined : { what: "PyTorch\u2019s softmax attention", milliseconds };
}
