import type { Storage } from "../core/backend.ts";
import { wholeWords } from "../core/limits.ts";
import type { Program, ProgramBinding } from "../program/program.ts";
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

/** A Program with its pipelines, tables and parameters on a device. */
export class InstalledProgram {
  readonly program: Program;
  readonly #context: DeviceContext;
  readonly #pipelines: readonly Pipeline[];
  readonly #tables = new Map<string, GPUBuffer>();
  readonly #params: GPUBuffer;
  readonly #paramStride: number;
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
    this.#paramStride = context.device.limits.minUniformBufferOffsetAlignment;
    const words = new Uint32Array((this.#paramStride / 4) * Math.max(1, program.dispatches.length));
    program.dispatches.forEach((dispatch, i) => words.set(dispatch.params, (i * this.#paramStride) / 4));
    this.#params = context.pool.acquire(words.byteLength, UNIFORM_USAGE, `${program.label}: params`);
    context.device.queue.writeBuffer(this.#params, 0, words);
  }

  /** Workspace for one run; the caller gives it back after the submit. */
  acquireSlots(): readonly GPUBuffer[] {
    return this.program.slots.map((bytes, i) => this.#context.pool.acquire(bytes, STORAGE_USAGE, `${this.program.label}: workspace ${i}`));
  }

  /** Workspace that stays with the executable, for recordings whose submit is not ours to see. */
  ownSlots(): readonly GPUBuffer[] {
    return (this.#ownSlots ??= this.acquireSlots());
  }

  /** Records dispatch `index` into a pass. */
  record(pass: GPUComputePassEncoder, index: number, bindings: Readonly<Record<string, Storage>>, slots: readonly GPUBuffer[]): void {
    const dispatch = this.program.dispatches[index]!;
    const { pipeline, layout } = this.#pipelines[index]!;
    const bindGroup = this.#context.device.createBindGroup({
      label: dispatch.label,
      layout,
      entries: [
        ...dispatch.bindings.map((binding, i) => ({ binding: i, resource: this.#resource(binding, bindings, slots) })),
        {
          binding: dispatch.bindings.length,
          resource: { buffer: this.#params, offset: index * this.#paramStride, size: 4 * dispatch.params.length },
        },
      ],
    });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(...dispatch.workgroups);
  }

  #resource(binding: ProgramBinding, bindings: Readonly<Record<string, Storage>>, slots: readonly GPUBuffer[]): GPUBufferBinding {
    const { offset, size } = binding;
    const buffer = this.program.buffers.find((entry) => entry.name === binding.buffer)!;
    if (buffer.role === "table") return { buffer: this.#tables.get(buffer.name)!, offset, size };
    if (buffer.role === "workspace") return { buffer: slots[buffer.slot!]!, offset, size };
    const storage = bindings[buffer.name];
    if (!storage?.buffer) throw new TypeError(`${this.program.label}: nothing bound to ${buffer.name}`);
    // An operand that repeats is bound with its own, smaller size.
    return { buffer: storage.buffer, offset: storage.byteOffset + offset, size: Math.min(size, wholeWords(storage.byteLength) - offset) };
  }

  /** Never hands its buffers to others: the device could not make one of them. */
  discard(): void {
    const { pool } = this.#context;
    for (const buffer of [this.#params, ...this.#tables.values(), ...(this.#ownSlots ?? [])]) pool.discard(buffer);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const name of this.#tables.keys()) this.#context.tables.release(name);
    this.#context.pool.release(this.#params);
    for (const slot of this.#ownSlots ?? []) this.#context.pool.release(slot);
  }
}

/** One pipeline for each dispatch, compiled side by side. */
export function compilePipelines(context: DeviceContext, caller: string, program: Program): Promise<readonly Pipeline[]> {
  return Promise.all(program.dispatches.map((dispatch) => context.pipelines.compile(caller, dispatch.kernel)));
}
