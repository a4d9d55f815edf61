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

/** What one binding of a dispatch is: a buffer of the program's own, a slot of workspace, or a tensor. */
type Resource =
  | { readonly kind: "own"; readonly binding: GPUBufferBinding }
  | { readonly kind: "slot"; readonly slot: number; readonly offset: number; readonly size: number }
  | { readonly kind: "tensor"; readonly tensor: number; readonly offset: number; readonly size: number };

/** Bind groups for tensors and slots that a run had, made as dispatches need them. */
interface BoundSet {
  readonly tensors: readonly Storage[];
  readonly slots: readonly GPUBuffer[];
  readonly groups: (GPUBindGroup | undefined)[];
}

/** Records a dispatch into a pass. */
export type Recorder = (pass: GPUComputePassEncoder, index: number) => void;

/** Runs alternate between a few sets of tensors; more sets would only hold on to memory. */
const MOST_SETS = 4;
/** Bind groups that are kept in all: programs of very many dispatches are not bound by the time of the host. */
const MOST_GROUPS = 1024;

/** A Program with its pipelines, tables and parameters on a device. */
export class InstalledProgram {
  readonly program: Program;
  readonly #context: DeviceContext;
  readonly #pipelines: readonly Pipeline[];
  readonly #tables = new Map<string, GPUBuffer>();
  readonly #params: GPUBuffer;
  /** Names of the tensors, in the order of {@link BoundSet}. */
  readonly #tensors: readonly string[];
  readonly #resources: readonly (readonly Resource[])[];
  /** The most recent first. */
  #sets: BoundSet[] = [];
  #ownSlots: readonly GPUBuffer[] | undefined;
  #disposed = false;

  /** @throws FastRpbError code `"unavailable"` where a kernel does not compile */
  static async compile(context: DeviceContext, caller: string, program: Program): Promise<InstalledProgram> {
    return new InstalledProgram(context, program, await compilePipelines(context, caller, program));
  }

  static compileNow(context: DeviceContext, program: Program): InstalledProgram {
    return new InstalledProgram(
      context,
      program,
      program.dispatches.map((dispatch) => context.pipelines.compileNow(dispatch.kernel)),
    );
  }

  /** Uploads tables and parameters; inside an error scope, where memory may be short. */
  constructor(context: DeviceContext, program: Program, pipelines: readonly Pipeline[]) {
    this.#context = context;
    this.program = program;
    this.#pipelines = pipelines;
    for (const buffer of program.buffers) {
      if (buffer.role === "table") this.#tables.set(buffer.name, context.tables.acquire(buffer.name, buffer.parts!));
    }
    const stride = context.device.limits.minUniformBufferOffsetAlignment;
    const words = new Uint32Array((stride / 4) * Math.max(1, program.dispatches.length));
    program.dispatches.forEach((dispatch, i) => words.set(dispatch.params, (i * stride) / 4));
    this.#params = context.pool.acquire(words.byteLength, UNIFORM_USAGE, `${program.label}: params`);
    context.device.queue.writeBuffer(this.#params, 0, words);
    const buffers = new Map(program.buffers.map((buffer) => [buffer.name, buffer]));
    this.#tensors = program.buffers.filter(({ role }) => role !== "table" && role !== "workspace").map(({ name }) => name);
    this.#resources = program.dispatches.map(({ bindings, params }, index): readonly Resource[] => [
      ...bindings.map((binding) => this.#resource(binding, buffers.get(binding.buffer)!)),
      { kind: "own", binding: { buffer: this.#params, offset: index * stride, size: 4 * params.length } },
    ]);
  }

  #resource({ offset, size }: ProgramBinding, { name, role, slot }: ProgramBuffer): Resource {
    if (role === "table") return { kind: "own", binding: { buffer: this.#tables.get(name)!, offset, size } };
    if (role === "workspace") return { kind: "slot", slot: slot!, offset, size };
    return { kind: "tensor", tensor: this.#tensors.indexOf(name), offset, size };
  }

  /** Workspace for one run; the caller gives it back after the submit. */
  acquireSlots(): readonly GPUBuffer[] {
    return this.program.slots.map((bytes, i) => this.#context.pool.acquire(bytes, STORAGE_USAGE, `${this.program.label}: workspace ${i}`));
  }

  /** Workspace that stays with the executable, for recordings whose submit is not ours to see. */
  ownSlots(): readonly GPUBuffer[] {
    return (this.#ownSlots ??= this.acquireSlots());
  }

  /** What records the dispatches of a run. Its bind groups are kept for the next run with the same tensors and workspace. */
  recorder(bindings: Readonly<Record<string, Storage>>, slots: readonly GPUBuffer[]): Recorder {
    const { groups, tensors } = this.#bound(bindings, slots);
    return (pass, index) => {
      const { pipeline, layout } = this.#pipelines[index]!;
      const { label, workgroups } = this.program.dispatches[index]!;
      groups[index] ??= this.#context.device.createBindGroup({
        label,
        layout,
        entries: this.#resources[index]!.map((resource, binding) => ({ binding, resource: bufferBinding(resource, tensors, slots) })),
      });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, groups[index]);
      pass.dispatchWorkgroups(...workgroups);
    };
  }

  #bound(bindings: Readonly<Record<string, Storage>>, slots: readonly GPUBuffer[]): BoundSet {
    const tensors = this.#tensors.map((name) => {
      const storage = bindings[name];
      if (!storage?.buffer) throw new TypeError(`${this.program.label}: nothing bound to ${name}`);
      return storage;
    });
    const known = this.#sets.find(
      (set) => set.slots.every((slot, i) => slot === slots[i]) && set.tensors.every((old, i) => sameRange(old, tensors[i]!)),
    );
    const set = known ?? { tensors, slots, groups: [] };
    if (this.#sets[0] === set) return set;
    const most = Math.min(MOST_SETS, Math.floor(MOST_GROUPS / this.program.dispatches.length));
    this.#sets = [set, ...this.#sets.filter((other) => other !== set)].slice(0, most);
    return set;
  }

  /** Never hands its buffers to others: the device could not make one of them. */
  discard(): void {
    const { pool } = this.#context;
    for (const buffer of [this.#params, ...this.#tables.values(), ...(this.#ownSlots ?? [])]) pool.discard(buffer);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#sets = [];
    for (const name of this.#tables.keys()) this.#context.tables.release(name);
    this.#context.pool.release(this.#params);
    for (const slot of this.#ownSlots ?? []) this.#context.pool.release(slot);
  }
}

/** One pipeline for each dispatch, compiled side by side. */
export function compilePipelines(context: DeviceContext, caller: string, program: Program): Promise<readonly Pipeline[]> {
  return Promise.all(program.dispatches.map((dispatch) => context.pipelines.compile(caller, dispatch.kernel)));
}

function sameRange(a: Storage, b: Storage): boolean {
  return a === b || (a.buffer === b.buffer && a.byteOffset === b.byteOffset && a.byteLength === b.byteLength);
}

function bufferBinding(resource: Resource, tensors: readonly Storage[], slots: readonly GPUBuffer[]): GPUBufferBinding {
  if (resource.kind === "own") return resource.binding;
  const { offset, size } = resource;
  if (resource.kind === "slot") return { buffer: slots[resource.slot]!, offset, size };
  const { buffer, byteOffset, byteLength } = tensors[resource.tensor]!;
  // An operand that repeats is bound with its own, smaller size.
  return { buffer: buffer!, offset: byteOffset + offset, size: Math.min(size, wholeWords(byteLength) - offset) };
}
