/** A model with its parameters, ready to run. */
import type { Backend, Cost, DispatchInfo, Executable, Step } from "../core/backend.ts";
import { checkOptions, checkSize } from "../core/check.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import { loadModule } from "../core/load.ts";
import { Tensor } from "../core/tensor.ts";
import { fuse } from "../graph/fuse.ts";
import { graph, type GraphSpec, graphSpec } from "../graph/graph.ts";
import { type Task, task } from "../operations/operation.ts";
import type { PlanContext, Profile } from "../runtime/plan.ts";
import { Runtime } from "../runtime/runtime.ts";
import { type Arena, arenaOf, groupedArena, numbersAt, partsOf } from "./arena.ts";
import { type Batch, type Feed, Feeder } from "./feed.ts";
import type { GenerateOptions } from "./generate.ts";
import { describedModel, readParameters } from "./files.ts";
import { KeptNumbers, stepOf } from "./kept-numbers.ts";
import { loadSelfTests } from "./load-self-tests.ts";
import { Model, type TracedModel } from "./model.ts";
import { parseFile } from "./safetensors.ts";
import { KEPT } from "./training-graph.ts";

/** Options of {@link loadModel}. */
export interface LoadOptions {
  /** Rows of a batch. Default 1. */
  readonly batch?: number;
  /** The model that the file is of. Default: the one that it describes, as files of a {@link transformer} do. */
  readonly model?: Model;
}

/**
 * Loads a model from a file of safetensors, of {@link Trainer.save} or of PyTorch's `state_dict`: float32, float16 or bfloat16 numbers, by the names of its
 * parameters. What resuming a training takes is passed over.
 *
 * ```ts
 * const net = await loadModel(runtime, await (await fetch("model.safetensors")).arrayBuffer());
 * const logits = await net.run(inputs).data();
 * ```
 *
 * @throws FastRpbError codes `"value"` (a file that is none, or of another model), `"shape"`, `"limit"`, `"unavailable"`, `"disposed"`, `"lost"`
 */
export async function loadModel(runtime: Runtime, bytes: Uint8Array | ArrayBuffer, options: LoadOptions = {}): Promise<Net> {
  const caller = "loadModel";
  if (!(runtime instanceof Runtime)) throw refuse("value", caller, "runtime", "a runtime of createRuntime, from the same copy of fastrpb", runtime);
  checkOptions(caller, "options", options, ["batch", "model"]);
  const batch = checkSize(caller, "options.batch", options.batch ?? 1);
  if (options.model !== undefined && !(options.model instanceof Model)) {
    throw refuse("value", caller, "options.model", "a model of defineModel or transformer", options.model);
  }
  const file = parseFile(caller, "bytes", bytes);
  const model = options.model ?? describedModel(caller, file);
  const numbers = readParameters(caller, "bytes", file, model);
  const context = Runtime.contextOf(runtime);
  Runtime.addSelfTests(runtime, loadSelfTests);
  const traced = await model.trace(batch, false, () => undefined);
  const { arena } = groupedArena(model.parameters.values(), { groups: [], weightDecay: 0 });
  const constants = arenaOf(traced.recorder.constants.map(({ name, data }) => [name, data.length]));
  const [executable] = await context.compile(caller, [task(graph, inferenceGraph(traced, arena, constants))]);
  return new Net(context, model, traced, executable!, { arena, constants, numbers });
}

/** A model's forward pass; its outputs are results that callers read as float32. */
function inferenceGraph({ nodes, outputs }: TracedModel, arena: Arena, constants: Arena) {
  const results = Object.values(outputs).map(({ name }) => name);
  return graphSpec({
    title: "model",
    nodes: fuse(nodes, results),
    results,
    narrow: results,
    ...memoryOf(arena, constants),
  });
}

/** Where parameters and constants lie. */
function memoryOf(arena: Arena, constants: Arena): Pick<GraphSpec, "wholes" | "parts"> {
  return {
    wholes: { [KEPT.parameters]: arena.size, [KEPT.constants]: constants.size },
    parts: { ...partsOf(arena, KEPT.parameters, (name) => name), ...partsOf(constants, KEPT.constants, (name) => name) },
  };
}

/** A model with its parameters on the device; see {@link loadModel}. Dispose of it when it is no longer needed. */
export class Net {
  readonly model: Model;
  readonly #context: PlanContext;
  readonly #backend: Backend<Task>;
  readonly #traced: TracedModel;
  readonly #executable: Executable;
  readonly #kept: KeptNumbers;
  readonly #feeder: Feeder;
  readonly #memory: Pick<GraphSpec, "wholes" | "parts">;
  readonly #place: () => void;
  #disposed = false;

  /** @internal */
  constructor(
    context: PlanContext,
    model: Model,
    traced: TracedModel,
    executable: Executable,
    { arena, constants, numbers }: { arena: Arena; constants: Arena; numbers: ReadonlyMap<string, ArrayLike<number>> },
  ) {
    this.model = model;
    this.#context = context;
    this.#backend = context.backend;
    this.#traced = traced;
    this.#executable = executable;
    this.#kept = new KeptNumbers(this.#backend);
    this.#feeder = new Feeder(this.#backend, context.owner, traced.recorder.inputs);
    this.#memory = memoryOf(arena, constants);
    this.#place = () => {
      const parameters = new Float64Array(arena.size);
      for (const [name, own] of numbers) numbersAt(arena, parameters, name).set(own);
      const fixed = new Float64Array(constants.size);
      for (const { name, data } of traced.recorder.constants) numbersAt(constants, fixed, name).set(data);
      this.#kept.put(KEPT.parameters, parameters);
      this.#kept.put(KEPT.constants, fixed);
    };
    this.#place();
    context.plans.add(this);
  }

  /** The dispatches of a run, in order; empty on the CPU. */
  get dispatches(): readonly DispatchInfo[] {
    return this.#executable.dispatches;
  }

  get cost(): Cost {
    return this.#executable.cost;
  }

  get disposed(): boolean {
    return this.#disposed || this.#context.owner.disposed;
  }

  /**
   * Runs the model on a batch, in one submit, and does not wait.
   *
   * @param batch numbers or tensors for the inputs, by name; or those of the only input by themselves
   * @returns the output of a model that has one; else call {@link runAll}
   * @throws FastRpbError codes `"value"`, `"shape"`, `"limit"`, `"disposed"`, `"lost"`
   */
  run(batch: Batch | Feed): Tensor {
    const outputs = this.#run("net.run", batch);
    const names = Object.keys(outputs);
    if (names.length === 1) return outputs[names[0]!]!;
    for (const tensor of Object.values(outputs)) tensor.dispose();
    throw refuse("value", "net.run", "the model", "one with a single output", names, "Call net.runAll.");
  }

  /**
   * Runs the model on a batch.
   *
   * @returns all outputs by name; the caller disposes of them
   * @throws FastRpbError codes as of {@link run}
   */
  runAll(batch: Batch): Readonly<Record<string, Tensor>> {
    return this.#run("net.runAll", batch);
  }

  /**
   * Runs the model on a batch, waits, and tells how long each dispatch took.
   *
   * @returns all outputs by name, as {@link runAll}, and the times
   * @throws FastRpbError codes as of {@link run}
   */
  async profile(batch: Batch): Promise<Profile<Readonly<Record<string, Tensor>>>> {
    const { outputs, steps } = this.#prepare("net.profile", batch);
    try {
      return { output: outputs, ...(await this.#backend.profile(steps)) };
    } catch (error) {
      for (const tensor of Object.values(outputs)) tensor.dispose();
      throw error;
    }
  }

  /**
   * Writes on from some tokens, for a causal transformer of tokens. Attention that is linear keeps its sums: a token costs no pass over those before it
   * but for a bias, whose products go by blocks. Softmax attention and multiplicative biases take all tokens so far again for each.
   *
   * ```ts
   * for await (const token of net.generate(prompt, { tokens: 100, temperature: 0.8 })) text += vocabulary[token];
   * ```
   *
   * @param prompt tokens to begin with, at least one
   * @returns the tokens that follow, one by one
   * @throws FastRpbError codes `"value"`, and while it writes `"aborted"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async *generate(prompt: ArrayLike<number>, options: GenerateOptions = {}): AsyncGenerator<number, void> {
    const caller = "net.generate";
    this.#checkAlive(caller);
    const { generate } = await loadModule(caller, "the writing of tokens", () => import("./generate.ts"));
    this.#checkAlive(caller);
    const writer = {
      backend: this.#backend,
      model: this.model,
      memory: this.#memory,
      bindings: () => this.#kept.bindings(),
      logits: async (inputs: Uint32Array) => {
        const tensor = this.run({ inputs });
        try {
          return await tensor.data();
        } finally {
          tensor.dispose();
        }
      },
    };
    yield* generate(writer, prompt, options);
  }

  /** After {@link Runtime.restore}, puts the parameters onto the new device. @throws FastRpbError codes `"disposed"`, `"lost"` */
  restore(): void {
    this.#checkAlive("net.restore");
    this.#place();
  }

  /** Frees parameters and all else. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#context.plans.delete(this);
    if (this.#context.owner.disposed) return;
    this.#executable.dispose();
    this.#kept.release();
    this.#feeder.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #run(caller: string, batch: Batch | Feed): Readonly<Record<string, Tensor>> {
    const { outputs, steps } = this.#prepare(caller, batch);
    try {
      this.#backend.run(steps);
    } catch (error) {
      for (const tensor of Object.values(outputs)) tensor.dispose();
      throw error;
    }
    return outputs;
  }

  /** Inputs as they are given, and tensors for the outputs. */
  #prepare(caller: string, batch: Batch | Feed): { readonly outputs: Readonly<Record<string, Tensor>>; readonly steps: readonly Step[] } {
    this.#checkAlive(caller);
    const [inputs] = this.#feeder.feed(caller, this.#named(batch));
    const { owner } = this.#context;
    const outputs = Object.entries(this.#traced.outputs).map(([key, { name, shape }]) => {
      const storage = this.#backend.allocate(this.#executable.bytes[name]!, name);
      return { key, name, tensor: new Tensor(owner, storage, shape, "f32") };
    });
    const all = { ...this.#kept.bindings(), ...inputs, ...Object.fromEntries(outputs.map(({ name, tensor }) => [name, Tensor.storageOf(tensor)])) };
    return { outputs: Object.fromEntries(outputs.map(({ key, tensor }) => [key, tensor])), steps: [stepOf(this.#executable, all)] };
  }

  /** What is given by itself is the model's input, where it has one. */
  #named(batch: Batch | Feed): Batch {
    const [input, ...others] = Object.keys(this.model.inputs);
    const isFeed = batch instanceof Tensor || ArrayBuffer.isView(batch) || Array.isArray(batch);
    return isFeed && others.length === 0 ? { [input!]: batch as Feed } : (batch as Batch);
  }

  #checkAlive(caller: string): void {
    if (this.disposed) throw new FastRpbError("disposed", `${caller}: the model or its runtime was disposed.`);
  }
}
