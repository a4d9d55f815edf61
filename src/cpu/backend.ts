import { createFft, type Fft } from "../math/fft.ts";
import type { Backend, Bindings, Cost, DispatchInfo, Executable, Step, Storage } from "../core/backend.ts";
import { checkAborted, FastRpbError } from "../core/errors.ts";
import type { PlannerLimits } from "../core/limits.ts";
import type { OperationSpec } from "../operations/specs.ts";
import { CpuStorage } from "./storage.ts";
import { type CpuOperation, type FftOf, OUTPUTS } from "../operations/cpu.ts";
import { attentionGradientOperation } from "../operations/attention/cpu-gradient.ts";
import { attentionOperation } from "../operations/attention/cpu.ts";
import { complexMultiplyOperation } from "../operations/complex-multiply/cpu.ts";
import { convolveOperation, kernelSpectrumOperation } from "../operations/convolve/cpu.ts";
import { fftOperation } from "../operations/fft/cpu.ts";
import { findNonFiniteOperation } from "../operations/find-non-finite/cpu.ts";
import { spectrumOperation } from "../operations/toeplitz/cpu-spectrum.ts";
import { toeplitzGradientOperation } from "../operations/toeplitz/cpu-gradient.ts";
import { toeplitzOperation } from "../operations/toeplitz/cpu.ts";

/**
 * The backend that needs no GPU: every operation in float64, rounded to float32 only in what it stores. `run` is synchronous.
 *
 * @param limits reported as they are: they bound a GPU's planner, and nothing here
 */
export function createCpuBackend(limits: PlannerLimits): Backend {
  const live = new Set<CpuStorage>();
  const fftOf = createFftCache();
  return {
    kind: "cpu",
    limits,
    device: undefined,
    adapterInfo: undefined,
    lost: new Promise(() => {}),
    isLost: false,

    allocate: (byteLength, label) => new CpuStorage(byteLength, label, live),

    upload(data, label) {
      const storage = new CpuStorage(data.byteLength, label, live);
      if (data instanceof Uint32Array) storage.words.set(data);
      else storage.floats.set(data);
      return storage;
    },

    wrap() {
      throw unavailable("runtime.wrap", "the CPU backend has no GPU buffers; upload the data with runtime.tensor");
    },

    async compile(_caller, spec) {
      return new CpuExecutable(createOperation(spec, fftOf));
    },

    async prepare() {},

    compileNow: (_caller, spec) => new CpuExecutable(createOperation(spec, fftOf)),

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

    loadProfiler: () => undefined,

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

class CpuExecutable implements Executable {
  readonly dispatches: readonly DispatchInfo[] = Object.freeze([]);
  readonly cost: Cost;
  readonly bytes: Readonly<Record<string, number>>;
  #operation: CpuOperation | undefined;

  constructor(operation: CpuOperation) {
    const { bytesMinimum, flops } = operation;
    this.#operation = operation;
    this.bytes = Object.freeze({ ...operation.bytes });
    this.cost = Object.freeze({ dispatches: 0, bytesMoved: bytesMinimum, bytesMinimum, flops, workspaceBytes: 0 });
  }

  get operation(): CpuOperation {
    if (this.#operation === undefined) throw new FastRpbError("disposed", "cpu backend: this plan was disposed.");
    return this.#operation;
  }

  dispose(): void {
    // The operation holds tables and scratch memory.
    this.#operation = undefined;
  }
}

function createOperation(spec: OperationSpec, fftOf: FftOf): CpuOperation {
  switch (spec.operation) {
    case "fft":
      return fftOperation(spec, fftOf);
    case "complexMultiply":
      return complexMultiplyOperation(spec);
    case "convolve":
      return convolveOperation(spec, fftOf);
    case "kernelSpectrum":
      return kernelSpectrumOperation(spec, fftOf);
    case "spectrum":
      return spectrumOperation(spec, fftOf);
    case "toeplitz":
      return toeplitzOperation(spec, fftOf);
    case "toeplitzGradient":
      return toeplitzGradientOperation(spec, fftOf);
    case "attention":
      return attentionOperation(spec, fftOf);
    case "findNonFinite":
      return findNonFiniteOperation(spec);
    case "attentionGradient":
      return attentionGradientOperation(spec, fftOf);
  }
}

function runStep(step: Step): CpuOperation {
  if (!(step.executable instanceof CpuExecutable)) throw new TypeError("cpu backend: a plan of another backend");
  const { operation } = step.executable;
  operation.run((name) => {
    const storage = cpuStorage(step.bindings, name);
    if (OUTPUTS.has(name)) storage.rewrite();
    return storage;
  });
  return operation;
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
