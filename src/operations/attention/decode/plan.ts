/** Plans for attention that takes a sequence token by token: the steps of the states, and the block products of the bias. */
import { addPendingKernel } from "../../../../shaders/attention/decode/add-pending.ts";
import { BLOCK, decodeStepBytes, decodeStepKernel } from "../../../../shaders/attention/decode/step.ts";
import { type BlockRowsKernelSpec, takeValuesKernel } from "../../../../shaders/attention/decode/take-values.ts";
import { weightWindowKernel } from "../../../../shaders/attention/decode/weight-window.ts";
import { elementCount } from "../../../core/check.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../../program/builder.ts";
import { bindable, sliceBytes } from "../../../program/ranges.ts";
import { spansOf } from "../../../program/slices.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes, firstTile } from "../../../program/workgroups.ts";
import type { Handles } from "../../operation.ts";
import { planToeplitz } from "../../toeplitz/plan.ts";
import { groupRows, type GroupedWork, headGroups, type HeadGroup, storedRows } from "../head-groups.ts";
import { addProjection, projectedRows } from "../random-features.ts";
import { blockProduct, type DecodeSpec, type DecodeStage, stateOf, type WeightWindowSpec } from "./spec.ts";

/** The tensors that stay from call to call. */
interface Kept {
  readonly states: Handle;
  readonly history?: Handle | undefined;
}

/** Adds the steps of all tokens, with the block products between them. @throws FastRpbError code `"limit"` */
export function planDecode(program: ProgramBuilder, spec: DecodeSpec, tensors: Handles, scratch: number): void {
  const { tokens, stages } = spec;
  const shape = { ...spec.shape, length: tokens };
  const { headDim, valueDim, features, featureMap, batch, heads } = shape;
  const { states, history } = tensors as Handles & Kept;
  const all = batch * heads;
  const most = history ? bindable(program, headHistory(spec), all, "the history of one head") : all;
  const groups = headGroups(program, shape, [headDim, valueDim, features], scratch, 0, most);
  const work: GroupedWork = { program, shape, lengths: undefined, mostHeads: all };
  const left = program.scratchLeft(scratch);
  let [queries, keys] = [storedRows(shape, tensors["q"]!, headDim), storedRows(shape, tensors["k"]!, headDim)];
  if (featureMap === "favor+") {
    const to = { queries: projectedRows(work, "query features"), keys: projectedRows(work, "key features") };
    const whole = { first: 0, count: all };
    addProjection(work, whole, "queries", { from: queries, to: to.queries });
    addProjection(work, whole, "keys", { from: keys, to: to.keys });
    [queries, keys] = [
      { ...to.queries, local: false },
      { ...to.keys, local: false },
    ];
  }
  const kernel = stepKernel(program, spec);
  const state = stateOf(spec.shape);
  let firstToken = 0;
  for (const stage of stages) {
    // Each token meets on average half of the values of its block.
    const near = history ? (stage.tokens * BLOCK) / 2 : 0;
    for (const group of groups) {
      const moved = (rows: Parameters<typeof groupRows>[2]) => groupRows(work, group, rows);
      program.dispatch({
        kernel,
        groups: group.count,
        params: { firstHead: group.first, heads, tokens: stage.tokens, rows: tokens, firstToken },
        uses: {
          queries: moved({ ...queries, reads: stage.tokens }),
          keys: moved({ ...keys, reads: stage.tokens }),
          values: moved({ ...storedRows(shape, tensors["v"]!, valueDim), reads: stage.tokens }),
          states: headsUse(program, group, states, state.size * FLOAT_BYTES, stage.tokens),
          out: moved({ ...storedRows(shape, tensors["out"]!, valueDim), writes: stage.tokens }),
          history: history && historyUse(program, spec, group, history, { reads: near, writes: stage.tokens }),
          weights: tensors["weights"] && { buffer: tensors["weights"], reads: group.count * near * FLOAT_BYTES },
        },
        flops: group.count * stage.tokens * (8 * features * valueDim + 2 * near * valueDim),
      });
    }
    if (stage.block > 0) addBlock(program, spec, stage, { states, history: history! }, tensors[`spectrum${stage.block}`]!, left());
    firstToken += stage.tokens;
  }
}

function stepKernel(program: ProgramBuilder, { shape }: DecodeSpec) {
  const { features, featureMap, valueDim, length, bias } = shape;
  const lanes = firstTile(program, [256, 128, 64, 32, 16, 8, 4, 2, 1], {
    lanes: (count) => count,
    bytes: (count) => decodeStepBytes({ headDim: features, lanes: count }),
    what: `a key of ${features} features`,
  });
  return decodeStepKernel({
    length,
    headDim: features,
    valueDim,
    featureMap: featureMap === "elu+1" || featureMap === "relu" ? featureMap : "sikf",
    normalised: featureMap === "softmax",
    bias: bias === "fastrpb",
    precision: "f32",
    lanes,
  });
}

/** Adds what the last `block` values of the sequence add to the results of the next `block` tokens. */
function addBlock(
  program: ProgramBuilder,
  { shape }: DecodeSpec,
  { block }: DecodeStage,
  { states, history }: Required<Kept> & { readonly history: Handle },
  spectrum: Handle,
  scratch: number,
): void {
  const { batch, heads, valueDim, length } = shape;
  const headBytes = block * valueDim * FLOAT_BYTES;
  // Half of the scratch for the values and the product, the rest for what the product needs.
  const most = Math.max(1, Math.floor(scratch / 4 / headBytes));
  const historyHeads = bindable(program, 2 * length * valueDim * FLOAT_BYTES, batch * heads, "the history of one head");
  const atOnce = Math.min(most, historyHeads);
  const values = program.temporary("block of values", Math.min(atOnce, batch * heads) * headBytes);
  const product = program.temporary("block product", values.bytes);
  const left = scratch - values.bytes - product.bytes;
  const kernelSpec: BlockRowsKernelSpec = { length, block, valueDim, state: stateOf(shape).size, lanes: elementwiseLanes(program.limits) };
  const add = (group: HeadGroup, rows: { readonly batch: number; readonly heads: number }, firstSpectrum: number) => {
    const bytes = group.count * headBytes;
    const elements = group.count * block * Math.ceil(valueDim / 4);
    const params = { firstHead: group.first };
    const position: BindingUse = { ...headsUse(program, group, states, stateOf(shape).size * FLOAT_BYTES, 0), reads: group.count * FLOAT_BYTES };
    const use = (moves: { readonly reads?: number; readonly writes?: number }) => historyUse(program, { shape }, group, history, moves);
    program.dispatch({
      kernel: takeValuesKernel(kernelSpec),
      elements,
      params,
      flops: 0,
      uses: { states: position, history: use({ reads: block }), block: { buffer: values, writes: bytes } },
    });
    const spec = blockProduct({ ...rows, valueDim }, block);
    planToeplitz(program, spec, { v: values, spectrum, out: product }, left, { firstSpectrum });
    program.dispatch({
      kernel: addPendingKernel(kernelSpec),
      elements,
      params,
      flops: elements * 4,
      uses: { states: position, history: use({ reads: block, writes: block }), block: { buffer: product, reads: bytes } },
    });
  };
  if (atOnce >= batch * heads) return add({ first: 0, count: batch * heads }, { batch, heads }, 0);
  for (let b = 0; b < batch; b++) {
    for (const { first, count } of spansOf(heads, atOnce)) add({ first: b * heads + first, count }, { batch: 1, heads: count }, first);
  }
}

/** What is kept of the heads of a group as a binding, read and written once by each of `tokens` tokens. */
function headsUse(program: ProgramBuilder, { first, count }: HeadGroup, buffer: Handle, headBytes: number, tokens: number): BindingUse {
  const [begin, end] = [first * headBytes, (first + count) * headBytes];
  const moves = { reads: tokens * (end - begin), writes: tokens * (end - begin) };
  return { buffer, ...(end - begin < buffer.bytes && { slice: sliceBytes(program.limits, begin, end) }), ...moves };
}

/** Rows of the history of the heads of a group, so many of each head. */
function historyUse(
  program: ProgramBuilder,
  spec: Pick<DecodeSpec, "shape">,
  group: HeadGroup,
  history: Handle,
  { reads = 0, writes = 0 }: { readonly reads?: number; readonly writes?: number },
): BindingUse {
  const rowBytes = group.count * spec.shape.valueDim * FLOAT_BYTES;
  return { ...headsUse(program, group, history, headHistory(spec), 0), reads: reads * rowBytes, writes: writes * rowBytes };
}

/** Bytes of the history of a head. */
function headHistory({ shape: { length, valueDim } }: Pick<DecodeSpec, "shape">): number {
  return 2 * length * valueDim * FLOAT_BYTES;
}

/** Adds the copy of some weights of each head. */
export function planWeightWindow(
  program: ProgramBuilder,
  { heads, length, first, count }: WeightWindowSpec,
  { weights, window }: NamedHandles<"weights" | "window">,
): void {
  const elements = elementCount([heads, count]);
  const there = Math.min(count, count + first);
  program.dispatch({
    kernel: weightWindowKernel({ weights: 2 * length - 1, first, count, lanes: elementwiseLanes(program.limits) }),
    elements,
    uses: {
      weights: { buffer: weights, reads: heads * there * FLOAT_BYTES },
      window: { buffer: window, writes: elements * FLOAT_BYTES },
    },
    flops: 0,
  });
}
