import type { Storage } from "../core/backend.ts";
import { wholeWords } from "../core/limits.ts";
import type { Program, ProgramBinding, ProgramBuffer } from "../program/program.ts";
import type { BufferPool } from "./pool.ts";
import type { Pipeline, PipelineCache } from "./pipelines.ts";
import type { TableCache } from "./tables.ts";
import { STORAGE_USAGE, UNIFORM_USAGE } from "./usage.ts";

/** What the programs of one device share. */
export interface DeviceContext {
  readonly device: GPUDevice;
  readonly pool: BufferPool;
  readonly pipelines: PipelineCache;
  readonly tables: TableCache;
}

/** A tensor of a program. */
export interface ProgramTensor {
  readonly name: string;
  readonly bytes: number;
  readonly isRead: boolean;
  readonly isWritten: boolean;
}

/** What one binding of a dispatch is in a run: a buffer of the program's own, a slot of workspace, or a tensor. */
type Resource = (bound: BoundProgram) => GPUBufferBinding;

/** What all runs of a program have in common. */
interface Recipe {
  readonly device: GPUDevice;
  readonly program: Program;
  readonly pipelines: readonly Pipeline[];
  /** Of each dispatch. */
  readonly resources: readonly (readonly Resource[])[];
}

/** A program with tensors and workspace that a run had: its bind groups, made as dispatches need them, are kept for the next such run. */
export class BoundProgram {
  readonly tensors: readonly Storage[];
  readonly slots: readonly GPUBuffer[];
  /** Whether the device has run all of it, and found nothing to refuse. */
  accepted = false;
  readonly #recipe: Recipe;
  readonly #groups: (GPUBindGroup | undefined)[] = [];
  /** What {@link isOurs} was last decided by. */
  #lendings = -1;
  #isOurs = false;

  /** @param tensors in the order that the resources count by */
  constructor(recipe: Recipe, tensors: readonly Storage[], slots: readonly GPUBuffer[]) {
    this.#recipe = recipe;
    this.tensors = tensors;
    this.slots = slots;
  }

  /** Whether nobody but us can have destroyed one of its buffers. */
  isOurs(pool: BufferPool): boolean {
    if (this.#lendings !== pool.lendings) {
      this.#lendings = pool.lendings;
      this.#isOurs = !this.tensors.some(({ buffer }) => pool.isLent(buffer!)) && !this.slots.some((slot) => pool.isLent(slot));
    }
    return this.#isOurs;
  }

  record(pass: GPUComputePassEncoder, index: number): void {
    pass.setPipeline(this.#recipe.pipelines[index]!.pipeline);
    this.#dispatch(pass, index);
  }

  /** Every dispatch, in order. */
  recordAll(pass: GPUComputePassEncoder): void {
    const { pipelines } = this.#recipe;
    for (let index = 0; index < pipelines.length; index++) {
      // A dispatch that was cut is many with one pipeline.
      if (pipelines[index] === pipelines[index - 1]) this.#dispatch(pass, index);
      else this.record(pass, index);
    }
  }

  #dispatch(pass: GPUComputePassEncoder, index: number): void {
    const [x, y, z] = this.#recipe.program.dispatches[index]!.workgroups;
    pass.setBindGroup(0, (this.#groups[index] ??= this.#group(index)));
    pass.dispatchWorkgroups(x, y, z);
  }

  #group(index: number): GPUBindGroup {
    const { device, program, pipelines, resources } = this.#recipe;
    return device.createBindGroup({
      label: program.dispatches[index]!.label,
      layout: pipelines[index]!.layout,
      entries: resources[index]!.map((resource, binding) => ({ binding, resource: resource(this) })),
    });
  }
}

/** Runs alternate between a few sets of tensors; more sets would only hold on to memory. */
const MOST_SETS = 4;
/** Bind groups that are kept in all: programs of very many dispatches are not bound by the time of the host. */
const MOST_GROUPS = 1024;

/** A Program with its pipelines, tables and parameters on a device. */
export class InstalledProgram {
  readonly program: Program;
  readonly #context: DeviceContext;
  /** In the order of {@link BoundProgram.tensors}. */
  readonly tensors: readonly ProgramTensor[];
  readonly #tables = new Map<string, GPUBuffer>();
  readonly #params: GPUBuffer;
  readonly #slotLabels: readonly string[];
  readonly #recipe: Recipe;
  /** The most recent first. */
  #bound: BoundProgram[] = [];
  #ownSlots: readonly GPUBuffer[] | undefined;
  #disposed = false;

  /** Uploads tables and parameters; inside an error scope, where memory may be short. */
  constructor(context: DeviceContext, program: Program, pipelines: readonly Pipeline[]) {
    this.#context = context;
    this.program = program;
    for (const buffer of program.buffers) {
      if (buffer.role === "table") this.#tables.set(buffer.name, context.tables.acquire(buffer.name, buffer.parts!));
    }
    const stride = context.device.limits.minUniformBufferOffsetAlignment;
    const words = new Uint32Array((stride / 4) * Math.max(1, program.dispatches.length));
    program.dispatches.forEach((dispatch, i) => words.set(dispatch.params, (i * stride) / 4));
    this.#params = context.pool.acquire(words.byteLength, UNIFORM_USAGE, `${program.label}: params`);
    context.device.queue.writeBuffer(this.#params, 0, words);
    const buffers = new Map(program.buffers.map((buffer) => [buffer.name, buffer]));
    this.tensors = program.buffers
      .filter(({ role }) => role !== "table" && role !== "workspace")
      .map(({ name, role, bytes }) => ({ name, bytes, isRead: role !== "output", isWritten: role !== "input" }));
    this.#slotLabels = program.slots.map((_, i) => `${program.label}: workspace ${i}`);
    const resources = program.dispatches.map(({ bindings, params }, index): readonly Resource[] => [
      ...bindings.map((binding) => this.#resource(binding, buffers.get(binding.buffer)!)),
      () => ({ buffer: this.#params, offset: index * stride, size: 4 * params.length }),
    ]);
    this.#recipe = { device: context.device, program, pipelines, resources };
  }

  #resource({ offset, size }: ProgramBinding, { name, role, slot }: ProgramBuffer): Resource {
    if (role === "table") return () => ({ buffer: this.#tables.get(name)!, offset, size });
    if (role === "workspace") return ({ slots }) => ({ buffer: slots[slot!]!, offset, size });
    const index = this.tensors.findIndex((tensor) => tensor.name === name);
    return ({ tensors }) => {
      const { buffer, byteOffset, byteLength } = tensors[index]!;
      // An operand that repeats is bound with its own, smaller size.
      return { buffer: buffer!, offset: byteOffset + offset, size: Math.min(size, wholeWords(byteLength) - offset) };
    };
  }

  /**
   * Workspace for one run; the caller gives it back after the submit.
   *
   * @param only buffers that are there; then `undefined` where the device would have to make one
   */
  acquireSlots(): readonly GPUBuffer[];
  acquireSlots(only: "idle" | undefined): readonly GPUBuffer[] | undefined;
  acquireSlots(only?: "idle"): readonly GPUBuffer[] | undefined {
    const { pool } = this.#context;
    const { slots } = this.program;
    const taken: GPUBuffer[] = [];
    for (let i = 0; i < slots.length; i++) {
      const bytes = slots[i]!;
      const label = this.#slotLabels[i]!;
      const slot = only ? pool.take(bytes, STORAGE_USAGE, label) : pool.acquire(bytes, STORAGE_USAGE, label);
      if (!slot) {
        pool.releaseAll(taken);
        return undefined;
      }
      taken.push(slot);
    }
    return taken;
  }

  /** Workspace that stays with the executable, for recordings whose submit is not ours to see. */
  ownSlots(): readonly GPUBuffer[] {
    return (this.#ownSlots ??= this.acquireSlots());
  }

  /** The program with what a run binds; the same again for the next run with the same tensors and workspace. */
  bind(bindings: Readonly<Record<string, Storage>>, slots: readonly GPUBuffer[]): BoundProgram {
    const all = this.#bound;
    for (let i = 0; i < all.length; i++) {
      const known = all[i]!;
      if (!this.#isBoundTo(known, bindings, slots)) continue;
      if (i > 0) all.unshift(...all.splice(i, 1));
      return known;
    }
    const tensors = this.tensors.map(({ name }) => {
      const storage = bindings[name];
      if (!storage?.buffer) throw new TypeError(`${this.program.label}: nothing bound to ${name}`);
      return storage;
    });
    const bound = new BoundProgram(this.#recipe, tensors, slots);
    const most = Math.min(MOST_SETS, Math.floor(MOST_GROUPS / this.program.dispatches.length));
    this.#bound = [bound, ...all].slice(0, most);
    return bound;
  }

  #isBoundTo(bound: BoundProgram, bindings: Readonly<Record<string, Storage>>, slots: readonly GPUBuffer[]): boolean {
    for (let i = 0; i < slots.length; i++) if (bound.slots[i] !== slots[i]) return false;
    for (let i = 0; i < this.tensors.length; i++) {
      const storage = bindings[this.tensors[i]!.name];
      if (!storage || !sameRange(bound.tensors[i]!, storage)) return false;
    }
    return true;
  }

  /** Never hands its buffers to others: the device could not make one of them. */
  discard(): void {
    const { pool } = this.#context;
    for (const buffer of [this.#params, ...this.#tables.values(), ...(this.#ownSlots ?? [])]) pool.discard(buffer);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#bound = [];
    for (const name of this.#tables.keys()) this.#context.tables.release(name);
    this.#context.pool.release(this.#params);
    for (const slot of this.#ownSlots ?? []) this.#context.pool.release(slot);
  }
}

/** One pipeline for each dispatch, compiled side by side. @throws FastRpbError code `"unavailable"` where a kernel does not compile */
export function compilePipelines(context: DeviceContext, caller: string, program: Program): Promise<readonly Pipeline[]> {
  return Promise.all(program.dispatches.map((dispatch) => context.pipelines.compile(caller, dispatch.kernel)));
}

function sameRange(a: Storage, b: Storage): boolean {
  return a === b || (a.buffer === b.buffer && a.byteOffset === b.byteOffset && a.byteLength === b.byteLength);
}
