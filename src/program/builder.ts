/** Puts a Program together: planners ask it for scratch and tables, and add dispatches. */
import { ELEMENT_BYTES, type Kernel } from "../../shaders/wgsl/kernel.ts";
import { wholeWords, type PlannerLimits } from "../core/limits.ts";
import { dispatchesFor, dispatchesForMost, estimatedSeconds } from "./duration.ts";
import { assignSlots } from "./memory.ts";
import type { BufferRole, Program, ProgramBinding, ProgramBuffer, ProgramDispatch } from "./program.ts";
import { type BoundedLimit, limitError, type Slice } from "./ranges.ts";
import { type TablePart, tableBytes } from "./tables.ts";
import { FLOAT_BYTES, sum } from "./units.ts";
import { foldWorkgroups, gridCapacity } from "./workgroups.ts";

/** How often the bytes of a buffer have to move at least, by its role. */
const LEAST_MOVES: Readonly<Record<BufferRole, number>> = { input: 1, output: 1, inout: 2, workspace: 0, table: 0 };

/** A buffer of a program in the making, which planners hand to one another. It belongs to the builder that made it. */
export type Handle = Pick<ProgramBuffer, "name" | "role" | "bytes">;

/** Several buffers of a program in the making, by name. */
export type NamedHandles<Name extends string> = Readonly<Record<Name, Handle>>;

/** What one dispatch does with one binding. */
export interface BindingUse {
  readonly buffer: Handle;
  /** Range that is bound; the whole buffer when left out. */
  readonly slice?: Slice | undefined;
  /**
   * Byte at which the range starts in what the kernel indexes, which subtracts it: the parameter `<binding>Base`, in elements. The offset of the
   * slice when left out.
   */
  readonly start?: number;
  /** Bytes that all workgroups read, in all. */
  readonly reads?: number;
  /** Bytes that all workgroups write, in all. */
  readonly writes?: number;
}

/**
 * How many workgroups some work needs: `groups`, or as many as have a lane for each of its `elements`, of which there are then `count`, a
 * parameter. They are folded over the grid, by several dispatches where one would take long or its grid is too small.
 */
export type Extent = { readonly groups: number; readonly elements?: undefined } | { readonly groups?: undefined; readonly elements: number };

/** Work for {@link ProgramBuilder.dispatch}. */
export type DispatchRequest = Extent & {
  readonly kernel: Kernel;
  /** Parameters by name, besides those of the workgroups, the bases of bindings and `count`. */
  readonly params?: Readonly<Record<string, number>>;
  /** Uses by the name of the binding. Those that the kernel does not bind do not count. */
  readonly uses: Readonly<Record<string, BindingUse | undefined>>;
  /** Operations on float32 numbers. */
  readonly flops: number;
  /** What they may come to for some data, where that is far more: the work is cut by it, too. */
  readonly mostFlops?: number;
};

/** What the dispatches that share the work of a request have in common. */
interface WholeWork {
  readonly kernel: Kernel;
  readonly params: Readonly<Record<string, number>>;
  readonly bindings: readonly ProgramBinding[];
  readonly groups: number;
  readonly flops: number;
}

/**
 * Collects the buffers and dispatches of one Program. Planners take it with a spec, the handles of what they read and write, and the number of
 * bytes of scratch that they may hold at a time; so the plans of several operations can stand in one Program one after the other.
 */
export class ProgramBuilder {
  readonly limits: PlannerLimits;
  /** The public function that errors name. */
  readonly caller: string;
  readonly #label: string;
  readonly #buffers = new Map<string, ProgramBuffer>();
  readonly #parts = new Map<Handle, { readonly whole: Handle; readonly offset: number }>();
  readonly #dispatches: ProgramDispatch[] = [];
  #scratchBytes = 0;
  #isLong = false;

  constructor(caller: string, label: string, limits: PlannerLimits) {
    this.caller = caller;
    this.#label = label;
    this.limits = limits;
  }

  /** A tensor that is bound when the program runs, under this name. */
  tensor(name: string, role: "input" | "output" | "inout", bytes: number): Handle {
    if (this.#buffers.has(name)) throw new TypeError(`${this.#label}: two tensors of the name ${name}`);
    return this.#add({ name, role, bytes });
  }

  /** A range of a buffer, as a buffer of its own: what binds it binds that range. Offsets are whole multiples of the devices' alignment. */
  part(name: string, whole: Handle, offset: number, bytes: number): Handle {
    if (offset % this.limits.minStorageBufferOffsetAlignment !== 0 || offset + bytes > whole.bytes)
      throw new TypeError(`${this.#label}: ${name} is no range of ${whole.name}`);
    const part = Object.freeze({ name, role: whole.role, bytes });
    this.#parts.set(part, { whole, offset });
    return part;
  }

  /** Scratch memory. It is held from the first dispatch that uses it to the last, and shared with other scratch before and after. */
  temporary(name: string, bytes: number): Handle {
    let unique = name;
    for (let i = 2; this.#buffers.has(unique); i++) unique = `${name} ${i}`;
    this.#scratchBytes += bytes;
    return this.#add({ name: unique, role: "workspace", bytes });
  }

  /** Tells how much is left of so many bytes of scratch, with all temporaries that come after this call still held. */
  scratchLeft(bytes: number): () => number {
    const end = this.#scratchBytes + bytes;
    return () => end - this.#scratchBytes;
  }

  /** A constant table; equal tables are one buffer. */
  table(parts: readonly TablePart[]): Handle {
    const name = `table ${JSON.stringify(parts)}`;
    return this.#buffers.get(name) ?? this.#add({ name, role: "table", bytes: tableBytes(parts), parts: Object.freeze([...parts]) });
  }

  /** Adds the dispatches that do the work of a kernel. @throws FastRpbError code `"limit"` where the device is too small for it */
  dispatch(request: DispatchRequest): void {
    const { kernel, flops, mostFlops = 0 } = request;
    const lanes = kernel.workgroupSize[0];
    this.#need("maxComputeInvocationsPerWorkgroup", lanes, `a workgroup of "${kernel.label}"`, "lanes");
    this.#need("maxStorageBuffersPerShaderStage", kernel.bindings.length, `"${kernel.label}"`, "storage buffers");
    const params: Record<string, number> = {};
    const bindings = kernel.bindings.map(({ name, element }): ProgramBinding => {
      const use = request.uses[name];
      if (!use) throw new TypeError(`${kernel.label}: nothing bound to ${name}`);
      const { buffer, slice = { offset: 0, size: wholeWords(buffer.bytes) } } = use;
      const { whole, offset } = this.#parts.get(buffer) ?? { whole: buffer, offset: 0 };
      if (this.#buffers.get(whole.name) !== whole) throw new TypeError(`${kernel.label}: ${buffer.name} is of another program`);
      this.#need("maxStorageBufferBindingSize", slice.size, `${buffer.name} in "${kernel.label}"`);
      params[`${name}Base`] = (use.start ?? slice.offset) / ELEMENT_BYTES[element];
      return Object.freeze({
        name,
        buffer: whole.name,
        offset: offset + slice.offset,
        size: slice.size,
        // A table is shared by all workgroups and served from cache: it counts once.
        bytesRead: buffer.role === "table" ? slice.size : (use.reads ?? 0),
        bytesWritten: use.writes ?? 0,
      });
    });
    if (request.elements !== undefined) params["count"] = request.elements;
    Object.assign(params, request.params);
    const groups = request.groups ?? Math.ceil(request.elements / lanes);
    const bytes = sum(bindings, (b) => b.bytesRead + b.bytesWritten);
    const { speed, maxComputeWorkgroupsPerDimension } = this.limits;
    const forTime = Math.max(
      dispatchesFor(this.caller, kernel.label, { kernel: kernel.id, flops, bytes, groups }, speed),
      dispatchesForMost(mostFlops, groups, speed),
    );
    if (forTime > 1) this.#isLong = true;
    const shares = Math.max(forTime, Math.ceil(groups / gridCapacity(maxComputeWorkgroupsPerDimension)));
    for (let share = 0; share < shares; share++) this.#addShare({ kernel, params, bindings, groups, flops }, share, shares);
  }

  /** How many dispatches there are so far. */
  get dispatchCount(): number {
    return this.#dispatches.length;
  }

  /** Adds the dispatches from `first` to before `end` once more, as they are. */
  repeat(first: number, end: number): void {
    this.#dispatches.push(...this.#dispatches.slice(first, end));
  }

  /** Adds the workgroups of one of several dispatches that share the work. */
  #addShare({ kernel, params, bindings: all, groups, flops }: WholeWork, share: number, shares: number): void {
    const [first, end] = [Math.floor((groups * share) / shares), Math.floor((groups * (share + 1)) / shares)];
    const bindings = shares === 1 ? all : all.map((binding) => this.#shareOf(binding, first / groups, end / groups));
    const [bytesRead, bytesWritten] = [sum(bindings, (b) => b.bytesRead), sum(bindings, (b) => b.bytesWritten)];
    const values: Readonly<Record<string, number>> = { endGroup: end, firstGroup: first, ...params };
    const words = kernel.params.map((name) => {
      const value = values[name];
      if (value === undefined) throw new TypeError(`${kernel.label}: no value for ${name}`);
      return value >>> 0; // bases are subtracted modulo 2³²
    });
    const work = {
      kernel: kernel.id,
      flops: shares === 1 ? flops : Math.round((flops * (end - first)) / groups),
      bytes: bytesRead + bytesWritten,
      groups: end - first,
    };
    this.#dispatches.push(
      Object.freeze({
        label: kernel.label,
        kernel,
        workgroups: foldWorkgroups(end - first, this.limits.maxComputeWorkgroupsPerDimension),
        workgroupSize: kernel.workgroupSize,
        bindings: Object.freeze(bindings),
        params: Object.freeze(words),
        bytesRead,
        bytesWritten,
        flops: work.flops,
        estimatedSeconds: estimatedSeconds(work, this.limits.speed),
      }),
    );
  }

  /** What a dispatch moves that does the work between two shares of all. Each reads the tables anew, and a word of any input at least. */
  #shareOf(binding: ProgramBinding, from: number, to: number): ProgramBinding {
    const table = this.#buffers.get(binding.buffer)!.role === "table";
    const words = (bytes: number) => Math.round((bytes / FLOAT_BYTES) * to) - Math.round((bytes / FLOAT_BYTES) * from);
    const { bytesRead, bytesWritten } = binding;
    return Object.freeze({
      ...binding,
      bytesRead: table || bytesRead === 0 ? bytesRead : FLOAT_BYTES * Math.max(1, words(bytesRead)),
      bytesWritten: FLOAT_BYTES * words(bytesWritten),
    });
  }

  /** The program. @throws FastRpbError code `"limit"` where its scratch memory is more than `workspaceBytes` */
  finish(): Program {
    const { buffers, slots } = assignSlots([...this.#buffers.values()], this.#dispatches);
    const workspaceBytes = sum(slots, (bytes) => bytes);
    this.#need("workspaceBytes", workspaceBytes, "scratch memory");
    const dispatches = Object.freeze([...this.#dispatches]);
    return Object.freeze({
      label: this.#label,
      buffers: Object.freeze(buffers),
      slots: Object.freeze(slots),
      dispatches,
      isLong: this.#isLong,
      cost: Object.freeze({
        dispatches: dispatches.length,
        bytesMoved: sum(dispatches, (d) => d.bytesRead + d.bytesWritten),
        bytesMinimum: sum(buffers, (b) => b.bytes * LEAST_MOVES[b.role]),
        flops: sum(dispatches, (d) => d.flops),
        workspaceBytes,
      }),
    });
  }

  #add(buffer: ProgramBuffer): Handle {
    if (buffer.role !== "table") this.#need("maxBufferSize", buffer.bytes, buffer.name);
    this.#buffers.set(buffer.name, Object.freeze(buffer));
    return buffer;
  }

  #need(limit: BoundedLimit, amount: number, what: string, unit = "bytes"): void {
    if (amount > this.limits[limit]) throw limitError(this, limit, amount, what, this.limits[limit], unit);
  }
}
