/** Where the page computes: on WebGPU, or on the CPU backend in a worker. Tasks run in the order in which they were asked for. */
import { createRuntime, FastRpbError, type Runtime } from "../src/index.ts";
import { CpuWorker, type TaskOptions } from "./cpu-worker.ts";
import { Turns } from "./turns.ts";
import { TASKS, type EventOf, type InputOf, type OutputOf, type TaskName } from "./tasks/index.ts";
import type { Task } from "./tasks/task.ts";

export type BackendChoice = "auto" | "webgpu" | "cpu";

/** `"lost"`: the device went, and {@link Engine.recover} asks for another. `"none"`: there is no backend as chosen. */
export type EngineState = "opening" | "ready" | "lost" | "none";

/** Tasks whose times are shown: nothing else runs beside them. */
const TIMED: ReadonlySet<TaskName> = new Set(["attention", "cost"]);

export class Engine {
  #choice: BackendChoice;
  #runtime: Runtime | undefined;
  #opening: Promise<Runtime> | undefined;
  #state: EngineState = "opening";
  readonly #turns = new Turns();
  readonly #worker = new CpuWorker();
  readonly #checker = new CpuWorker();
  readonly #listeners: ((state: EngineState, why: string) => void)[] = [];

  constructor(choice: BackendChoice) {
    this.#choice = choice;
  }

  get choice(): BackendChoice {
    return this.#choice;
  }

  get state(): EngineState {
    return this.#state;
  }

  /** Once it is open. On the CPU this one is for its limits: tasks run on the worker's. */
  get runtime(): Runtime | undefined {
    return this.#runtime;
  }

  /** Whether the GPU is a program on the CPU, or there is none: what takes long elsewhere takes very long here. */
  get slow(): boolean {
    return this.#runtime?.backend !== "webgpu" || this.#runtime.adapterInfo?.isFallbackAdapter === true;
  }

  /** `why`: the words of the loss, or of why there is no backend. */
  onState(listener: (state: EngineState, why: string) => void): void {
    this.#listeners.push(listener);
  }

  /** @throws FastRpbError code `"unavailable"` where WebGPU was asked for and there is none */
  open(): Promise<Runtime> {
    return (this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined;
      this.#set("none", error instanceof Error ? error.message : String(error));
      throw error;
    }));
  }

  /** Closes what is open. Tasks in progress fail; those that wait run on the new backend. */
  async choose(choice: BackendChoice): Promise<void> {
    this.#choice = choice;
    const closing = this.#runtime;
    this.#runtime = undefined;
    this.#opening = undefined;
    this.#worker.dispose();
    closing?.dispose();
    await this.open();
  }

  /** After a loss: another device, and every plan compiled for it. @throws FastRpbError code `"lost"` where there is none */
  async recover(): Promise<void> {
    if (this.#state !== "lost" || !this.#runtime) {
      await this.open();
      return;
    }
    const runtime = this.#runtime;
    await runtime.restore();
    this.#watch(runtime);
    this.#set("ready", "");
  }

  /**
   * Runs a task in its turn. A lost device is asked for again first.
   *
   * @throws the reason of the signal, also while it waits, or what the task throws
   */
  async run<Name extends TaskName>(name: Name, input: InputOf<Name>, options: TaskOptions<Name> = {}): Promise<OutputOf<Name>> {
    // The worker is ended with the task that is cancelled: it has one at a time.
    const alone = TIMED.has(name) || this.#runtime?.backend !== "webgpu";
    const endTurn = await this.#turns.take(alone, options.signal);
    try {
      if (this.#state === "lost") await this.recover();
      const runtime = await this.open();
      if (runtime.backend === "cpu") return await this.#worker.run(name, input, options);
      return await runOn(runtime, name, input, options);
    } finally {
      endTurn();
    }
  }

  /** Runs a task on the CPU backend whatever the choice is: to check the GPU. It waits for nothing. */
  check<Name extends TaskName>(name: Name, input: InputOf<Name>, options: TaskOptions<Name> = {}): Promise<OutputOf<Name>> {
    return this.#checker.run(name, input, options);
  }

  async #open(): Promise<Runtime> {
    this.#set("opening", "");
    const choice = this.#choice;
    const runtime = await createRuntime({ backend: choice });
    if (choice !== this.#choice) {
      runtime.dispose();
      return this.open();
    }
    this.#runtime = runtime;
    this.#watch(runtime);
    this.#set("ready", "");
    return runtime;
  }

  #watch(runtime: Runtime): void {
    void runtime.lost.then(({ message }) => {
      if (this.#runtime === runtime && !runtime.disposed) this.#set("lost", message);
    });
  }

  #set(state: EngineState, why: string): void {
    this.#state = state;
    for (const listener of this.#listeners) listener(state, why);
  }
}

async function runOn<Name extends TaskName>(
  runtime: Runtime,
  name: Name,
  input: InputOf<Name>,
  { signal = new AbortController().signal, onEvent }: TaskOptions<Name>,
): Promise<OutputOf<Name>> {
  const task = TASKS[name] as unknown as Task<InputOf<Name>, EventOf<Name>, OutputOf<Name>>;
  try {
    return await task(runtime, input, {
      signal,
      emit: (event) => {
        if (!signal.aborted) onEvent?.(event);
      },
    });
  } catch (error) {
    throw error instanceof FastRpbError && error.code === "aborted" ? signal.reason : error;
  }
}
