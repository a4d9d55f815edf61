/** Trains a model: forward, backward and update are one Program, which runs in one submit. */
import type { Backend, Cost, DispatchInfo, Executable, Step } from "../core/backend.ts";
import { checkBoolean, checkEnum, checkFinite, checkOptions, checkSize } from "../core/check.ts";
import { checkAborted, FastRpbError, refuse } from "../core/errors.ts";
import { loadModule } from "../core/load.ts";
import { graph } from "../graph/graph.ts";
import { planProgram, type Task, task } from "../operations/operation.ts";
import { HISTORY_COLUMNS, HISTORY_ROWS, HISTORY_SIZE } from "../operations/optimizers/spec.ts";
import { float64Array } from "../math/memory.ts";
import type { PlanContext, Profile } from "../runtime/plan.ts";
import { Runtime } from "../runtime/runtime.ts";
import { numbersAt } from "./arena.ts";
import { type Batch, Feeder } from "./feed.ts";
import { initialNumbers } from "./initialize.ts";
import { KeptNumbers, type Numbers, roomFor, stepOf } from "./kept-numbers.ts";
import type { Loss } from "./losses.ts";
import { Model } from "./model.ts";
import type { Optimizer } from "./optimizers.ts";
import { CLOCK } from "./recorder.ts";
import { loadSelfTests } from "./load-self-tests.ts";
import { HEALTH, KEPT, LOSS, planTraining, stateName, type Training, type TrainingOptions } from "./training-graph.ts";

/** Options of {@link createTrainer}. */
export interface TrainerOptions {
  /** Rows of a batch. */
  readonly batch: number;
  readonly loss: Loss | readonly Loss[];
  readonly optimizer: Optimizer;
  /** Decides how parameters start and what is dropped out, an integer from 0 to 2³² − 1. The same seed on the same device gives the same bits. Default 0. */
  readonly seed?: number;
  /**
   * What is kept of the forward pass: all that gradients need (`"none"`), or what lies between layers, the rest being computed again on the way back
   * (`"layers"`): less memory, for a second forward pass. Default `"none"`.
   */
  readonly recompute?: "none" | "layers";
  /** Batches of which a step adds up the gradients: arrays of a step hold so many times `batch` rows. Default 1. */
  readonly accumulate?: number;
  /** Decay of an exponential average of the parameters, kept beside them, from 0 to below 1. Default: none is kept. */
  readonly averageDecay?: number;
  /** Every so many steps a copy of all that training needs goes to the CPU, from which {@link Trainer.restore} goes on. Default: never. */
  readonly checkpointSteps?: number;
  /** A file of {@link Trainer.save}: training goes on where it was saved, with the same numbers as if it had not stopped. */
  readonly resume?: Uint8Array | ArrayBuffer;
}

/** A number that the GPU has not computed yet, perhaps. */
export interface Reading {
  /**
   * Waits for it, without holding up what comes after.
   *
   * @throws FastRpbError codes `"value"` (a number that is not finite came up: the message says at which step, and where first), `"lost"`, `"disposed"`
   */
  value(): Promise<number>;
}

/** What {@link Trainer.step} gives, at once. */
export interface StepResult {
  /** Counts from 1. */
  readonly step: number;
  /** The loss before the step. */
  readonly loss: Reading;
  /** Share of the targets that count whose class had the largest logit; NaN without classes. */
  readonly accuracy: Reading;
  /** Norm of the gradients of all parameters, before it is clipped. */
  readonly gradientNorm: Reading;
}

/** How far {@link Trainer.fit} is. */
export interface FitProgress {
  readonly step: number;
  readonly loss: number;
  /** NaN without classes. */
  readonly accuracy: number;
  readonly rate: number;
  readonly gradientNorm: number;
}

/** Options of {@link Trainer.fit}. */
export interface FitOptions {
  /** The last step: those that were done before count. Default: all batches once. */
  readonly steps?: number;
  /** Stops between two steps. */
  readonly signal?: AbortSignal;
  /** Told now and then, of steps in order; not of each. */
  readonly onProgress?: (progress: FitProgress) => void;
}

/** What {@link Trainer.evaluate} gives. */
export interface Evaluation {
  /** The mean loss of the batches, each weighed by its targets that count. */
  readonly loss: number;
  /** NaN without classes. */
  readonly accuracy: number;
}

/** Steps whose batches are kept by reference, to find out where a number went wrong. */
const REMEMBERED = 16;
/** Steps that may be under way at a time. */
const AHEAD = 8;
/** A step that takes longer on a device is submitted bit by bit, so that the page stays responsive. */
const LONG_SECONDS = 0.1;
const MAX_SEED = 2 ** 32 - 1;
/** Batches of which one step adds up the gradients. */
const MOST_BATCHES = 1024;

/**
 * Compiles the training of a model, and draws its parameters.
 *
 * ```ts
 * const trainer = await createTrainer(runtime, model, { batch: 32, loss: crossEntropy(), optimizer: adamW({ rate: 1e-3 }) });
 * const { loss } = trainer.step({ inputs, targets });
 * console.log(await loss.value());
 * ```
 *
 * @throws FastRpbError codes `"value"`, `"shape"`, `"unavailable"`, `"limit"` (the message says what batch would fit), `"disposed"`, `"lost"`
 */
export async function createTrainer(runtime: Runtime, model: Model, options: TrainerOptions): Promise<Trainer> {
  const caller = "createTrainer";
  if (!(runtime instanceof Runtime)) throw refuse("value", caller, "runtime", "a runtime of createRuntime, from the same copy of fastrpb", runtime);
  if (!(model instanceof Model)) throw refuse("value", caller, "model", "a model of defineModel or transformer", model);
  const context = Runtime.contextOf(runtime);
  Runtime.addSelfTests(runtime, loadSelfTests);
  const checked = checkTrainer(caller, model, options);
  const resumed =
    options.resume === undefined ? undefined : (await loadFiles(caller)).readCheckpoint(caller, options.resume, model, checked.optimizer);
  const training = await planTraining(caller, checked);
  const compiled: Executable[] = [];
  try {
    for (const spec of [...training.steps, training.evaluation]) compiled.push(...(await context.compile(caller, [task(graph, spec)])));
  } catch (error) {
    for (const executable of compiled) executable.dispose();
    if (error instanceof FastRpbError && error.code === "limit") throw await withFittingBatch(caller, checked, context, error);
    throw error;
  }
  const state = resumed ?? firstState(checked, checked.seed);
  return new Trainer(context, training, checked, { steps: compiled.slice(0, -1), evaluation: compiled.at(-1)! }, state, options.checkpointSteps ?? 0);
}

interface CheckedOptions extends TrainingOptions {
  readonly seed: number;
}

function checkTrainer(caller: string, model: Model, options: TrainerOptions): CheckedOptions {
  checkOptions(caller, "options", options, [
    "batch",
    "loss",
    "optimizer",
    "seed",
    "recompute",
    "accumulate",
    "averageDecay",
    "checkpointSteps",
    "resume",
  ]);
  const { seed = 0, averageDecay, optimizer } = options;
  if (!Number.isInteger(seed) || seed < 0 || seed > MAX_SEED) throw refuse("value", caller, "options.seed", `an integer from 0 to ${MAX_SEED}`, seed);
  if (averageDecay !== undefined && !(checkFinite(caller, "options.averageDecay", averageDecay) >= 0 && averageDecay < 1)) {
    throw refuse("value", caller, "options.averageDecay", "a number from 0 to below 1", averageDecay);
  }
  const losses = [options.loss].flat() as readonly Loss[];
  if (losses.length === 0 || losses.some((loss) => typeof loss?.record !== "function")) {
    throw refuse("value", caller, "options.loss", "a loss, as crossEntropy() makes one, or an array of losses", options.loss);
  }
  if (typeof optimizer?.task !== "function") throw refuse("value", caller, "options.optimizer", "an optimizer, as adamW(…) makes one", optimizer);
  const accumulate = checkSize(caller, "options.accumulate", options.accumulate ?? 1);
  // Each has a graph of its own.
  if (accumulate > MOST_BATCHES) throw refuse("value", caller, "options.accumulate", `at most ${MOST_BATCHES}`, accumulate);
  if (options.checkpointSteps !== undefined) checkSize(caller, "options.checkpointSteps", options.checkpointSteps);
  return {
    model,
    batch: checkSize(caller, "options.batch", options.batch),
    losses,
    optimizer,
    seed,
    recompute: checkEnum(caller, "options.recompute", options.recompute ?? "none", ["none", "layers"]),
    accumulate,
    averageDecay,
  };
}

function checkBatches(caller: string, batches: unknown): void {
  const isIterable = typeof batches === "object" && batches !== null && (Symbol.iterator in batches || Symbol.asyncIterator in batches);
  if (!isIterable) throw refuse("value", caller, "batches", "an iterable of batches, which may be asynchronous", batches);
}

/** The error of a batch that does not fit, with one that does. */
async function withFittingBatch(caller: string, options: CheckedOptions, { backend }: PlanContext, error: FastRpbError): Promise<FastRpbError> {
  const fits = async (batch: number) => {
    const { steps } = await planTraining(caller, { ...options, batch });
    try {
      for (const spec of steps) planProgram(caller, task(graph, spec), backend.limits);
      return true;
    } catch (tried) {
      if (tried instanceof FastRpbError && tried.code === "limit") return false;
      throw tried;
    }
  };
  let [fitting, tooLarge] = [0, options.batch];
  while (tooLarge - fitting > 1) {
    const batch = Math.floor((fitting + tooLarge) / 2);
    if (await fits(batch)) fitting = batch;
    else tooLarge = batch;
  }
  const remedy = fitting > 0 ? `A batch of ${fitting} would fit.` : "Not even a batch of 1 would fit.";
  const advice = options.recompute === "none" ? ' recompute: "layers" takes less memory.' : "";
  return new FastRpbError("limit", `${error.message} ${remedy}${advice}`, { cause: error });
}

/** All that training goes on from, in float64: what a file of it holds. */
export interface TrainerState {
  readonly step: number;
  readonly seed: number;
  /** By the names of {@link KEPT} and of what the optimiser keeps: numbers of all parameters by their names. */
  readonly numbers: ReadonlyMap<string, ReadonlyMap<string, ArrayLike<number>>>;
}

function firstState(options: CheckedOptions, seed: number): TrainerState {
  const initial = new Map([...options.model.parameters.values()].map((parameter, i) => [parameter.name, initialNumbers(parameter, seed, i)]));
  const numbers = new Map<string, ReadonlyMap<string, ArrayLike<number>>>([[KEPT.parameters, initial]]);
  if (options.averageDecay !== undefined) numbers.set(KEPT.average, initial);
  return { step: 0, seed, numbers };
}

const loadFiles = (caller: string) => loadModule(caller, "files of models", () => import("./files.ts"));

/** Whether dispatches take so long that they are submitted bit by bit. */
function takesLong(dispatches: readonly DispatchInfo[]): boolean {
  return dispatches.reduce((sum, { estimatedSeconds }) => sum + estimatedSeconds, 0) > LONG_SECONDS;
}

/** A model in training; see {@link createTrainer}. Dispose of it when it is no longer needed. */
export class Trainer {
  readonly #context: PlanContext;
  readonly #backend: Backend<Task>;
  readonly #training: Training;
  readonly #options: CheckedOptions;
  readonly #executables: { readonly steps: readonly Executable[]; readonly evaluation: Executable };
  readonly #kept: KeptNumbers;
  readonly #feeder: Feeder;
  readonly #testFeeder: Feeder;
  readonly #seed: number;
  readonly #checkpointSteps: number;
  #checkpoint: TrainerState;
  #step: number;
  /** The history as some reading found it, and the last step that it knows. */
  #history: { readonly upTo: number; readonly rows: Promise<Numbers> } | undefined;
  readonly #recent = new Map<number, Batch>();
  #failure: Promise<FastRpbError> | undefined;
  /** Work that is submitted bit by bit, between whose bits nothing may change. */
  #isBusy = false;
  #disposed = false;

  /** @internal */
  constructor(
    context: PlanContext,
    training: Training,
    options: CheckedOptions,
    executables: { readonly steps: readonly Executable[]; readonly evaluation: Executable },
    state: TrainerState,
    checkpointSteps: number,
  ) {
    this.#context = context;
    this.#backend = context.backend;
    this.#training = training;
    this.#options = options;
    this.#executables = executables;
    this.#checkpointSteps = checkpointSteps;
    this.#kept = new KeptNumbers(this.#backend);
    this.#feeder = new Feeder(this.#backend, context.owner, training.inputs);
    this.#testFeeder = new Feeder(this.#backend, context.owner, training.inputs);
    this.#seed = state.seed;
    this.#step = state.step;
    this.#checkpoint = state;
    this.#place(state);
    context.plans.add(this);
  }

  /** Steps that were begun. */
  get stepCount(): number {
    return this.#step;
  }

  /** The dispatches of a step, in order; empty on the CPU. */
  get dispatches(): readonly DispatchInfo[] {
    return this.#executables.steps.flatMap(({ dispatches }) => dispatches);
  }

  /** What a step costs; where it adds up several batches, one of them with the update. */
  get cost(): Cost {
    return this.#executables.steps.at(-1)!.cost;
  }

  get disposed(): boolean {
    return this.#disposed || this.#context.owner.disposed;
  }

  /**
   * One step: the loss of a batch, its gradients, and the update, in one submit. It does not wait: the numbers are read when they are asked for.
   *
   * @param batch numbers for the inputs of the model and the targets of the losses, by name; what it holds is copied
   * @throws FastRpbError codes `"value"`, `"shape"`, `"limit"`, `"disposed"`, `"lost"`
   */
  step(batch: Batch): StepResult {
    const caller = "trainer.step";
    const { steps, result } = this.#begin(caller, batch);
    this.#backend.run(steps);
    this.#keepCheckpoint();
    return result;
  }

  /**
   * One step, as {@link step}, which is waited for: tells how long each dispatch took.
   *
   * @throws FastRpbError codes as of {@link step}
   */
  async profile(batch: Batch): Promise<Profile<StepResult>> {
    const { steps, result } = this.#begin("trainer.profile", batch);
    const timings = await this.#backend.profile(steps);
    this.#keepCheckpoint();
    return { output: result, ...timings };
  }

  /**
   * Steps over batches, with a few under way at a time. On a slow device each step is submitted bit by bit, so that the page stays responsive.
   *
   * @returns what the last step gave
   * @throws FastRpbError codes as of {@link step}, `"value"` where a number is not finite, `"aborted"`
   */
  async fit(batches: Iterable<Batch> | AsyncIterable<Batch>, options: FitOptions = {}): Promise<FitProgress | undefined> {
    const caller = "trainer.fit";
    checkOptions(caller, "options", options, ["steps", "signal", "onProgress"]);
    const { steps = Infinity, signal, onProgress } = options;
    if (steps !== Infinity) checkSize(caller, "options.steps", steps, 0);
    if (onProgress !== undefined && typeof onProgress !== "function") throw refuse("value", caller, "options.onProgress", "a function", onProgress);
    checkBatches(caller, batches);
    const isLong = takesLong(this.dispatches);
    let last: FitProgress | undefined;
    let pending: Promise<void> | undefined;
    let told = this.#step;
    const tell = async (step: number) => {
      last = await this.#progress(step);
      told = step;
      onProgress?.(last);
    };
    if (this.#step >= steps) return last;
    for await (const batch of batches) {
      checkAborted(caller, signal);
      const { steps: work } = this.#begin(caller, batch);
      if (isLong) await this.#runSliced(caller, work, {});
      else this.#backend.run(work);
      this.#keepCheckpoint();
      // One reading at a time; the queue stays a few steps long.
      pending ??= tell(this.#step).finally(() => (pending = undefined));
      if (isLong || this.#step - told >= AHEAD) await pending;
      else if (this.#backend.kind === "cpu") await new Promise((resolve) => setTimeout(resolve));
      if (this.#step >= steps) break;
    }
    await pending;
    if (told < this.#step) await tell(this.#step);
    return last;
  }

  /**
   * The loss and the accuracy over batches, without dropout. Batches are of the size of the trainer's; targets that do not count fill up a last one.
   *
   * @throws FastRpbError codes as of {@link step}, `"aborted"`
   */
  async evaluate(batches: Iterable<Batch> | AsyncIterable<Batch>, options: { readonly signal?: AbortSignal } = {}): Promise<Evaluation> {
    const caller = "trainer.evaluate";
    checkOptions(caller, "options", options, ["signal"]);
    checkBatches(caller, batches);
    const { counts } = this.#training;
    const { evaluation } = this.#executables;
    let [loss, weight, right] = [0, 0, 0];
    for await (const batch of batches) {
      checkAborted(caller, options.signal);
      this.#checkFree(caller);
      const [inputs] = this.#testFeeder.feed(caller, batch);
      const lossStorage = this.#backend.allocate(evaluation.bytes[LOSS]!, LOSS);
      const countStorage = counts === undefined ? undefined : this.#backend.allocate(evaluation.bytes[counts]!, counts);
      const bindings = { ...this.#kept.bindings(), ...inputs, [LOSS]: lossStorage, ...(countStorage && { [counts!]: countStorage }) };
      try {
        await this.#runSliced(caller, [stepOf(evaluation, bindings)], options);
        const value = roomFor(this.#backend, 1);
        const counted = new Uint32Array([1, 0]);
        await Promise.all([lossStorage.read(value), countStorage?.read(counted)]);
        loss += value[0]! * counted[0]!;
        weight += counted[0]!;
        right += counted[1]!;
      } finally {
        lossStorage.release();
        countStorage?.release();
      }
    }
    return Object.freeze({ loss: loss / weight, accuracy: counts === undefined ? Number.NaN : right / weight });
  }

  /**
   * The numbers of a parameter, after the steps so far.
   *
   * @returns a copy; float64 on the CPU backend
   * @param options.average those of the exponential average instead
   * @throws FastRpbError codes `"value"` (there is none of that name, or no average), `"disposed"`, `"lost"`
   */
  async parameter(name: string, options: { readonly average?: boolean } = {}): Promise<Float32Array | Float64Array> {
    const caller = "trainer.parameter";
    this.#checkAlive(caller);
    checkOptions(caller, "options", options, ["average"]);
    return this.#numbers(caller, this.#averaged(caller, options.average), name);
  }

  /**
   * The gradient with respect to a parameter, of the last step: in its shape, before clipping.
   *
   * @returns a copy; float64 on the CPU backend
   * @throws FastRpbError codes `"value"` (there is none of that name), `"disposed"`, `"lost"`
   */
  async gradient(name: string): Promise<Float32Array | Float64Array> {
    const caller = "trainer.gradient";
    this.#checkAlive(caller);
    return this.#numbers(caller, KEPT.gradients, name);
  }

  /**
   * The model in a file of safetensors, with names and shapes as PyTorch's `state_dict` has them, and what resuming takes: what the optimiser keeps, the
   * step, the seed. {@link loadModel} and the option `resume` read it.
   *
   * @param options.average the exponential average of the parameters in their place, and nothing for resuming
   * @throws FastRpbError codes `"value"` (no average is kept, or a number is not finite), `"disposed"`, `"lost"`
   */
  async save(options: { readonly average?: boolean } = {}): Promise<Uint8Array> {
    const caller = "trainer.save";
    this.#checkAlive(caller);
    checkOptions(caller, "options", options, ["average"]);
    const whole = this.#averaged(caller, options.average);
    const { model, optimizer } = this.#options;
    const [{ writeModel, writeCheckpoint }, state] = await Promise.all([loadFiles(caller), this.#state()]);
    if (options.average) return writeModel(model, state.numbers.get(whole)!);
    return writeCheckpoint(model, optimizer, state);
  }

  /**
   * After a loss of the device: waits for another one, as {@link Runtime.restore} does, and goes on from the last copy on the CPU, which is that of the
   * start without `checkpointSteps`.
   *
   * @returns the step that it goes on from
   * @throws FastRpbError codes as of {@link Runtime.restore}
   */
  async restore(): Promise<number> {
    this.#checkAlive("trainer.restore");
    await (this.#context.owner as Runtime).restore();
    this.#step = this.#checkpoint.step;
    this.#history = undefined;
    this.#failure = undefined;
    this.#place(this.#checkpoint);
    return this.#step;
  }

  /** Frees parameters and all else. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#context.plans.delete(this);
    if (this.#context.owner.disposed) return;
    for (const executable of [...this.#executables.steps, this.#executables.evaluation]) executable.dispose();
    this.#kept.release();
    this.#feeder.release();
    this.#testFeeder.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Puts all that training keeps onto the device. */
  #place({ numbers }: TrainerState): void {
    const { arena, constants } = this.#training;
    const { optimizer, averageDecay, accumulate } = this.#options;
    const states = optimizer.states.map(stateName);
    for (const name of [
      KEPT.parameters,
      KEPT.gradients,
      ...states,
      ...(averageDecay === undefined ? [] : [KEPT.average]),
      ...(accumulate > 1 ? [KEPT.next] : []),
    ]) {
      const data = float64Array("createTrainer", arena.size);
      for (const [parameter, own] of numbers.get(name) ?? []) numbersAt(arena, data, parameter).set(own);
      this.#kept.put(name, data);
    }
    this.#kept.put(KEPT.constants, constants.data);
    this.#kept.put(KEPT.rates, new Float64Array(optimizer.rates(1).length));
    this.#kept.put(KEPT.history, new Float64Array(HISTORY_SIZE));
    this.#kept.putWords(HEALTH, new Uint32Array(2));
    for (let i = 0; i < accumulate; i++) this.#kept.putWords(`${CLOCK} ${i}`, new Uint32Array(4));
  }

  #begin(caller: string, batch: Batch): { readonly steps: readonly Step[]; readonly result: StepResult } {
    this.#checkFree(caller);
    const { accumulate, optimizer } = this.#options;
    const inputs = this.#feeder.feed(caller, batch, accumulate);
    const rates = optimizer.rates(this.#step + 1);
    const step = ++this.#step;
    this.#recent.set(step, batch);
    this.#recent.delete(step - REMEMBERED);
    this.#kept.write(KEPT.rates, Float64Array.from(rates));
    const kept = this.#kept.bindings();
    const steps = this.#executables.steps.map((executable, i) => {
      // Each batch of a step draws its own dropout.
      const clock = this.#kept.get(`${CLOCK} ${i}`);
      this.#backend.write(clock, Uint32Array.of(this.#seed, i, step, 0));
      return stepOf(executable, { ...kept, ...inputs[i]!, [CLOCK]: clock });
    });
    const reading = (of: (progress: FitProgress) => number): Reading => ({ value: async () => of(await this.#progress(step)) });
    const result = Object.freeze<StepResult>({
      step,
      loss: reading(({ loss }) => loss),
      accuracy: reading(({ accuracy }) => accuracy),
      gradientNorm: reading(({ gradientNorm }) => gradientNorm),
    });
    return { steps, result };
  }

  /** The row of a step in the history. A reading that was begun after the step serves it, too. */
  async #progress(step: number): Promise<FitProgress> {
    this.#checkAlive("trainer");
    if (!this.#history || this.#history.upTo < step) this.#history = { upTo: this.#step, rows: this.#kept.read(KEPT.history) };
    const first = (step % HISTORY_ROWS) * HISTORY_COLUMNS;
    const [own, health, squares, loss, counted, right] = (await this.#history.rows).subarray(first, first + HISTORY_COLUMNS);
    if (own !== step) throw refuse("value", "trainer.step", "the step", `one of the last ${HISTORY_ROWS}`, step);
    if (health !== 0) throw await (this.#failure ??= this.#diagnose(health! - 1));
    const accuracy = this.#training.counts === undefined ? Number.NaN : right! / counted!;
    return Object.freeze({ step, loss: loss!, accuracy, rate: this.#options.optimizer.rate.at(step), gradientNorm: Math.sqrt(squares!) });
  }

  async #diagnose(step: number): Promise<FastRpbError> {
    const { firstNonFinite } = await loadModule("trainer.step", "the search for numbers that are not finite", () => import("./diagnose.ts"));
    const batch = this.#recent.get(step);
    const where = batch && (await firstNonFinite(this.#context, this.#training, this.#kept, batch, Uint32Array.of(this.#seed, 0, step, 0)));
    const first = where ? `, first in ${where}` : "";
    return new FastRpbError(
      "value",
      `trainer.step: at step ${step} there is a number that is not finite${first}. Parameters are those of the step before.`,
    );
  }

  async #numbers(caller: string, whole: string, name: string): Promise<Numbers> {
    const { arena } = this.#training;
    if (!arena.places.has(name)) throw refuse("value", caller, "name", `one of ${[...arena.places.keys()].join(", ")}`, name);
    return numbersAt(arena, await this.#kept.read(whole), name).slice() as Numbers;
  }

  #averaged(caller: string, average: unknown): string {
    if (!checkBoolean(caller, "options.average", average ?? false)) return KEPT.parameters;
    if (this.#options.averageDecay !== undefined) return KEPT.average;
    throw refuse("value", caller, "options.average", "false, because the trainer has no averageDecay", true);
  }

  /** All that training goes on from, as it is after the steps so far. */
  async #state(): Promise<TrainerState> {
    const { arena } = this.#training;
    const { optimizer, averageDecay } = this.#options;
    const step = this.#step;
    const names = [KEPT.parameters, ...optimizer.states.map(stateName), ...(averageDecay === undefined ? [] : [KEPT.average])];
    const all = await Promise.all(names.map((name) => this.#kept.read(name)));
    const byParameter = (data: Numbers) => new Map([...arena.places.keys()].map((parameter) => [parameter, numbersAt(arena, data, parameter)]));
    return { step, seed: this.#seed, numbers: new Map(names.map((name, i) => [name, byParameter(all[i]!)])) };
  }

  #keepCheckpoint(): void {
    if (this.#checkpointSteps === 0 || this.#step % this.#checkpointSteps !== 0) return;
    // What fails here is told by whoever reads a loss; the copy before is kept.
    void this.#state().then(
      (state) => {
        if (state.step > this.#checkpoint.step) this.#checkpoint = state;
      },
      () => {},
    );
  }

  async #runSliced(caller: string, steps: readonly Step[], options: { readonly signal?: AbortSignal }): Promise<void> {
    this.#isBusy = takesLong(steps.flatMap(({ executable }) => executable.dispatches));
    try {
      await this.#backend.runSliced(caller, steps, options);
    } finally {
      this.#isBusy = false;
    }
  }

  #checkFree(caller: string): void {
    this.#checkAlive(caller);
    if (this.#isBusy) throw refuse("value", caller, "the trainer", "one that is not in the middle of fit or evaluate", "one that is");
  }

  #checkAlive(caller: string): void {
    if (this.disposed) throw new FastRpbError("disposed", `${caller}: the trainer or its runtime was disposed.`);
  }
}
