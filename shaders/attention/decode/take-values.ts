/**
 * The last M values of a sequence that is decoded token by token, as rows of their own: block_t = v_{i−M+t}, i the tokens so far.
 *
 * Layout: states [B·H, state] (DecodeStateLayout), history [B·H, 2, N, E], of which the first half are values, block [heads of the dispatch, M, E].
 * Lane → (head, t, four values), the values fastest.
 * Bindings: 0 states, 1 history, 2 block, 3 params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { loadVector, storeVector, vectorElement, vectorsOf } from "../../wgsl/rows.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface BlockRowsKernelSpec {
  /** The most tokens of a sequence, `N`. */
  readonly length: number;
  /** Tokens of the block, `M`. */
  readonly block: number;
  /** Numbers of a row, `E`. */
  readonly valueDim: number;
  /** Floats of the state of a head. */
  readonly state: number;
  readonly lanes: number;
}

/** Parameters, WGSL constants, and statements that find the row `t`, the vector `column` and the tokens so far of a lane. */
export function blockRow({ length, block, valueDim, state }: BlockRowsKernelSpec) {
  const vectors = vectorsOf(valueDim);
  return {
    params: ["count", "firstHead", "statesBase", "historyBase", "blockBase"],
    constants: `const N = ${u32(length)};
const M = ${u32(block)};
const VECTORS = ${u32(vectors)};`,
    statements: wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let column = index % VECTORS;
  let t = index / VECTORS % M;
  let head = index / (VECTORS * M);
  let bh = params.firstHead + head;
  let position = u32(states[(bh * ${u32(state / 4)}) - params.statesBase].x);
`,
  };
}

export function takeValuesKernel(spec: BlockRowsKernelSpec): Kernel {
  const { valueDim } = spec;
  const { params, constants, statements } = blockRow(spec);
  return makeKernel({
    id: "attention/decode/take-values",
    label: `decode: the last ${spec.block} values`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "states", access: "read", element: "vec4f" },
      { name: "history", access: "read", element: vectorElement(valueDim) },
      { name: "block", access: "read_write", element: vectorElement(valueDim) },
    ],
    params,
    declarations: wgsl`${constants}
${loadVector("load_history", "history", valueDim)}${storeVector("store_block", "block", valueDim, false)}`,
    body: wgsl`${statements}
  store_block(head * M + t, column, load_history(bh * 2u * N + position - M + t, column));
`,
  });
}
