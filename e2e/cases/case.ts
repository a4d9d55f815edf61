/**
 * GPU test cases, independent of where they run: the same list in Chromium (e2e/*.spec.ts), in Node with Dawn (e2e/dawn), and in
 * whatever engine comes next. A case throws where something is wrong.
 */
import { DEFAULT_LIMITS, isAlignment, LIMIT_NAMES } from "../../src/core/limits.ts";
import { createRuntime, type DType, FastRpbError, type FastRpbErrorCode, type Runtime, type RuntimeOptions, type Tensor } from "../../src/index.ts";
import { normals, relativeL2 } from "../../src/testing/random.ts";

/** Where cases run: Dawn in Chromium, Dawn in Node, wgpu in Firefox. */
export type Engine = "chromium" | "node" | "firefox";

export interface Case {
  readonly name: string;
  /** Takes minutes on Dawn with a software GPU: not in Node. */
  readonly slow?: boolean;
  /** In the sample: what CI runs in Node. Firefox runs what is quick there. */
  readonly sample?: boolean;
  /** What an engine prints all the same, though nothing is amiss: console messages that match. */
  readonly printed?: Readonly<Partial<Record<Engine, RegExp>>>;
  /** Why an engine cannot run it. */
  readonly skip?: Readonly<Partial<Record<Engine, string>>>;
  readonly run: (context: CaseContext) => Promise<void>;
}

export interface Suite {
  readonly name: string;
  /** All its cases are in the sample: it is about the runtime rather than its kernels. */
  readonly sample?: boolean;
  /** Why it makes no difference which engine runs it: `npm run test:dawn` has the whole suite, others the sample, and with `FULL=1` all. */
  readonly engineFree?: string;
  readonly cases: readonly Case[];
}

export type DeviceLimits = Pick<RuntimeOptions, "limits" | "workspaceBytes">;

/** What the cases of one engine share: a WebGPU runtime, and the float64 CPU backend to compare with. */
export class CaseContext {
  readonly gpu: GPU;
  /** What all runtimes of the cases may use at most, unless a case asks for less. */
  readonly limits: DeviceLimits;
  #runtime: Promise<Runtime> | undefined;
  #guaranteed: Promise<Runtime> | undefined;
  #cpu: Promise<Runtime> | undefined;

  constructor(gpu: GPU, limits: DeviceLimits = {}) {
    this.gpu = gpu;
    this.limits = limits;
  }

  /** The shared runtime; cases leave it as they found it. */
  get runtime(): Promise<Runtime> {
    return (this.#runtime ??= this.open());
  }

  /** Another shared runtime, with the limits that every device has: for cases about one way to plan, where more would plan another. */
  get guaranteed(): Promise<Runtime> {
    return (this.#guaranteed ??= this.open({ limits: { ...DEFAULT_LIMITS, ...this.limits.limits } }));
  }

  /** Whether runtimes have less than every device has. Cases about one way to plan hold for their results alone there. */
  get lowered(): boolean {
    const { limits = {}, workspaceBytes } = this.limits;
    const isLower = (name: (typeof LIMIT_NAMES)[number]) => {
      const cap = limits[name] ?? DEFAULT_LIMITS[name];
      return isAlignment(name) ? cap > DEFAULT_LIMITS[name] : cap < DEFAULT_LIMITS[name];
    };
    return workspaceBytes !== undefined || LIMIT_NAMES.some(isLower);
  }

  /** Checks how many dispatches a plan of a runtime with guaranteed limits, or more, has. */
  checkDispatches(plan: { readonly cost: { readonly dispatches: number } }, expected: number | undefined, what: string): void {
    const { dispatches } = plan.cost;
    check(expected === undefined || this.lowered || dispatches === expected, `${what}: ${dispatches} dispatches, ${expected} expected`);
  }

  /** Disposes of the shared runtimes. */
  async dispose(): Promise<void> {
    for (const runtime of [this.#runtime, this.#guaranteed]) (await runtime)?.dispose();
  }

  get cpu(): Promise<Runtime> {
    return (this.#cpu ??= createRuntime({ backend: "cpu" }));
  }

  /** A runtime of the case's own, on a device of its own unless it borrows one. */
  open(options: RuntimeOptions = {}): Promise<Runtime> {
    const { limits, ...rest } = this.limits;
    return createRuntime({ backend: "webgpu", gpu: this.gpu, ...rest, ...options, limits: { ...limits, ...options.limits } });
  }
}

export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** Checks ‖actual − expected‖ / ‖expected‖ and that every element was written (outputs start as NaN). */
export function checkClose(actual: ArrayLike<number>, expected: ArrayLike<number>, bound: number, what: string): void {
  check(actual.length === expected.length, `${what}: ${actual.length} values instead of ${expected.length}`);
  const error = relativeL2(actual, expected);
  // NaN fails too.
  check(error <= bound, `${what}: relative error ${error} exceeds ${bound}`);
}

/** The error code of what `action` throws or rejects with, and a message that names what it should. */
export async function checkRefused(action: () => unknown, code: FastRpbErrorCode, ...mentions: readonly string[]): Promise<void> {
  let error: unknown;
  try {
    await action();
  } catch (caught) {
    error = caught;
  }
  check(error !== undefined, `expected a refusal with code "${code}" (${mentions.join(", ")}), got none`);
  if (!(error instanceof FastRpbError)) throw error;
  check(error.code === code, `expected code "${code}", got "${error.code}": ${error.message}`);
  for (const mention of mentions) check(error.message.includes(mention), `"${error.message}" does not mention "${mention}"`);
}

const HALF_NAN = 0x7e00;

/** A tensor full of NaN, to see that a run writes every element. */
export function unwritten(runtime: Runtime, shape: readonly number[], dtype: DType = "f32"): Tensor {
  const numbers = shape.reduce((product, size) => product * size, dtype === "complex64" ? 2 : 1);
  if (dtype === "f16") return runtime.tensor(new Uint16Array(numbers).fill(HALF_NAN), shape, dtype);
  if (dtype === "u32") return runtime.tensor(new Uint32Array(numbers).fill(0xdeadbeef), shape, dtype);
  return runtime.tensor(new Float32Array(numbers).fill(NaN), shape, dtype);
}

/** Makes tensors and plans of one case, and disposes of all at its end. */
export class Scope {
  readonly runtime: Runtime;
  readonly #held: { dispose(): void }[] = [];

  constructor(runtime: Runtime) {
    this.runtime = runtime;
  }

  keep<T extends { dispose(): void }>(held: T): T {
    this.#held.push(held);
    return held;
  }

  tensor(data: Float32Array, shape: readonly number[], dtype?: Exclude<DType, "f16" | "u32">): Tensor {
    return this.keep(this.runtime.tensor(data, shape, dtype));
  }

  unwritten(shape: readonly number[], dtype?: DType): Tensor {
    return this.keep(unwritten(this.runtime, shape, dtype));
  }

  dispose(): void {
    for (const held of this.#held.reverse()) held.dispose();
  }
}

/** Whether an error says that a shape does not fit a device; not, that memory is used up. */
export function isRefusedByLimits(error: unknown): error is FastRpbError {
  return error instanceof FastRpbError && error.code === "limit" && !/out of memory|main memory/.test(error.message);
}

/** Runs all at once: pipelines compile side by side, on all cores. Waits for every one before it throws; a failure goes before a refusal. */
export async function together<T>(items: readonly T[], run: (item: T, index: number) => Promise<void>): Promise<void> {
  const results = await Promise.allSettled(items.map(run));
  const rejected = results.filter((result) => result.status === "rejected");
  const worst = rejected.find(({ reason }) => !isRefusedByLimits(reason)) ?? rejected[0];
  if (worst) throw worst.reason;
}

/** What a promise came to, or "unsettled" after a time. */
export async function outcome<T>(promise: Promise<T>, milliseconds: number): Promise<{ value: T } | { error: unknown } | "unsettled"> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<"unsettled">((resolve) => {
    timer = setTimeout(() => resolve("unsettled"), milliseconds);
  });
  try {
    return await Promise.race([
      promise.then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      ),
      late,
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `body` with a scope that is disposed of afterwards. */
export async function scoped<T>(runtime: Runtime, body: (scope: Scope) => Promise<T>): Promise<T> {
  const scope = new Scope(runtime);
  try {
    return await body(scope);
  } finally {
    scope.dispose();
  }
}

export { normals, relativeL2 };
