/** Time and memory of three kinds of attention against the length, as long as each keeps to its time. */
import { type AttentionOptions, type AttentionPlan, FastRpbError, type Runtime, type Tensor } from "../../src/index.ts";
import { uniform } from "../random.ts";
import { breathe, Scope, type Task, type TaskContext } from "./task.ts";

export const COST_METHODS = ["softmax", "linear", "fastrpb"] as const;
export type CostMethod = (typeof COST_METHODS)[number];

export const COST_HEAD_DIM = 64;
export const SHORTEST = 256;
const LONGEST = 2 ** 20;
/** What the page takes for one tensor, whatever the device has. */
const LARGEST_TENSOR = 2 ** 28;

export interface CostInput {
  readonly heads: number;
  /** A method ends where its next run would take longer, in milliseconds. */
  readonly budget: number;
}

export interface CostPoint {
  readonly method: CostMethod;
  readonly n: number;
  readonly heads: number;
  /** Of one run, the median of what was measured, and the shortest and the longest of that. */
  readonly milliseconds: number;
  readonly shortest: number;
  readonly longest: number;
  /** How many were timed. */
  readonly runs: number;
  /** Tensors, spectrum and scratch memory. */
  readonly bytes: number;
}

/** Why a method ended before the length `n`. */
export type CostEnd =
  | { readonly why: "time"; readonly n: number; readonly budget: number }
  | { readonly why: "size"; readonly n: number; readonly bytes: number; readonly ofDevice: boolean }
  | { readonly why: "longest"; readonly n: number }
  | { readonly why: "refused"; readonly n: number; readonly message: string };

export type CostEvent =
  | { readonly kind: "next"; readonly method: CostMethod; readonly n: number; readonly fraction: number }
  | { readonly kind: "point"; readonly point: CostPoint }
  | { readonly kind: "end"; readonly method: CostMethod; readonly end: CostEnd };

const OPTIONS: Readonly<Record<CostMethod, Pick<AttentionOptions, "kind" | "featureMap" | "bias">>> = {
  softmax: { kind: "softmax" },
  linear: { featureMap: "sikf" },
  fastrpb: { featureMap: "sikf", bias: "fastrpb" },
};

/** How time grows when the length doubles. */
const GROWTH: Readonly<Record<CostMethod, number>> = { softmax: 4, linear: 2.2, fastrpb: 2.2 };

/** Of a run slower than this one is timed. */
const SLOW_RUN = 500;
/** Fast runs are timed in batches: the clock, and the way to the device and back, are coarse. */
const BATCH = 50;
const BATCHES = 3;
const MOST_RUNS = 20_000;

export const cost: Task<CostInput, CostEvent, undefined> = async (runtime, { heads, budget }, context) => {
  const inputs = new Inputs();
  const race = new Race(budget, largestTensor(runtime), heads);
  const device = new Watch(runtime);
  const started = performance.now();
  for (let n = SHORTEST; ; n *= 2) {
    const running = COST_METHODS.filter((method) => {
      const end = race.endBefore(method, n);
      if (end) context.emit({ kind: "end", method, end });
      return race.runs(method);
    });
    if (running.length === 0) return undefined;
    const scope = new Scope();
    const stop = (method: CostMethod, error: unknown) => {
      const end = refusal(error, n);
      if (!end) throw error;
      race.end(method);
      context.emit({ kind: "end", method, end });
    };
    try {
      const tensors = await upload(runtime, inputs, scope, { heads, n }, context);
      for (const method of running) {
        context.emit({ kind: "next", method, n, fraction: race.fraction(performance.now() - started) });
        try {
          const point = await measure({ runtime, device, scope, tensors }, { method, heads, n }, context);
          race.took(method, n, point.milliseconds);
          context.emit({ kind: "point", point });
        } catch (error) {
          stop(method, error);
        }
      }
    } catch (error) {
      for (const method of running) if (race.runs(method)) stop(method, error);
    } finally {
      scope.dispose();
    }
  }
};

function largestTensor({ limits }: Runtime): { readonly bytes: number; readonly ofDevice: boolean } {
  const bytes = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  return bytes < LARGEST_TENSOR ? { bytes, ofDevice: true } : { bytes: LARGEST_TENSOR, ofDevice: false };
}

/** Memory that ran out ends a method, not the measurement. */
function refusal(error: unknown, n: number): CostEnd | undefined {
  if (error instanceof FastRpbError ? error.code === "limit" : error instanceof RangeError) {
    return { why: "refused", n, message: (error as Error).message };
  }
  return undefined;
}

/** Which methods go on to which length. */
export class Race {
  readonly #budget: number;
  readonly #largest: { readonly bytes: number; readonly ofDevice: boolean };
  readonly #heads: number;
  readonly #running = new Map<CostMethod, { n: number; milliseconds: number } | undefined>(COST_METHODS.map((method) => [method, undefined]));
  #spent = 0;
  #shown = 0;

  constructor(budget: number, largest: { readonly bytes: number; readonly ofDevice: boolean }, heads: number) {
    this.#budget = budget;
    this.#largest = largest;
    this.#heads = heads;
  }

  runs(method: CostMethod): boolean {
    return this.#running.has(method);
  }

  end(method: CostMethod): void {
    this.#running.delete(method);
  }

  took(method: CostMethod, n: number, milliseconds: number): void {
    this.#running.set(method, { n, milliseconds });
    this.#spent += pointTime(milliseconds);
  }

  /** Ends a method that must not go on to the length `n`, and tells why; once. */
  endBefore(method: CostMethod, n: number): CostEnd | undefined {
    if (!this.#running.has(method)) return undefined;
    const end = this.#why(n, predict(method, this.#running.get(method), n));
    if (end) this.end(method);
    return end;
  }

  /** Of the whole measurement, from the time it has taken; never less than before. */
  fraction(elapsed: number): number {
    let left = 0;
    for (const [method, last] of this.#running) {
      for (let n = last ? 2 * last.n : SHORTEST; ; n *= 2) {
        const milliseconds = predict(method, last ?? { n: SHORTEST, milliseconds: 1 }, n);
        if (this.#why(n, milliseconds)) break;
        left += pointTime(milliseconds);
      }
    }
    // Compiling and uploading take what they have taken so far.
    const overhead = this.#spent === 0 ? 1 : Math.max(1, elapsed / this.#spent);
    const fraction = elapsed / (elapsed + overhead * left);
    return (this.#shown = Math.max(this.#shown, Number.isFinite(fraction) ? fraction : 0));
  }

  #why(n: number, milliseconds: number): CostEnd | undefined {
    if (n > LONGEST) return { why: "longest", n };
    if (4 * this.#heads * n * COST_HEAD_DIM > this.#largest.bytes) return { why: "size", n, ...this.#largest };
    if (milliseconds > this.#budget) return { why: "time", n, budget: this.#budget };
    return undefined;
  }
}

/** From the last length on, each doubling takes as many times longer as the method's growth says. */
function predict(method: CostMethod, last: { readonly n: number; readonly milliseconds: number } | undefined, n: number): number {
  return last ? last.milliseconds * GROWTH[method] ** Math.log2(n / last.n) : 0;
}

/** What measuring a point takes, roughly. */
function pointTime(milliseconds: number): number {
  if (milliseconds > 4 * SLOW_RUN) return 2 * milliseconds;
  return milliseconds > SLOW_RUN ? 3 * milliseconds : milliseconds + BATCHES * Math.max(BATCH, milliseconds);
}

interface Tensors {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly weights: Tensor;
  /** From the first run on. */
  out?: Tensor;
}

interface Size {
  readonly heads: number;
  readonly n: number;
}

async function upload(runtime: Runtime, inputs: Inputs, scope: Scope, { heads, n }: Size, context: TaskContext<CostEvent>): Promise<Tensors> {
  const data = await inputs.get(heads * n * COST_HEAD_DIM, context);
  const tensor = async (count: number, shape: readonly number[]) => {
    await breathe(context);
    return scope.hold(runtime.tensor(data.subarray(0, count), shape));
  };
  const shape = [1, heads, n, COST_HEAD_DIM];
  return {
    q: await tensor(data.length, shape),
    k: await tensor(data.length, shape),
    v: await tensor(data.length, shape),
    weights: await tensor(heads * (2 * n - 1), [heads, 2 * n - 1]),
  };
}

/** Seeded random numbers between −1 and 1: a start of the same sequence for every length. */
class Inputs {
  /** Takes a few milliseconds. */
  static readonly #SLICE = 2 ** 19;
  readonly #random = uniform(7);
  #data = new Float32Array(0);

  async get(count: number, context: TaskContext<CostEvent>): Promise<Float32Array> {
    const before = this.#data;
    if (before.length < count) {
      const data = new Float32Array(count);
      let known = 0;
      for (let from = 0; from < count; from += Inputs.#SLICE) {
        await breathe(context);
        const end = Math.min(from + Inputs.#SLICE, count);
        known = Math.min(end, before.length);
        if (from < known) data.set(before.subarray(from, known), from);
        for (let i = Math.max(from, known); i < end; i++) data[i] = 2 * this.#random() - 1;
      }
      this.#data = data;
    }
    return this.#data.subarray(0, count);
  }
}

/** Waits for the device, and notices its loss, which ends such waits too soon. */
class Watch {
  readonly #runtime: Runtime;
  #lost: string | undefined;
  readonly #loss: Promise<void>;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
    this.#loss = runtime.lost.then(({ message }) => {
      this.#lost = message;
    });
  }

  async idle(context: TaskContext<CostEvent>): Promise<number> {
    const { device } = this.#runtime;
    if (device) await Promise.race([device.queue.onSubmittedWorkDone(), this.#loss]);
    const now = performance.now();
    await breathe(context);
    if (this.#lost !== undefined) throw new FastRpbError("lost", `The GPU device was lost: ${this.#lost}`);
    return now;
  }
}

interface Bench {
  readonly runtime: Runtime;
  readonly device: Watch;
  /** Of all methods at this length. */
  readonly scope: Scope;
  readonly tensors: Tensors;
}

async function measure(
  { runtime, device, scope, tensors }: Bench,
  { method, heads, n }: Size & { readonly method: CostMethod },
  context: TaskContext<CostEvent>,
): Promise<CostPoint> {
  const { q, k, v, weights } = tensors;
  const own = new Scope();
  try {
    const plan = own.hold(await runtime.attention({ heads, length: n, headDim: COST_HEAD_DIM, ...OPTIONS[method] }));
    const bias = method === "fastrpb" ? own.hold(plan.prepare(weights)) : undefined;
    const inputs = { q, k, v, ...(bias && { bias }) };
    const bytes = 4 * 4 * heads * n * COST_HEAD_DIM + (bias ? 4 * heads * (2 * n - 1) + bias.byteLength : 0) + plan.cost.workspaceBytes;

    const once = async () => {
      const start = await device.idle(context).then(() => performance.now());
      const out = await plan.runAsync(inputs, { signal: context.signal, ...(tensors.out && { out: tensors.out }) });
      const milliseconds = performance.now() - start;
      tensors.out ??= scope.hold(out);
      return milliseconds;
    };
    // The first run of all has code to load.
    if (n === SHORTEST) await once();
    let first = await once();
    // It may have waited for the driver's compiler, which matters less the longer it took.
    if (first > SLOW_RUN && first < 4 * SLOW_RUN) first = await once();
    const timed = first > SLOW_RUN ? { times: [first, await once()], runs: 2 } : await repeat(plan, inputs, tensors.out!, first, device, context);
    // Clocks tell no more, and all who show it round from the same number.
    const times = timed.times.map((time) => Number(time.toPrecision(6))).sort((a, b) => a - b);
    const middle = Number(((times[Math.floor((times.length - 1) / 2)]! + times[Math.floor(times.length / 2)]!) / 2).toPrecision(6));
    return { method, n, heads, milliseconds: middle, shortest: times[0]!, longest: times.at(-1)!, runs: timed.runs, bytes };
  } finally {
    own.dispose();
  }
}

async function repeat(
  plan: AttentionPlan,
  inputs: Parameters<AttentionPlan["run"]>[0],
  out: Tensor,
  first: number,
  device: Watch,
  context: TaskContext<CostEvent>,
): Promise<{ readonly times: readonly number[]; readonly runs: number }> {
  let size = Math.max(1, Math.ceil(BATCH / first));
  const times: number[] = [];
  while (times.length < BATCHES) {
    const start = performance.now();
    for (let i = 0; i < size; i++) plan.run(inputs, { out });
    const elapsed = (await device.idle(context)) - start;
    const larger = largerBatch(size, elapsed);
    if (times.length > 0 || larger === size) times.push(elapsed / size);
    else size = larger;
  }
  return { times, runs: BATCHES * size };
}

/** The first run has waited for an answer once, a batch for many: where it was too fast, a larger one. */
export function largerBatch(size: number, elapsed: number): number {
  if (elapsed >= 0.8 * BATCH) return size;
  return Math.min(MOST_RUNS, Math.ceil(size * Math.min(8, (1.1 * BATCH) / elapsed)));
}
