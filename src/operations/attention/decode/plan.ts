/** Plans for attention that takes a sequence token by token: the steps of the states, and the block products of the bias. */
import { addPendingKernel } from "../../../../shaders/attention/decode/add-pending.ts";
import { BLOCK, decodeStepBytes, decodeStepKernel } from "../../../../shaders/attention/decode/step.ts";
import { type BlockRowsKernelSpec, takeValuesKernel } from "../../../../shaders/attention/decode/take-values.ts";
import { weightWindowKernel } from "../../../../shaders/attention/decode/weight-window.ts";
import { elementCount } from "../../../core/check.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../../program/builder.ts";
import { estimatedSeconds, MOST_DISPATCH_SECONDS } from "../../../program/duration.ts";
import { bindable, firstBytes, largestScratch } from "../../../program/ranges.ts";
import { spansOf } from "../../../program/slices.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes, firstTile } from "../../../program/workgroups.ts";
import type { Handles } from "../../operation.ts";
import { toeplitzLayout } from "../../toeplitz/layout.ts";
import { planToeplitz } from "../../toeplitz/plan.ts";
import { groupRows, type GroupedWork, headGroups, type HeadGroup, type MovedRows, storedRows } from "../head-groups.ts";
import { addProjection, projectedRows } from "../projection.ts";
import { type AttentionSpec, isProjected } from "../spec.ts";
import { blockProduct, type DecodeSpec, plainFeatureMap, stateOf, type WeightWindowSpec } from "./spec.ts";

/** All tensors, among them those that stay from call to call. */
type DecodeHandles = Handles & {
  readonly states: Handle;
  readonly history?: Handle | undefined;
};

/** Adds the steps of all tokens, with the block products between them. @throws FastRpbError code `"limit"` */
export function planDecode(program: ProgramBuilder, spec: DecodeSpec, all: Handles, scratch: number): void {
  const tensors = all as DecodeHandles;
  const { tokens, stages } = spec;
  const shape = { ...spec.shape, length: tokens };
  const { headDim, valueDim, features, batch, heads } = shape;
  const { states, history } = tensors;
  const allHeads = batch * heads;
  const most = history ? bindable(program, headHistory(spec.shape), allHeads, "the history of one head") : allHeads;
  const groups = headGroups(program, shape, [headDim, valueDim, features], scratch, 0, most);
  const work: GroupedWork = { program, shape, lengths: undefined, mostHeads: allHeads };
  const left = program.scratchLeft(scratch);
  let [queries, keys] = [storedRows(shape, tensors, "q"), storedRows(shape, tensors, "k")];
  if (isProjected(shape)) {
    const to = { queries: projectedRows(work, "query features"), keys: projectedRows(work, "key features") };
    const whole = { first: 0, count: allHeads };
    addProjection(work, whole, "queries", { from: queries, to: to.queries });
    addProjection(work, whole, "keys", { from: keys, to: to.keys });
    [queries, keys] = [
      { ...to.queries, local: false },
      { ...to.keys, local: false },
    ];
  }
  const kernel = stepKernel(program, spec);
  const state = stateOf(spec.shape);
  const blocks = stages.some(({ block }) => block > 0) ? new BlockProducts(program, spec, tensors, left()) : undefined;
  // Each token meets on average half of the values of its block.
  const near = history ? BLOCK / 2 : 0;
  const flops = 8 * features * valueDim + 2 * near * valueDim;
  // A workgroup takes token after token: as many as it has the time for.
  const one = { kernel: kernel.id, flops, bytes: (2 * state.size + 2 * features + near + (near + 3) * valueDim) * FLOAT_BYTES, groups: 1 };
  const mostTokens = Math.max(1, Math.floor(MOST_DISPATCH_SECONDS / estimatedSeconds(one, program.limits.speed)));
  let firstToken = 0;
  for (const stage of stages) {
    for (const { first, count } of spansOf(stage.tokens, mostTokens)) {
      for (const group of groups) {
        const moved = (rows: MovedRows) => groupRows(work, group, rows);
        program.dispatch({
          kernel,
          groups: group.count,
          params: { firstHead: group.first, heads, tokens: count, rows: tokens, firstToken: firstToken + first },
          uses: {
            queries: moved({ ...queries, reads: count }),
            keys: moved({ ...keys, reads: count }),
            values: moved({ ...storedRows(shape, tensors, "v"), reads: count }),
            states: statesUse(program, spec.shape, group, states, { reads: count, writes: count }),
            out: moved({ ...storedRows(shape, tensors, "out"), writes: count }),
            history: history && historyUse(program, spec.shape, group, history, { reads: count * near, writes: count }),
            weights: tensors["weights"] && { buffer: tensors["weights"], reads: group.count * count * near * FLOAT_BYTES },
          },
          flops: group.count * count * flops,
        });
      }
    }
    if (stage.block > 0) blocks!.add(stage.block);
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
    featureMap: plainFeatureMap(featureMap) ?? "sikf",
    normalised: featureMap === "softmax",
    bias: bias === "fastrpb",
    lanes,
  });
}

/** The block products of a program. */
class BlockProducts {
  readonly #program: ProgramBuilder;
  readonly #shape: AttentionSpec;
  readonly #tensors: DecodeHandles;
  /** Values of a block and their product, of as many heads as fit: room for the longest. */
  readonly #rows: NamedHandles<"values" | "product">;
  readonly #scratch: number;
  /** Where the dispatches of a product are that needs no other scratch: they are the same each time. */
  readonly #known = new Map<number, readonly [first: number, end: number]>();

  constructor(program: ProgramBuilder, { shape, stages }: DecodeSpec, tensors: DecodeHandles, scratch: number) {
    const { batch, heads, valueDim } = shape;
    const longest = Math.max(...stages.map(({ block }) => block)) * valueDim * FLOAT_BYTES;
    // Half of the scratch at most: products of long blocks need some, too.
    const bytes = Math.max(longest, Math.min(batch * heads * longest, largestScratch(program.limits, scratch / 4)));
    this.#rows = { values: program.temporary("block of values", bytes), product: program.temporary("block product", bytes) };
    this.#program = program;
    this.#shape = shape;
    this.#tensors = tensors;
    this.#scratch = scratch - 2 * bytes;
  }

  /** Adds what the last `block` values of the sequence add to the results of the next `block` tokens. */
  add(block: number): void {
    const program = this.#program;
    const known = this.#known.get(block);
    if (known) return program.repeat(...known);
    const { batch, heads, valueDim, length } = this.#shape;
    const first = program.dispatchCount;
    const historyHeads = bindable(program, headHistory(this.#shape), batch * heads, "the history of one head");
    const atOnce = Math.min(historyHeads, Math.floor(this.#rows.values.bytes / (block * valueDim * FLOAT_BYTES)));
    const kernel = { length, block, valueDim, state: stateOf(this.#shape).size, lanes: elementwiseLanes(program.limits) };
    if (atOnce >= batch * heads) this.#addHeads(kernel, { first: 0, count: batch * heads }, batch, 0);
    else {
      for (let b = 0; b < batch; b++) {
        for (const span of spansOf(heads, atOnce)) this.#addHeads(kernel, { ...span, first: b * heads + span.first }, 1, span.first);
      }
    }
    if (toeplitzLayout(program, blockProduct(this.#shape, block)).kind === "fused") this.#known.set(block, [first, program.dispatchCount]);
  }

  #addHeads(kernel: BlockRowsKernelSpec, group: HeadGroup, batch: number, firstSpectrum: number): void {
    const program = this.#program;
    const { block, valueDim } = kernel;
    const { values, product } = this.#rows;
    const { states, history } = this.#tensors;
    const slice = firstBytes(group.count * block * valueDim * FLOAT_BYTES);
    const work = { elements: group.count * block * Math.ceil(valueDim / 4), params: { firstHead: group.first } };
    const position = statesUse(program, this.#shape, group, states, { reads: 1, columns: 1 });
    const moved = (moves: Moves) => historyUse(program, this.#shape, group, history!, moves);
    program.dispatch({
      kernel: takeValuesKernel(kernel),
      ...work,
      uses: { states: position, history: moved({ reads: block }), block: { buffer: values, slice, writes: slice.size } },
      flops: 0,
    });
    const spec = blockProduct({ batch, heads: group.count / batch, valueDim }, block);
    const spectrum = this.#tensors[`spectrum${block}`]!;
    planToeplitz(program, spec, { v: values, spectrum, out: product }, this.#scratch, { firstSpectrum });
    program.dispatch({
      kernel: addPendingKernel(kernel),
      ...work,
      uses: { states: position, history: moved({ reads: block, writes: block }), block: { buffer: product, slice, reads: slice.size } },
      flops: group.count * block * valueDim,
    });
  }
}

type Moves = Pick<MovedRows, "reads" | "writes" | "columns">;

/** The states of the heads of a group, a row each. */
function statesUse(program: ProgramBuilder, shape: AttentionSpec, group: HeadGroup, states: Handle, moves: Moves): BindingUse {
  return groupRows({ program, shape: { ...shape, length: 1 }, lengths: undefined }, group, {
    buffer: states,
    dim: stateOf(shape).size,
    precision: "f32",
    ...moves,
  });
}

/** Rows of the history of the heads of a group, so many of each head. */
function historyUse(program: ProgramBuilder, shape: AttentionSpec, group: HeadGroup, history: Handle, moves: Moves): BindingUse {
  return groupRows({ program, shape: { ...shape, length: 2 * shape.length }, lengths: undefined }, group, {
    buffer: history,
    dim: shape.valueDim,
    precision: "f32",
    ...moves,
  });
}

/** Bytes of the history of a head. */
function headHistory({ length, valueDim }: AttentionSpec): number {
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
