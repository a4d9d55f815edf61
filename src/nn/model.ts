/** Models: functions that say how outputs are made of inputs, checked where they are written. */
import { checkEnum, checkOptions, checkShape } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import type { GraphNode } from "../graph/differentiate.ts";
import { checkNumbers } from "./feed.ts";
import { checkName } from "./layers.ts";
import { type Decoding, type Initial, type ModelInput, type Parameter, Recorder, Value } from "./recorder.ts";

/** What a model is written with, besides its inputs. */
export interface Build {
  /** Rows of the batch. */
  readonly batch: number;
  /**
   * A layer of the model: parameters within have its name before their own, and what is computed within may be computed again on the way back, to save
   * memory.
   */
  layer(name: string, write: (build: Build) => Value): Value;
  /**
   * A parameter of the model's own, float32, without an axis for the batch. Where one has the name already it is the same: so layers share weights.
   *
   * @param initial how it starts: a number, or drawn, `uniform` within ±scale or `normal` with that deviation. Default 0
   * @throws FastRpbError codes `"shape"` (it has another shape already), `"value"`
   */
  parameter(name: string, shape: readonly number[], initial?: number | { readonly uniform: number } | { readonly normal: number }): Value;
  /** Numbers that are not trained, float32 of a shape without an axis for the batch. @throws FastRpbError codes `"shape"`, `"value"` */
  constant(name: string, shape: readonly number[], data: ArrayLike<number>): Value;
}

/** What a model gives: one value, or several by name. */
export type ModelOutputs = Value | Readonly<Record<string, Value>>;

/** A model for one size of its batch, with all its operations loaded. */
export interface TracedModel {
  readonly nodes: readonly GraphNode[];
  readonly recorder: Recorder;
  readonly outputs: Readonly<Record<string, Value>>;
}

/** Options of {@link defineModel}. */
export interface ModelOptions<Inputs extends Readonly<Record<string, ModelInput>>> {
  /** The inputs by name: their shapes for each batch row, and whether they are indices. */
  readonly inputs: Inputs;
}

type Write<Inputs> = (build: Build, inputs: Readonly<Record<keyof Inputs & string, Value>>) => ModelOutputs;

/**
 * A model: how its outputs are made of its inputs. It holds no numbers; {@link createTrainer} and {@link loadModel} make and take its parameters.
 */
export class Model {
  readonly inputs: Readonly<Record<string, ModelInput>>;
  /** The parameters by name, in the order in which the model names them first. */
  readonly parameters: ReadonlyMap<string, Parameter>;
  /** Shapes of the outputs for a batch of 1. */
  readonly outputs: Readonly<Record<string, readonly number[]>>;
  /** What the model was made from, where it can be made again from it: it goes into files. */
  readonly description: object | undefined;
  readonly #write: Write<Record<string, ModelInput>>;

  /** @internal Models come from {@link defineModel} and {@link transformer}. */
  constructor(write: Write<Record<string, ModelInput>>, inputs: Readonly<Record<string, ModelInput>>, description?: object) {
    this.#write = write;
    this.inputs = inputs;
    this.description = description;
    const { recorder, outputs } = this.record(1, true);
    this.parameters = recorder.parameters;
    this.outputs = Object.freeze(Object.fromEntries(Object.entries(outputs).map(([name, { shape }]) => [name, shape])));
  }

  /** @internal Writes the model down for a size of its batch. */
  record(
    batch: number,
    isTraining: boolean,
    decoding?: Pick<Decoding, "length" | "block">,
  ): { readonly recorder: Recorder; readonly outputs: Readonly<Record<string, Value>> } {
    const recorder = new Recorder(batch, isTraining, decoding);
    const inputs = Object.entries(this.inputs).map(([name, { shape, dtype = "f32" }]) => {
      return [name, recorder.input(name, decoding ? [1, ...shape.slice(1)] : shape, dtype)] as const;
    });
    const made = this.#write(buildOf(recorder), Object.fromEntries(inputs));
    const outputs = made instanceof Value ? { out: made } : made;
    for (const [name, value] of Object.entries(outputs ?? {})) {
      if (!(value instanceof Value) || value.recorder !== recorder)
        throw refuse("value", "defineModel", `output ${name}`, "a value of this model", value);
    }
    if (Object.keys(outputs ?? {}).length === 0) throw refuse("value", "defineModel", "the result of write", "a value, or values by name", made);
    return { recorder, outputs };
  }

  /** @internal The model with what is added to it, its operations loaded. */
  async trace<Added>(
    batch: number,
    isTraining: boolean,
    more: (outputs: Readonly<Record<string, Value>>, recorder: Recorder) => Added,
  ): Promise<TracedModel & { readonly added: Added }> {
    const { recorder, outputs } = this.record(batch, isTraining);
    const added = more(outputs, recorder);
    return { nodes: await resolvedNodes(recorder), recorder, outputs, added };
  }
}

/** The nodes of what was written down, with their operations loaded. */
export function resolvedNodes({ nodes }: Recorder): Promise<readonly GraphNode[]> {
  return Promise.all(nodes.map(async ({ task, values, layer }) => ({ task: typeof task === "function" ? await task() : task, values, layer })));
}

/**
 * Defines a model by the function that writes it down. It is called at once, with a batch of 1, so that shapes that do not fit are told where the
 * model is written, by the name of the layer, and again for each batch size that is asked for.
 *
 * ```ts
 * const model = defineModel(
 *   (build, { pixels }) => {
 *     const hidden = build.layer("hidden", () => relu(linear(pixels, "in", { outputs: 64 })));
 *     return linear(hidden, "out", { outputs: 10 });
 *   },
 *   { inputs: { pixels: { shape: [784] } } },
 * );
 * ```
 *
 * @param write gets the inputs, with the batch as their first axis, and gives the outputs
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function defineModel<const Inputs extends Readonly<Record<string, ModelInput>>>(write: Write<Inputs>, options: ModelOptions<Inputs>): Model {
  const caller = "defineModel";
  if (typeof write !== "function") throw refuse("value", caller, "write", "a function of a build and inputs", write);
  checkOptions(caller, "options", options, ["inputs"]);
  return new Model(write as Write<Record<string, ModelInput>>, checkInputs(caller, options.inputs));
}

/** @internal Inputs as they are now. @throws FastRpbError code `"value"` */
export function checkInputs(caller: string, inputs: Readonly<Record<string, ModelInput>>): Readonly<Record<string, ModelInput>> {
  if (typeof inputs !== "object" || inputs === null || Object.keys(inputs).length === 0) {
    throw refuse("value", caller, "options.inputs", "an object of inputs by name", inputs);
  }
  const checked = Object.entries(inputs).map(([name, input]) => {
    const argument = `options.inputs.${name}`;
    checkOptions(caller, argument, input, ["shape", "dtype"]);
    const shape = Array.isArray(input.shape) && input.shape.length === 0 ? [] : checkShape(caller, `${argument}.shape`, input.shape);
    return [name, Object.freeze({ shape, dtype: checkEnum(caller, `${argument}.dtype`, input.dtype ?? "f32", ["f32", "u32"]) })];
  });
  return Object.freeze(Object.fromEntries(checked));
}

function buildOf(recorder: Recorder): Build {
  const build: Build = {
    batch: recorder.batch,
    layer(name, write) {
      checkName("build.layer", name);
      if (typeof write !== "function") throw refuse("value", `build.layer (${recorder.scoped(name)})`, "write", "a function", write);
      return recorder.within(name, () => write(build));
    },
    parameter(name, shape, initial = 0) {
      const caller = `build.parameter (${recorder.scoped(checkName("build.parameter", name))})`;
      return recorder.parameter(name, checkShape(caller, "shape", shape), initialOf(caller, initial));
    },
    constant(name, shape, data) {
      const caller = `build.constant (${recorder.scoped(checkName("build.constant", name))})`;
      const checked = checkShape(caller, "shape", shape);
      const size = checked.reduce((product, each) => product * each, 1);
      if (data?.length !== size) throw refuse("shape", caller, "data", `${size} numbers`, data?.length);
      checkNumbers(caller, "data", data);
      return recorder.constant(name, checked, Float64Array.from(data));
    },
  };
  return Object.freeze(build);
}

function initialOf(caller: string, initial: number | { readonly uniform?: number; readonly normal?: number }): Initial {
  if (typeof initial === "number" && Number.isFinite(initial)) return { kind: "constant", value: initial };
  const [[kind, scale] = ["", Number.NaN]] = typeof initial === "object" && initial !== null ? Object.entries(initial) : [];
  if ((kind === "uniform" || kind === "normal") && Number.isFinite(scale)) return { kind, scale: scale! };
  throw refuse("value", caller, "initial", "a number, { uniform: bound } or { normal: deviation }", initial);
}
