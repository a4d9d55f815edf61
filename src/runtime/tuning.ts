/** Measures what the planner may choose, on the device at hand. */
import type { Backend, Executable, Storage } from "../core/backend.ts";
import { checkChoices } from "../core/check-choices.ts";
import { checkBoolean, checkEnum, checkOptions, copyOptions } from "../core/check.ts";
import type { Choices } from "../core/choices.ts";
import { checkAborted, FastRpbError, refuse } from "../core/errors.ts";
import type { Speed } from "../core/limits.ts";
import { loadModule } from "../core/load.ts";
import { type AttentionOptions, attentionSpec, type AttentionSpec } from "../operations/attention/spec.ts";
import { type ConvolveOptions, convolveSpec } from "../operations/convolve/spec.ts";
import { type FftOptions, fftSpec } from "../operations/fft/spec.ts";
import { type Operation, type OperationSpec, type Task, task } from "../operations/operation.ts";
import { loadForm } from "../operations/toeplitz/separable-plans.ts";
import { type RelativePositions, type ToeplitzOptions, toeplitzSpec } from "../operations/toeplitz/spec.ts";
import { loadKind } from "./attention-family.ts";
import type { PlanContext } from "./plan.ts";

/** A plan to tune: the operation, what its method of {@link Runtime} takes, and whether its gradient is meant. */
export type TuneRequest = { /** Tunes the gradient of the plan instead. Default `false`. */ readonly gradient?: boolean } & (
  | { readonly operation: "fft"; readonly options: FftOptions }
  | { readonly operation: "convolve"; readonly options: ConvolveOptions }
  | { readonly operation: "toeplitz"; readonly options: ToeplitzOptions }
  | { readonly operation: "attention"; readonly options: AttentionOptions }
);

/** What can be tuned. */
const FAMILIES = {
  fft: { spec: fftSpec, load: async () => (await import("../operations/fft/operation.ts")).fft },
  convolve: { spec: convolveSpec, load: async () => (await import("../operations/convolve/operation.ts")).convolve },
  toeplitz: {
    spec: toeplitzSpec,
    async load(spec: RelativePositions) {
      await loadForm(spec);
      return (await import("../operations/toeplitz/operation.ts")).toeplitz;
    },
  },
  attention: { spec: attentionSpec, load: loadKind },
} as const;

/** The best choices found on a device, as JSON; {@link createRuntime} takes it back as `tuning`. */
export interface Tuning {
  readonly version: 1;
  /** The device they were measured on. On another one they are ignored. */
  readonly adapter: string;
  /** How fast it is, where that was measured: plans cut work that takes long by it. */
  readonly speed?: Speed;
  readonly plans: readonly {
    /** What the choices are for, as {@link tuningKey} has it. */
    readonly key: string;
    readonly choices: Choices;
  }[];
}

export interface TuneProgress {
  /** Which request, and how many there are. */
  readonly index: number;
  readonly total: number;
  /** What was just measured, its time, and that of the best so far. */
  readonly choices: Choices;
  readonly milliseconds: number;
  readonly bestMilliseconds: number;
}

export interface TuneOptions {
  /** Stops after the measurement that is running. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TuneProgress) => void;
}

/**
 * For software GPUs: few lanes with many values, because every barrier costs a change of context for each lane; where a thread holds a whole
 * column there is none. Hardware wants the opposite, and some drivers take minutes to compile such code.
 */
const SOFTWARE_ALTERNATIVES: readonly Partial<Choices>[] = [
  { registers: 32, lanes: 32, columns: 1 },
  { registers: 64, lanes: 16, columns: 1 },
  { registers: 128, lanes: 8, columns: 1 },
];

/** What is tried, one after the other, starting from the best so far. */
const ALTERNATIVES: readonly Partial<Choices>[] = [
  { registers: 8, maxRadix: 8 },
  { lanes: 64 },
  { lanes: 256 },
  { lanes: 512 },
  { maxRadix: 8 },
  { maxRadix: 16 },
  { maxRadix: 4 },
  { columns: 8 },
  { exchange: "split" },
  { exchange: "whole" },
  { roots: "split" },
];

/** A measurement lasts at least this long, so that the clock and the submit do not show. */
const SAMPLE_MILLISECONDS = 20;
const MOST_REPETITIONS = 256;
/** Samples of each candidate: as many as fit into this time, within the bounds. */
const CANDIDATE_MILLISECONDS = 1000;
const MOST_SAMPLES = 5;
/**
 * An idle GPU runs at a fraction of its clock rate (an H100 at a sixth), and compiling leaves it idle: it works so long before each
 * comparison. What takes longer than {@link SLOW_MILLISECONDS} warms up by itself.
 */
const WARM_UP_MILLISECONDS = 500;
const SLOW_MILLISECONDS = 50;
/** A change counts if it gains so much: below it is noise, and the default is the better known. */
const GAIN = 0.97;

/** @throws FastRpbError codes `"value"`, `"unavailable"` */
export function requestedSpec(caller: string, request: TuneRequest, index: number): OperationSpec {
  checkOptions(caller, `requests[${index}]`, request, ["operation", "options", "gradient"]);
  checkBoolean(caller, `requests[${index}].gradient`, request.gradient ?? false);
  const name = checkEnum(caller, `requests[${index}].operation`, request.operation, ["fft", "convolve", "toeplitz", "attention"]);
  return FAMILIES[name].spec(request.options as never);
}

/** What is measured for a request that was checked. */
async function requestedTask(caller: string, request: TuneRequest, spec: OperationSpec, index: number): Promise<Task> {
  const load: (spec: AttentionSpec) => Promise<Operation<never>> = FAMILIES[request.operation].load;
  const operation: Operation = await loadModule(caller, request.operation, () => load(spec as AttentionSpec));
  if (request.gradient !== true) return task(operation, spec);
  const gradient = "storage" in spec && spec.storage === "f16" ? undefined : operation.gradient?.(spec);
  if (gradient) return gradient;
  throw refuse("value", caller, `requests[${index}].gradient`, "false, because there is no gradient", true);
}

/** What a choice depends on: not the batch or the number of heads. */
export function tuningKey({ operation, spec }: Task): string {
  return JSON.stringify(operation.tuned?.(spec) ?? { ...spec, batch: undefined, heads: undefined });
}

export interface Measured {
  readonly choices: Choices;
  readonly milliseconds: number;
  readonly bestMilliseconds: number;
}

/**
 * The fastest choices for a task, found one by one: all combinations would be too many pipelines to compile.
 *
 * @throws FastRpbError code `"aborted"`
 */
export async function tuneTask(
  caller: string,
  backend: Backend<Task>,
  tuned: Task,
  signal: AbortSignal | undefined,
  onMeasured: (measured: Measured) => void,
): Promise<Choices> {
  let best = backend.limits.choices;
  let bestPlan = await backend.compile(caller, tuned, best);
  const tried = new Set([fingerprint(bestPlan)]);
  const bindings: Record<string, Storage> = {};
  const time = async (executable: Executable, repetitions: number): Promise<number> => {
    checkAborted(caller, signal);
    const timings = await backend.profile(Array.from({ length: repetitions }, () => ({ executable, bindings })));
    const gpu = timings.dispatches.map((dispatch) => dispatch.milliseconds);
    const total = gpu.every((value) => value !== undefined) ? gpu.reduce((sum, value) => sum! + value!, 0)! : timings.milliseconds;
    return total / repetitions;
  };
  try {
    for (const [name, bytes] of Object.entries(bestPlan.bytes)) bindings[name] = backend.allocate(bytes, `tune ${name}`);
    const once = Math.max(await time(bestPlan, 1), await time(bestPlan, 1), 1e-3); // the first run warms up
    const samples = Math.max(1, Math.min(MOST_SAMPLES, Math.floor(CANDIDATE_MILLISECONDS / once)));
    const repetitions = Math.max(1, Math.min(MOST_REPETITIONS, Math.ceil(SAMPLE_MILLISECONDS / once)));
    for (const alternative of backend.adapterInfo?.isFallbackAdapter ? [...SOFTWARE_ALTERNATIVES, ...ALTERNATIVES] : ALTERNATIVES) {
      const choices = Object.freeze({ ...best, ...alternative });
      checkAborted(caller, signal);
      const plan = await backend.compile(caller, tuned, choices).catch((error: unknown) => {
        // A candidate that is too much for this device is no candidate.
        if (error instanceof FastRpbError && (error.code === "unavailable" || error.code === "limit")) return undefined;
        throw error;
      });
      if (!plan) continue;
      let better = false;
      try {
        const code = fingerprint(plan);
        if (tried.has(code)) continue;
        tried.add(code);
        if (once < CANDIDATE_MILLISECONDS) await time(plan, 1); // the first run
        if (once < SLOW_MILLISECONDS) warmUp(backend, bestPlan, bindings, repetitions, Math.ceil(WARM_UP_MILLISECONDS / (once * repetitions)));
        // Turn by turn, so that a drift of the clock rate hits both.
        const times: [number, number][] = [];
        for (let i = 0; i < samples; i++) times.push([await time(bestPlan, repetitions), await time(plan, repetitions)]);
        const [old, fresh] = [median(times.map(([a]) => a)), median(times.map(([, b]) => b))];
        better = fresh < GAIN * old;
        onMeasured({ choices, milliseconds: fresh, bestMilliseconds: better ? fresh : old });
      } finally {
        (better ? bestPlan : plan).dispose();
      }
      if (better) [best, bestPlan] = [choices, plan];
    }
    return best;
  } finally {
    bestPlan.dispose();
    for (const storage of Object.values(bindings)) storage.release();
  }
}

/**
 * Starts work without waiting for it, so that the GPU has no pause before what comes next. Dispatches that are shorter than their recording
 * keep it busy no longer than they are recorded: the clock ends that.
 */
function warmUp(backend: Backend, executable: Executable, bindings: Readonly<Record<string, Storage>>, repetitions: number, submits: number): void {
  const steps = Array.from({ length: repetitions }, () => ({ executable, bindings }));
  const until = performance.now() + WARM_UP_MILLISECONDS;
  for (let i = 0; i < submits && performance.now() < until; i++) backend.run(steps);
}

/** What differs between plans that are not the same. */
function fingerprint(executable: Executable): string {
  return JSON.stringify(executable.dispatches);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** A device's name in a {@link Tuning}. */
export function adapterName(info: GPUAdapterInfo | undefined): string {
  return info ? [info.vendor, info.architecture, info.device, info.description].join("/") : "cpu";
}

/** What a runtime was tuned to. */
export class Tuned {
  readonly #choices: Map<string, Choices>;
  /** Of the device, as it was measured earlier. */
  readonly speed: Speed | undefined;

  constructor(choices: ReadonlyMap<string, Choices> = new Map(), speed?: Speed) {
    this.#choices = new Map(choices);
    this.speed = speed;
  }

  of(task: Task): Choices | undefined {
    return this.#choices.get(tuningKey(task));
  }

  set(task: Task, choices: Choices): void {
    this.#choices.set(tuningKey(task), choices);
  }

  /** Everything, for a device. */
  toTuning(adapterInfo: GPUAdapterInfo | undefined, speed: Speed): Tuning {
    const plans = [...this.#choices].map(([key, choices]) => Object.freeze({ key, choices }));
    return Object.freeze({ version: 1, adapter: adapterName(adapterInfo), ...(speed.paces && { speed }), plans: Object.freeze(plans) });
  }
}

/** {@link Runtime.tune} */
export async function tune(
  caller: string,
  { backend, owner, checkHalf }: PlanContext,
  tuned: Tuned,
  requests: readonly TuneRequest[],
  options: TuneOptions,
): Promise<Tuning> {
  checkOptions(caller, "options", options, ["signal", "onProgress"]);
  if (!Array.isArray(requests)) throw refuse("value", caller, "requests", "an array of requests", requests);
  const specs = (requests as readonly TuneRequest[]).map((request, i) => requestedSpec(caller, request, i));
  for (const [i, spec] of specs.entries()) {
    if ("storage" in spec && spec.storage === "f16") checkHalf(caller, `requests[${i}].options.storage`, '"f32"');
  }
  const tasks = await Promise.all(specs.map((spec, i) => requestedTask(caller, requests[i]!, spec, i)));
  for (const [index, each] of backend.kind === "cpu" ? [] : tasks.entries()) {
    const choices = await tuneTask(caller, backend, each, options.signal, (measured) =>
      options.onProgress?.(Object.freeze({ index, total: tasks.length, ...measured })),
    );
    if (owner.disposed) throw new FastRpbError("disposed", `${caller}: the runtime was disposed.`);
    tuned.set(each, choices);
  }
  return tuned.toTuning(backend.adapterInfo, backend.limits.speed);
}

/** A tuning, checked: the choices by spec. @throws FastRpbError code `"value"` */
export function readTuning(
  caller: string,
  tuning: unknown,
): { readonly adapter: string; readonly choices: ReadonlyMap<string, Choices>; readonly speed: Speed | undefined } {
  const argument = "options.tuning";
  const { version, adapter, plans, speed } = checkOptions(caller, argument, copyOptions(tuning as Tuning, 5), [
    "version",
    "adapter",
    "speed",
    "plans",
  ]);
  if (version !== 1 || typeof adapter !== "string" || !Array.isArray(plans)) {
    throw refuse("value", caller, argument, "a tuning of version 1, as runtime.tune returns it", tuning);
  }
  const choices = new Map<string, Choices>();
  for (const [i, plan] of (plans as Tuning["plans"]).entries()) {
    const { key, choices: chosen } = checkOptions(caller, `${argument}.plans[${i}]`, plan, ["key", "choices"]);
    if (typeof key !== "string") throw refuse("value", caller, `${argument}.plans[${i}].key`, "a string", key);
    choices.set(key, checkChoices(caller, `${argument}.plans[${i}].choices`, chosen));
  }
  return { adapter, choices, speed: speed === undefined ? undefined : checkSpeed(caller, `${argument}.speed`, speed) };
}

function checkSpeed(caller: string, argument: string, speed: Speed): Speed {
  const { paces, ...rates } = checkOptions(caller, argument, speed, ["flopsPerSecond", "bytesPerSecond", "workgroupShare", "paces"]);
  const none = { flopsPerSecond: 0, bytesPerSecond: 0, workgroupShare: 0 };
  for (const [name, got] of Object.entries<number>(Object.assign(none, rates, paces))) {
    if (Number.isFinite(got) && got > 0) continue;
    throw refuse("value", caller, `${argument}.${name}`, "a positive number", got);
  }
  return Object.freeze({ ...rates, paces: Object.freeze({ ...paces }) });
}
