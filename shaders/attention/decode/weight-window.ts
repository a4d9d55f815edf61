/**
 * Weights of some neighbouring offsets of every head: window_ho = weights[h, first + o], zero where there is none.
 *
 * Layout: weights [H, 2N − 1], window [H, count]. Lane → (head, o), o fastest.
 * Bindings: 0 weights, 1 window, 2 params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface WeightWindowKernelSpec {
  /** Weights of a head. */
  readonly weights: number;
  /** Where the window begins; may be below zero. */
  readonly first: number;
  /** Weights of the window. */
  readonly count: number;
  readonly lanes: number;
}

export function weightWindowKernel({ weights, first, count, lanes }: WeightWindowKernelSpec): Kernel {
  const missing = Math.max(0, -first);
  return makeKernel({
    id: "attention/decode/weight-window",
    label: `decode: ${count} weights`,
    constants: { weights, first, count, lanes },
    workgroupSize: lanes,
    bindings: [
      { name: "weights", access: "read", element: "f32" },
      { name: "window", access: "read_write", element: "f32" },
    ],
    params: ["count"],
    declarations: "",
    body: wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let head = index / ${u32(count)};
  let o = index % ${u32(count)};
  var weight = 0.0;
  if (o >= ${u32(missing)}) { weight = weights[head * ${u32(weights)} + ${u32(Math.max(0, first))} + o - ${u32(missing)}]; }
  window[index] = weight;
`,
  });
}
