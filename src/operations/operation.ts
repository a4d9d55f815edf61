/** What an operation is. Each has a room of its own: spec, plan, gradient and CPU side by side; nothing else switches over kinds of operations. */
import { elementCount } from "../core/check.ts";
import type { PlannerLimits } from "../core/limits.ts";
import { BYTES_PER_ELEMENT, type DType } from "../core/tensor.ts";
import type { FftOf } from "../math/fft.ts";
import { type Handle, ProgramBuilder } from "../program/builder.ts";
import type { Program } from "../program/program.ts";

/** An operation with shapes and choices, validated and frozen: never a device or a buffer. */
export interface OperationSpec {
  /** Of the kind; specs of the same kind have the same keys. */
  readonly operation: string;
}

/** A tensor that an operation reads or writes. */
export interface TensorLayout {
  /** `"inout"`: an output that is an input too. */
  readonly role: "input" | "output" | "inout";
  readonly shape: readonly number[];
  readonly dtype: DType;
}

export type TensorLayouts = Readonly<Record<string, TensorLayout>>;
export type Handles = Readonly<Record<string, Handle>>;

/** Numbers of a tensor on the CPU: float32 as callers see them, float64 within a graph. */
export type Floats = Float32Array | Float64Array;

/** The memory of a tensor as the CPU sees it: numbers, which within a graph are float64, unsigned integers, or, of spectra, float64. */
export interface CpuMemory {
  readonly floats: Floats;
  readonly words: Uint32Array;
  readonly doubles: Float64Array;
}

/** A spec that is ready to run in float64; it holds tables and scratch memory. */
export interface CpuComputation {
  readonly flops: number;
  /** Bytes of tensors whose memory is this backend's own, in float64: of spectra, and of what a graph keeps or gives. */
  readonly bytes?: Readonly<Record<string, number>>;
  run(memoryOf: (name: string) => CpuMemory): void;
}

/** Prepares a spec for running in float64. */
export type CpuFunction<Spec extends OperationSpec> = (spec: Spec, fftOf: FftOf) => CpuComputation;

/** A task in a list of them, and which values its tensors are. */
export interface TaskNode {
  readonly task: Task;
  /** Names of values, by the names of the operation's tensors. */
  readonly values: Readonly<Record<string, string>>;
}

/**
 * How an operation's gradient is computed. Values are named as the tensors of the operation are, those of its results' gradients `d` and the result's
 * name with a capital (`dOut`), and whatever else the nodes write as they like.
 */
export interface Backward {
  readonly nodes: readonly TaskNode[];
  /** The values that are the gradients, by the names of the inputs. One that comes in may be passed on as it is. */
  readonly gradients: Readonly<Record<string, string>>;
}

export interface Operation<Spec extends OperationSpec = OperationSpec> {
  /** For people: in profiles and errors. */
  readonly name: string;
  /** Of the Program: the name and what tells one spec from another. */
  label(spec: Spec): string;
  /** What a spec is of, in words, for errors; left out: the label. */
  describe?(spec: Spec): string;
  /** The tensors by name, in the order of the Program's buffers. Layouts of spectra depend on the limits. */
  tensors(spec: Spec, limits: PlannerLimits): TensorLayouts;
  /**
   * Adds what a GPU has to do.
   *
   * @param tensors handles of what {@link tensors} names
   * @param scratch bytes of temporaries that it may hold at a time
   * @throws FastRpbError code `"limit"`
   */
  plan(program: ProgramBuilder, spec: Spec, tensors: Handles, scratch: number): void;
  /** The same in float64: fallback, and oracle of the tests. To be called after {@link loadCpu}. */
  cpu(spec: Spec, fftOf: FftOf): CpuComputation;
  /** Loads what {@link cpu} calls, so that pages with WebGPU do without it; left out where there is nothing to load. */
  loadCpu?(spec: Spec): Promise<unknown>;
  /** What computes the gradients of a loss from that of the result; `undefined` where there is none. */
  gradient?(spec: Spec): Task | undefined;
  /**
   * The gradient within a graph, of the inputs that are wanted; left out where {@link gradient}, with inputs `q`, `bias`, `dOut` and results `dq`,
   * `dBias`, is all there is to it.
   */
  backward?(spec: Spec, wanted: readonly string[]): Backward;
  /**
   * The task that also does what comes next, if there is one: `next` reads the result `out` as its tensor `tensor`, and nobody else does. `tensors` are
   * further inputs of the task, by the names that these have in the next one.
   */
  absorb?(spec: Spec, next: Task, tensor: string): { readonly task: Task; readonly tensors: Readonly<Record<string, string>> } | undefined;
  /** What computes the tensor `spectrum` from `weights` or `kernel`; `undefined` where the spec has none. */
  preparation?(spec: Spec): Task | undefined;
  /** What the best {@link Choices} depend on; left out: all but batch and heads. */
  tuned?(spec: Spec): object;
}

/** An operation with a spec of its own: what backends compile. */
export interface Task {
  readonly operation: Operation;
  readonly spec: OperationSpec;
}

/** {@link Operation.cpu} in a module of its own, which is loaded once. */
export function cpuOnDemand<Spec extends OperationSpec>(load: () => Promise<CpuFunction<Spec>>): Pick<Operation<Spec>, "cpu" | "loadCpu"> {
  let loaded: CpuFunction<Spec> | undefined;
  return {
    cpu: (spec, fftOf) => loaded!(spec, fftOf),
    async loadCpu() {
      loaded ??= await load();
    },
  };
}

export function task<Spec extends OperationSpec>(operation: Operation<Spec>, spec: Spec): Task {
  return Object.freeze({ operation, spec });
}

/** Layout of float32 numbers, where nothing else is said. */
export function layout(role: TensorLayout["role"], shape: readonly number[], dtype: TensorLayout["dtype"] = "f32"): TensorLayout {
  return Object.freeze({ role, shape, dtype });
}

export function layoutBytes({ shape, dtype }: TensorLayout): number {
  return elementCount(shape) * BYTES_PER_ELEMENT[dtype];
}

/**
 * Task and limits to a Program. Pure: the same arguments give the same program, and no device is involved.
 *
 * @param caller the public function to name in errors
 * @throws FastRpbError code `"limit"` where the limits are too small for the spec
 */
export function planProgram(caller: string, { operation, spec }: Task, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, operation.label(spec), limits);
  const tensors = Object.entries(operation.tensors(spec, limits)).map(
    ([name, tensor]) => [name, program.tensor(name, tensor.role, layoutBytes(tensor))] as const,
  );
  operation.plan(program, spec, Object.fromEntries(tensors), limits.workspaceBytes);
  return program.finish();
}
