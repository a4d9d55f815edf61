/** Reverse-mode differentiation of a graph: the nodes that compute the gradients of losses, after the nodes of the losses themselves. */
import { elementCount } from "../core/check.ts";
import { capLimits, DEFAULT_LIMITS, DEFAULT_WORKSPACE_BYTES } from "../core/limits.ts";
import { addSpec, copySpec } from "../operations/elementwise/spec.ts";
import { add, copy } from "../operations/elementwise/operation.ts";
import { type Backward, task, type TaskNode, type TensorLayouts } from "../operations/operation.ts";

/** A node of a model, and the layer that it is of, where it is of one. */
export interface GraphNode extends TaskNode {
  readonly layer?: string | undefined;
}

export interface DifferentiateOptions {
  /** Values that are losses, of one number each, and the values that hold the gradient with respect to each: its weight. */
  readonly losses: Readonly<Record<string, string>>;
  /** The values whose gradients are wanted, and the values to write them to. */
  readonly gradients: Readonly<Record<string, string>>;
  /**
   * `"none"`: whatever a gradient needs is kept from the way there. `"layers"`: of a layer only what others read is kept, and the rest is computed
   * again on the way back (Chen et al. 2016, arXiv 1604.06174): less memory, for a second forward pass.
   */
  readonly recompute: "none" | "layers";
}

/**
 * The nodes with those of the gradients after them. What contributes to a gradient is added up in a fixed order.
 *
 * @param nodes the forward ones, in an order in which each value is written before it is read
 * @returns nodes; wanted values without influence on a loss are in `idle`, and their gradients are not written
 * @throws TypeError where a gradient reaches an operation that has none: a defect of whoever builds the graph
 */
export function differentiate(
  nodes: readonly GraphNode[],
  { losses, gradients, recompute }: DifferentiateOptions,
): { readonly nodes: readonly GraphNode[]; readonly idle: readonly string[] } {
  const pass = new BackwardPass(nodes, Object.keys(gradients), recompute === "layers");
  for (const [loss, seed] of Object.entries(losses)) pass.contribute(loss, seed);
  for (let i = nodes.length - 1; i >= 0; i--) pass.visit(nodes[i]!);
  const idle = Object.entries(gradients).flatMap(([name, target]) => (pass.deliver(name, target) ? [] : [name]));
  return { nodes: [...nodes, ...prune(pass.nodes, Object.values(gradients))], idle };
}

class BackwardPass {
  readonly #backward: GraphNode[] = [];
  readonly #forward: readonly GraphNode[];
  /** Values that depend on what is wanted. */
  readonly #active: Set<string>;
  /** Of prepared values, what they are prepared from. */
  readonly #sources = new Map<string, string>();
  readonly #sizes = new Map<string, number>();
  readonly #contributions = new Map<string, string[]>();
  /** Values that one node of this pass writes, for it alone to give a name. */
  readonly #own = new Set<string>();
  readonly #isRepeated: boolean;
  /** What a layer computes again, by the names of what it computed at first. */
  readonly #again = new Map<string, ReadonlyMap<string, string>>();
  #count = 0;

  constructor(nodes: readonly GraphNode[], wanted: readonly string[], isRepeated: boolean) {
    this.#forward = nodes;
    this.#isRepeated = isRepeated;
    this.#active = new Set(wanted);
    for (const node of nodes) {
      const tensors = tensorsOf(node);
      const isActive = Object.entries(tensors).some(([tensor, { role }]) => role !== "output" && this.#active.has(node.values[tensor]!));
      for (const [tensor, { role, shape }] of Object.entries(tensors)) {
        const name = node.values[tensor]!;
        this.#sizes.set(name, elementCount(shape));
        if (role !== "input" && isActive) this.#active.add(name);
      }
      const prepared = tensors["spectrum"]?.role === "output" && node.values["spectrum"];
      if (prepared) this.#sources.set(prepared, inputsOf(node)[0]!);
    }
  }

  get nodes(): readonly GraphNode[] {
    return this.#backward;
  }

  contribute(value: string, gradient: string): void {
    const known = this.#contributions.get(value);
    if (known) known.push(gradient);
    else this.#contributions.set(value, [gradient]);
  }

  /** Adds the gradients of a node whose results have some. */
  visit(node: GraphNode): void {
    const { operation, spec } = node.task;
    const tensors = tensorsOf(node);
    const outputs = Object.keys(tensors).filter((tensor) => tensors[tensor]!.role !== "input" && this.#contributions.has(node.values[tensor]!));
    // What is prepared from weights has no gradient of its own: what reads it gives that of the weights.
    if (outputs.length === 0 || !outputs.some((tensor) => this.#active.has(node.values[tensor]!))) return;
    const again = this.#repeated(node.layer);
    const names = new Map<string, string>();
    for (const [tensor, value] of Object.entries(node.values)) names.set(tensor, again?.get(value) ?? value);
    for (const tensor of outputs) names.set(gradientName(tensor), this.#total(node.values[tensor]!));
    const targets = this.#targetsOf(node, tensors);
    const { nodes, gradients } = operation.backward?.(spec, [...targets.keys()]) ?? wholeGradient(node, tensors, targets);
    for (const { task: own, values } of nodes) {
      const bound = Object.entries(values).map(
        ([tensor, local]) => [tensor, this.#nameOf(names, local, own.operation.tensors(own.spec, LIMITS)[tensor]!)] as const,
      );
      this.#backward.push({ task: own, values: Object.fromEntries(bound), layer: node.layer });
    }
    for (const [tensor, value] of targets) this.contribute(value, names.get(gradients[tensor]!)!);
  }

  /** Writes what is known of the gradient of a value to `target`; whether there is any. */
  deliver(value: string, target: string): boolean {
    if (!this.#contributions.has(value)) return false;
    const total = this.#total(value);
    const writer = this.#own.has(total) ? this.#writerOf(total) : undefined;
    if (writer === undefined) {
      this.#backward.push({ task: task(copy, copySpec({ size: this.#sizes.get(value)! })), values: { x: total, out: target } });
      return true;
    }
    const node = this.#backward[writer]!;
    const values = Object.entries(node.values).map(([tensor, name]) => [tensor, name === total ? target : name]);
    this.#backward[writer] = { ...node, values: Object.fromEntries(values) };
    return true;
  }

  /** The node that writes a value, if no other has to do with it. */
  #writerOf(value: string): number | undefined {
    const users = this.#backward.flatMap(({ values }, i) => (Object.values(values).includes(value) ? [i] : []));
    const shared = [...this.#contributions.values()].filter((parts) => parts.includes(value)).length > 1;
    return users.length === 1 && !shared ? users[0] : undefined;
  }

  /** The inputs whose gradients are of use, and the values that these are gradients of. */
  #targetsOf(node: GraphNode, tensors: TensorLayouts): ReadonlyMap<string, string> {
    const targets = new Map<string, string>();
    for (const [tensor, { role, dtype }] of Object.entries(tensors)) {
      if (role === "output" || dtype === "u32") continue;
      const value = this.#sources.get(node.values[tensor]!) ?? node.values[tensor]!;
      if (this.#active.has(value)) targets.set(tensor, value);
    }
    return targets;
  }

  /** A value of a node's gradient; a new one where its name stands for nothing yet. */
  #nameOf(names: Map<string, string>, local: string, { shape }: TensorLayouts[string]): string {
    let name = names.get(local);
    if (name === undefined) {
      names.set(local, (name = `${local} ${++this.#count}`));
      this.#sizes.set(name, elementCount(shape));
      this.#own.add(name);
    }
    return name;
  }

  /** The sum of what contributes to the gradient of a value. */
  #total(value: string): string {
    const parts = this.#contributions.get(value)!;
    const size = this.#sizes.get(value)!;
    const total = parts.reduce((x, y) => {
      const out = `sum ${++this.#count}`;
      this.#own.add(out);
      this.#backward.push({ task: task(add, addSpec({ size, period: size })), values: { x, y, out } });
      return out;
    });
    this.#contributions.set(value, [total]);
    return total;
  }

  /** Computes a layer again, when it is first asked for; what was prepared from weights is there. */
  #repeated(layer: string | undefined): ReadonlyMap<string, string> | undefined {
    if (!this.#isRepeated || layer === undefined) return undefined;
    const known = this.#again.get(layer);
    if (known) return known;
    const again = new Map<string, string>();
    this.#again.set(layer, again);
    for (const node of this.#forward) {
      const tensors = tensorsOf(node);
      if (node.layer !== layer || tensors["spectrum"]?.role === "output") continue;
      for (const [tensor, { role }] of Object.entries(tensors))
        if (role !== "input") again.set(node.values[tensor]!, `${node.values[tensor]!} again`);
      const values = Object.entries(node.values).map(([tensor, value]) => [tensor, again.get(value) ?? value]);
      this.#backward.push({ ...node, values: Object.fromEntries(values) });
    }
    return again;
  }
}

// Of spectra alone the layout depends on limits, and sizes of gradients do not.
const LIMITS = capLimits("differentiate", DEFAULT_LIMITS, {}, DEFAULT_WORKSPACE_BYTES);

function tensorsOf({ task: { operation, spec } }: TaskNode): TensorLayouts {
  return operation.tensors(spec, LIMITS);
}

function inputsOf(node: TaskNode): readonly string[] {
  return Object.entries(tensorsOf(node)).flatMap(([tensor, { role }]) => (role === "output" ? [] : [node.values[tensor]!]));
}

/** `dOut` of `out`. */
function gradientName(tensor: string): string {
  return `d${tensor[0]!.toUpperCase()}${tensor.slice(1)}`;
}

/** The gradient of an operation that has one task for it: with `dq` of `q`, `dBias` of `bias`, and `dBias` or `dWeights` of what a spectrum is of. */
function wholeGradient(node: TaskNode, tensors: TensorLayouts, targets: ReadonlyMap<string, string>): Backward {
  const { operation, spec } = node.task;
  const gradient = operation.gradient?.(spec);
  if (!gradient) throw new TypeError(`differentiate: ${operation.name} has no gradient`);
  const names = Object.keys(gradient.operation.tensors(gradient.spec, LIMITS));
  const nameOf = (tensor: string) => names.find((name) => [`d${tensor}`, gradientName(tensor)].includes(name));
  const ofWeights = names.find((name) => (name === "dBias" || name === "dWeights") && !("bias" in tensors));
  const gradients = [...targets.keys()].map((tensor) => [tensor, (tensor === "spectrum" ? ofWeights : nameOf(tensor))!]);
  return { nodes: [{ task: gradient, values: Object.fromEntries(names.map((name) => [name, name])) }], gradients: Object.fromEntries(gradients) };
}

/** The nodes without those whose results nobody reads. */
export function prune<Node extends TaskNode>(nodes: readonly Node[], results: readonly string[]): readonly Node[] {
  const needed = new Set(results);
  const kept: Node[] = [];
  for (const node of [...nodes].reverse()) {
    const writes = Object.entries(tensorsOf(node)).filter(([, { role }]) => role !== "input");
    if (!writes.some(([tensor, { role }]) => role === "inout" || needed.has(node.values[tensor]!))) continue;
    kept.push(node);
    for (const name of inputsOf(node)) needed.add(name);
  }
  return kept.reverse();
}
