import type { Backend, Bindings, Cost, DispatchInfo, Executable, Step, Storage, TensorData } from "../core/backend.ts";
import { checkAborted, FastRpbError } from "../core/errors.ts";
import type { PlannerLimits } from "../core/limits.ts";
import { loadModule } from "../core/load.ts";
import { createFft, type Fft, type FftOf } from "../math/fft.ts";
import { type CpuComputation, layoutBytes, type Task, type TensorLayouts } from "../operations/operation.ts";
import { CpuStorage } from "./storage.ts";

/**
 * The backend that needs no GPU: every operation in float64, rounded to float32 only in what it stores. `run` is synchronous.
 *
 * @param limits reported as they are: they bound a GPU's planner, and nothing here
 */
export function createCpuBackend(limits: PlannerLimits): Backend<Task> {
  const live = new Set<CpuStorage>();
  const fftOf = createFftCache();
  const upload = (data: TensorData, label: string) => {
    const storage = new CpuStorage(data.byteLength, label, live);
    storage.write(data);
    return storage;
  };
  return {
    kind: "cpu",
    limits,
    device: undefined,
    adapterInfo: undefined,
    lost: new Promise(() => {}),
    isLost: false,

    allocate: (byteLength, label) => new CpuStorage(byteLength, label, live),

    upload,

    write: (storage, data) => (storage as CpuStorage).write(data),

    uploadTransient: upload,

    wrap() {
      throw unavailable("runtime.wrap", "the CPU backend has no GPU buffers; upload the data with runtime.tensor");
    },

    async compile(caller, task) {
      const gradient = task.operation.gradient?.(task.spec);
      // Both: whoever asks for the gradient does not wait for it.
      await Promise.all([loadCpu(caller, task), gradient && loadCpu(caller, gradient)]);
      return new CpuExecutable(task, limits, fftOf);
    },

    compileNow: (_caller, task) => new CpuExecutable(task, limits, fftOf),

    run(steps) {
      for (const step of steps) runStep(step);
    },

    async restore() {},

    async runSliced(caller, steps, { signal, onProgress }) {
      for (const [done, step] of steps.entries()) {
        checkAborted(caller, signal);
        runStep(step);
        onProgress?.(Object.freeze({ done: done + 1, total: steps.length, fraction: (done + 1) / steps.length }));
        await new Promise((resolve) => setTimeout(resolve));
      }
    },

    encode() {
      throw unavailable("plan.encode", "the CPU backend has no command encoder; call plan.run");
    },

    async profile(steps) {
      const start = performance.now();
      const dispatches = steps.map((step) => {
        const stepStart = performance.now();
        const { label } = runStep(step);
        return { label, milliseconds: performance.now() - stepStart };
      });
      return { milliseconds: performance.now() - start, dispatches };
    },

    memory() {
      let liveBytes = 0;
      for (const storage of live) liveBytes += storage.byteLength;
      return { liveBytes, pooledBytes: 0, buffers: live.size };
    },

    dispose() {
      for (const storage of live) storage.release();
    },
  };
}

async function loadCpu(caller: string, { operation, spec }: Task): Promise<void> {
  await loadModule(caller, `${operation.name} on the CPU`, async () => operation.loadCpu?.(spec));
}

class CpuExecutable implements Executable {
  readonly dispatches: readonly DispatchInfo[] = Object.freeze([]);
  readonly cost: Cost;
  readonly bytes: Readonly<Record<string, number>>;
  readonly label: string;
  readonly tensors: TensorLayouts;
  #computation: CpuComputation | undefined;

  constructor({ operation, spec }: Task, limits: PlannerLimits, fftOf: FftOf) {
    const computation = operation.cpu(spec, fftOf);
    this.#computation = computation;
    this.label = operation.name;
    this.tensors = operation.tensors(spec, limits);
    const bytes: Record<string, number> = {};
    let bytesMinimum = 0;
    for (const [name, tensor] of Object.entries(this.tensors)) {
      const own = computation.bytes?.[name];
      bytes[name] = own ?? layoutBytes(tensor);
      // Costs are counted in float32.
      const counted = own === undefined ? bytes[name] : own / 2;
      bytesMinimum += tensor.role === "inout" ? 2 * counted : counted;
    }
    this.bytes = Object.freeze(bytes);
    this.cost = Object.freeze({ dispatches: 0, bytesMoved: bytesMinimum, bytesMinimum, flops: computation.flops, workspaceBytes: 0 });
  }

  get computation(): CpuComputation {
    if (this.#computation === undefined) throw new FastRpbError("disposed", "cpu backend: this plan was disposed.");
    return this.#computation;
  }

  dispose(): void {
    // It holds tables and scratch memory.
    this.#computation = undefined;
  }
}

function runStep({ executable, bindings }: Step): { readonly label: string } {
  if (!(executable instanceof CpuExecutable)) throw new TypeError("cpu backend: a plan of another backend");
  executable.computation.run((name) => {
    const storage = cpuStorage(bindings, name);
    if (executable.tensors[name]?.role !== "input") storage.rewrite();
    return storage;
  });
  return executable;
}

function cpuStorage(bindings: Bindings, name: string): CpuStorage {
  const storage: Storage | undefined = bindings[name];
  if (!(storage instanceof CpuStorage)) throw new TypeError(`cpu backend: binding "${name}" is no memory of this backend`);
  return storage;
}

/** One table for all plans of a length, held by the plans: it goes when the last of them goes. */
function createFftCache(): FftOf {
  const known = new Map<number, WeakRef<Fft>>();
  return (length) => {
    const fft = known.get(length)?.deref() ?? createFft(length);
    known.set(length, new WeakRef(fft));
    return fft;
  };
}

function unavailable(caller: string, why: string): FastRpbError {
  return new FastRpbError("unavailable", `${caller}: ${why}.`);
}
