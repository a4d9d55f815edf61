/** What a model is while it is written down: values, and the operations that make them from one another. Nothing is computed here. */
import { checkElements, elementCount } from "../core/check.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import type { AttentionSpec } from "../operations/attention/spec.ts";
import type { Task } from "../operations/operation.ts";

/** How a parameter starts: all the same, or drawn, each number by its place, from the seed of the model. */
export type Initial = { readonly kind: "constant"; readonly value: number } | { readonly kind: "uniform" | "normal"; readonly scale: number };

/** A parameter of a model: float32, trained. */
export interface Parameter {
  /** As PyTorch's `state_dict` names it: `layers.0.attention.q.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly initial: Initial;
}

/** An input of a model, for each batch row. */
export interface ModelInput {
  /** Without the axis of the batch. */
  readonly shape: readonly number[];
  /** `"u32"`: indices of tokens, or lengths. Default `"f32"`. */
  readonly dtype?: "f32" | "u32";
}

/** A node whose operation may have to be loaded first. */
export interface PendingNode {
  readonly task: Task | (() => Promise<Task>);
  readonly values: Readonly<Record<string, string>>;
  readonly layer: string | undefined;
}

/** Numbers that a model computes with and does not train. */
export interface Constant {
  readonly name: string;
  readonly data: Float64Array;
}

/**
 * A tensor of a model that is being written: what layers take and give. It has a shape and no numbers; the first axis is the batch's.
 */
export class Value {
  readonly shape: readonly number[];
  readonly dtype: "f32" | "u32";
  /** @internal */
  readonly name: string;
  /** @internal */
  readonly recorder: Recorder;

  /** @internal Values come from a {@link Build} and from layers. */
  constructor(recorder: Recorder, name: string, shape: readonly number[], dtype: "f32" | "u32" = "f32") {
    this.recorder = recorder;
    this.name = name;
    this.shape = Object.freeze([...shape]);
    this.dtype = dtype;
  }

  /** Number of elements, with the batch. */
  get size(): number {
    return elementCount(this.shape);
  }
}

/** A model that takes a sequence token by token. */
export interface Decoding {
  /** The most tokens of a sequence. */
  readonly length: number;
  /** Values whose block product ends with the token; 0 for none. */
  readonly block: number;
  /** The place of the token, u32 [1]. */
  readonly position: Value;
  /** What attention keeps from token to token, by the names of values; and the weights of relative positions of each. */
  readonly kept: { readonly name: string; readonly shape: AttentionSpec; readonly relative: string | undefined }[];
}

/** The name of {@link Decoding.position}. */
export const POSITION = "position ";

/** The name of {@link Recorder.clock}. */
export const CLOCK = "clock";

/** Collects what a model is made of, for one size of its batch. */
export class Recorder {
  readonly batch: number;
  /** Of the outermost scope that is a layer to compute again; inner scopes are part of it. */
  #layer: string | undefined;
  #scope = "";
  readonly #names = new Map<string, number>();
  readonly nodes: PendingNode[] = [];
  readonly parameters = new Map<string, Parameter>();
  readonly constants: Constant[] = [];
  readonly inputs = new Map<string, Value>();
  #sites = 0;

  /** Whether it is for training: what is dropped out there is kept in inference. */
  readonly isTraining: boolean;
  /** What changes at each step, u32 [4]: the seed, and the step. */
  readonly clock = new Value(this, CLOCK, [4], "u32");

  /** Where the model takes one token at a time; `undefined` where it takes whole sequences. */
  readonly decoding: Decoding | undefined;

  /** @param decoding the most tokens of a sequence, and the block that ends with the token */
  constructor(batch: number, isTraining: boolean, decoding?: Pick<Decoding, "length" | "block">) {
    this.batch = batch;
    this.isTraining = isTraining;
    this.decoding = decoding && { ...decoding, position: new Value(this, POSITION, [1], "u32"), kept: [] };
  }

  /** The name of a layer or a parameter, with the scopes that it stands in. */
  scoped(name: string): string {
    return this.#scope === "" ? name : `${this.#scope}.${name}`;
  }

  /** Does something within a scope. */
  within<T>(name: string, work: () => T): T {
    const [scope, layer] = [this.#scope, this.#layer];
    this.#scope = this.scoped(name);
    this.#layer ??= this.#scope;
    try {
      return work();
    } finally {
      this.#scope = scope;
      this.#layer = layer;
    }
  }

  /** A number for each place where something is drawn. */
  nextSite(): number {
    return this.#sites++;
  }

  input(name: string, shape: readonly number[], dtype: "f32" | "u32"): Value {
    const value = new Value(this, `input ${name}`, [this.batch, ...shape], dtype);
    checkElements(`input ${name}`, "shape", value.shape);
    const known = this.inputs.get(name);
    if (known && (known.dtype !== dtype || known.shape.join() !== value.shape.join())) {
      throw refuse(
        "shape",
        `input ${name}`,
        "what is given by one name",
        `${known.dtype} [${known.shape.join(", ")}] throughout`,
        `${dtype} [${value.shape.join(", ")}]`,
      );
    }
    this.inputs.set(name, value);
    return value;
  }

  /**
   * A parameter, which layers that name it again share.
   *
   * @throws FastRpbError code `"shape"` where it has another shape already
   */
  parameter(name: string, shape: readonly number[], initial: Initial): Value {
    const full = this.scoped(name);
    const known = this.parameters.get(full);
    if (known && known.shape.join() !== shape.join()) {
      throw new FastRpbError(
        "shape",
        `${full}: a parameter of shape [${shape.join(", ")}] and of shape [${known.shape.join(", ")}] have the same name.`,
      );
    }
    checkElements(full, "shape", shape);
    if (!known) this.parameters.set(full, Object.freeze({ name: full, shape: Object.freeze([...shape]), initial }));
    return new Value(this, full, shape);
  }

  constant(name: string, shape: readonly number[], data: Float64Array): Value {
    const unique = this.#unique(`constant ${this.scoped(name)}`);
    this.constants.push({ name: unique, data });
    return new Value(this, unique, shape);
  }

  /**
   * Adds an operation.
   *
   * @param inputs values by the names of the operation's tensors
   * @param outputs shapes of what it writes
   * @param label of the results, for people
   */
  add<const Output extends string>(
    label: string,
    task: Task | (() => Promise<Task>),
    inputs: Readonly<Record<string, Value | undefined>>,
    outputs: Readonly<Record<Output, readonly number[]>>,
    dtypes: Readonly<Record<string, "u32">> = {},
  ): Readonly<Record<Output, Value>> {
    const values: Record<string, string> = {};
    for (const [tensor, value] of Object.entries(inputs)) {
      if (!value) continue;
      if (value.recorder !== this)
        throw refuse("value", this.scoped(label), tensor, "a value of the model that is being written", "one of another model");
      values[tensor] = value.name;
    }
    const made = {} as Record<Output, Value>;
    for (const [tensor, shape] of Object.entries(outputs) as [Output, readonly number[]][]) {
      const name = this.#unique(this.scoped(tensor === "out" ? label : `${label} ${tensor}`));
      checkElements(name, "shape", shape);
      made[tensor] = new Value(this, name, shape, dtypes[tensor] ?? "f32");
      values[tensor] = name;
    }
    this.nodes.push({ task, values, layer: this.#layer });
    return made;
  }

  #unique(name: string): string {
    const count = (this.#names.get(name) ?? 0) + 1;
    this.#names.set(name, count);
    return count === 1 ? name : `${name} ${count}`;
  }
}
