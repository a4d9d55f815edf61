/** What a step of training is: the model, its losses, their gradients and the optimiser as one graph, which is one Program. */
import { FastRpbError } from "../core/errors.ts";
import { fuse } from "../graph/fuse.ts";
import { differentiate, type GraphNode } from "../graph/differentiate.ts";
import { type GraphSpec, graphSpec } from "../graph/graph.ts";
import { accumulate, add, multiply } from "../operations/elementwise/operation.ts";
import { accumulateSpec, addSpec, multiplySpec } from "../operations/elementwise/spec.ts";
import { average, guard, record, sumOfSquares } from "../operations/optimizers/operation.ts";
import { averageSpec, guardSpec, HISTORY_SIZE, type ParameterGroup, recordSpec, sumOfSquaresSpec } from "../operations/optimizers/spec.ts";
import { task } from "../operations/operation.ts";
import { type Arena, arenaOf, groupedArena, numbersAt, partsOf } from "./arena.ts";
import type { Loss } from "./losses.ts";
import type { Model, TracedModel } from "./model.ts";
import type { Optimizer } from "./optimizers.ts";
import { CLOCK, type Parameter, type Recorder, type Value } from "./recorder.ts";

/** Names of the values that a trainer keeps. Parameters have their own names, which hold no space at the end. */
export const KEPT = {
  parameters: "parameters ",
  gradients: "gradients ",
  next: "next gradients ",
  constants: "constants ",
  average: "average ",
  rates: "rates ",
  history: "history ",
} as const;
/** What an optimiser keeps of each parameter. */
export const stateName = (state: string) => `${state} `;
const NORM = "norm ";
/** Words that say whether all numbers have been finite. */
export const HEALTH = "health ";
/** The loss of all, weighed: what an evaluation gives. */
export const LOSS = "loss ";

export interface TrainingOptions {
  readonly model: Model;
  readonly batch: number;
  readonly losses: readonly Loss[];
  readonly optimizer: Optimizer;
  readonly recompute: "none" | "layers";
  /** Batches whose gradients are added up in a step. */
  readonly accumulate: number;
  readonly averageDecay: number | undefined;
}

/** A model with its losses, and where its numbers lie. */
export interface Training {
  readonly parameters: readonly Parameter[];
  readonly arena: Arena;
  /** Constants, and the weights of losses. */
  readonly constants: { readonly arena: Arena; readonly data: Float64Array };
  /** Inputs and targets by their names in a batch. */
  readonly inputs: ReadonlyMap<string, Value>;
  /** The graphs of a step, in order: one, or where gradients of several batches are added up one for each, the last of which updates. */
  readonly steps: readonly GraphSpec[];
  /** The loss of a batch, and its counts where it has classes. */
  readonly evaluation: GraphSpec;
  /** The value of an evaluation that counts targets, and those that were right; `undefined` without classes. */
  readonly counts: string | undefined;
  /** The nodes of a step without its update. */
  readonly backward: readonly GraphNode[];
}

export const gradientOf = (parameter: string) => `gradient of ${parameter}`;
const seedOf = (index: number) => `weight of loss ${index}`;
const shareOf = (index: number) => `share of loss ${index}`;

/** A model for a size of its batch, with the values that are its losses, and the one that counts targets. */
type Traced = TracedModel & { readonly added: { readonly losses: readonly string[]; readonly counts: string | undefined } };

/** @throws FastRpbError codes `"value"`, `"shape"` */
export async function planTraining(caller: string, options: TrainingOptions): Promise<Training> {
  const { model, batch, losses } = options;
  const withLosses = (outputs: Readonly<Record<string, Value>>, recorder: Recorder): Traced["added"] => {
    const made = losses.map((loss) => loss.record(outputs, recorder, caller));
    return { losses: made.map(({ loss }) => loss.name), counts: made.find(({ counts }) => counts)?.counts?.name };
  };
  const [traced, tested] = await Promise.all([model.trace(batch, true, withLosses), model.trace(batch, false, withLosses)]);
  const parameters = [...model.parameters.values()];
  const { arena, groups } = groupedArena(parameters, options.optimizer);
  const constants = constantsOf(traced.recorder, options);
  const wholes = { [KEPT.parameters]: arena.size, [KEPT.constants]: constants.arena.size };
  const parts = { ...partsOf(arena, KEPT.parameters, (name) => name), ...partsOf(constants.arena, KEPT.constants, (name) => name) };
  const backward = backwardNodes(traced, options, parameters);
  const graphOf = (title: string, nodes: readonly GraphNode[], results: readonly string[], more: Partial<GraphSpec> = {}) =>
    graphSpec({ title, nodes: fuse(nodes, results), results, wholes: { ...wholes, ...more.wholes }, parts: { ...parts, ...more.parts } });
  const evaluated = [...tested.nodes, ...totalLoss(tested, options, LOSS, seedOf)];
  const counts = tested.added.counts;
  return {
    parameters,
    arena,
    constants,
    inputs: traced.recorder.inputs,
    steps: Array.from({ length: options.accumulate }, (_, index) => {
      const { nodes, wholes: own, parts: places } = stepNodes(traced, options, { backward, arena, groups, index });
      return graphOf(options.accumulate === 1 ? "training step" : `training step, batch ${index}`, nodes, [], { wholes: own, parts: places });
    }),
    evaluation: graphOf("evaluation", evaluated, counts === undefined ? [LOSS] : [LOSS, counts]),
    counts,
    backward,
  };
}

/** The constants of a model, the weights of its losses, and what these weigh in the gradient of one of several batches. */
function constantsOf({ constants }: Recorder, { losses, accumulate: batches }: TrainingOptions): Training["constants"] {
  const weights = losses.flatMap(({ weight }, i) => [
    { name: seedOf(i), data: Float64Array.of(weight) },
    { name: shareOf(i), data: Float64Array.of(weight / batches) },
  ]);
  const all = [...constants, ...weights];
  const arena = arenaOf(all.map(({ name, data }) => [name, data.length]));
  const data = new Float64Array(arena.size);
  for (const { name, data: numbers } of all) numbersAt(arena, data, name).set(numbers);
  return { arena, data };
}

/** The nodes of a model and of the gradients of all its parameters. @throws FastRpbError code `"value"` for one without influence on the loss */
function backwardNodes({ nodes, added }: Traced, { recompute }: TrainingOptions, parameters: readonly Parameter[]): readonly GraphNode[] {
  const { nodes: all, idle } = differentiate(nodes, {
    losses: Object.fromEntries(added.losses.map((loss, i) => [loss, shareOf(i)])),
    gradients: Object.fromEntries(parameters.map(({ name }) => [name, gradientOf(name)])),
    recompute,
  });
  if (idle.length === 0) return all;
  throw new FastRpbError("value", `createTrainer: ${idle.join(", ")} has no influence on the loss. Leave it out of the model.`);
}

/** Adds the losses up, by their weights. */
function totalLoss({ added }: Traced, { losses }: TrainingOptions, out: string, weightOf: (index: number) => string): readonly GraphNode[] {
  const weighted = losses.map((_, i): GraphNode => {
    const values = { x: added.losses[i]!, y: weightOf(i), out: losses.length === 1 ? out : `${out}${i}` };
    return { task: task(multiply, multiplySpec({ size: 1, period: 1 })), values };
  });
  const sums = losses.slice(1).map((_, i): GraphNode => {
    const values = { x: i === 0 ? `${out}0` : `${out}to ${i}`, y: `${out}${i + 1}`, out: i === losses.length - 2 ? out : `${out}to ${i + 1}` };
    return { task: task(add, addSpec({ size: 1, period: 1 })), values };
  });
  return [...weighted, ...sums];
}

/** One of the graphs of a step: the gradients of a batch, and in the last one what they do. */
function stepNodes(
  traced: Traced,
  options: TrainingOptions,
  { backward, arena, groups, index }: { backward: readonly GraphNode[]; arena: Arena; groups: readonly ParameterGroup[]; index: number },
): { readonly nodes: readonly GraphNode[]; readonly wholes: Readonly<Record<string, number>>; readonly parts: GraphSpec["parts"] } {
  const { size } = arena;
  const { counts } = traced.added;
  const isLast = index === options.accumulate - 1;
  const gradients = index === 0 ? KEPT.gradients : KEPT.next;
  const nodes: GraphNode[] = [...backward, ...totalLoss(traced, options, LOSS, shareOf)];
  if (index > 0) nodes.push({ task: task(accumulate, accumulateSpec({ size })), values: { x: KEPT.next, out: KEPT.gradients } });
  if (isLast) nodes.push(...updateNodes(options, size, groups));
  const recorded = { loss: LOSS, clock: CLOCK, history: KEPT.history, ...(counts && { counts }), ...(isLast && { norm: NORM, health: HEALTH }) };
  nodes.push({ task: task(record, recordSpec({ isFirst: index === 0, isLast, counts: counts !== undefined })), values: recorded });
  const { states } = options.optimizer;
  const kept = isLast ? [KEPT.parameters, ...states.map(stateName), ...(options.averageDecay === undefined ? [] : [KEPT.average])] : [];
  return {
    nodes,
    wholes: Object.fromEntries([
      [KEPT.history, HISTORY_SIZE],
      [KEPT.gradients, size],
      ...(index > 0 ? [[KEPT.next, size] as const] : []),
      ...(isLast ? [[KEPT.rates, options.optimizer.rates(1).length] as const] : []),
      ...kept.map((name) => [name, size] as const),
    ]),
    parts: partsOf(arena, gradients, gradientOf),
  };
}

/** What the gradients of all parameters do: nothing where one is not finite. */
function updateNodes({ optimizer, averageDecay }: TrainingOptions, size: number, groups: readonly ParameterGroup[]): readonly GraphNode[] {
  const { parameters, gradients, rates } = KEPT;
  const states = Object.fromEntries(optimizer.states.map((name) => [name, stateName(name)]));
  const norm = optimizer.clipNorm === undefined ? {} : { norm: NORM };
  const nodes: GraphNode[] = [
    { task: task(sumOfSquares, sumOfSquaresSpec({ size })), values: { x: gradients, out: NORM } },
    { task: task(guard, guardSpec()), values: { norm: NORM, loss: LOSS, clock: CLOCK, health: HEALTH } },
    { task: optimizer.task(size, groups), values: { gradients, parameters, ...states, ...norm, rates, health: HEALTH } },
  ];
  if (averageDecay === undefined) return nodes;
  const values = { parameters, average: KEPT.average, health: HEALTH };
  return [...nodes, { task: task(average, averageSpec({ size, decay: averageDecay })), values }];
}
