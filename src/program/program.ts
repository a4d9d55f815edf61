/**
 * A Program: what a device has to do for a computation, as frozen data. Buffers with their sizes and roles, dispatches with their
 * kernels, bindings and parameters, the layout of the workspace, and what it all costs. Nothing here touches a GPU.
 */
import type { Kernel } from "../../shaders/wgsl/kernel.ts";
import type { Cost, DispatchInfo } from "../core/backend.ts";
import type { TablePart } from "./tables.ts";

/** What a buffer is for; `"inout"` is an output that is an input too, `"workspace"` scratch, `"table"` a constant. */
export type BufferRole = "input" | "output" | "inout" | "workspace" | "table";

/** A buffer of a Program. */
export interface ProgramBuffer {
  readonly name: string;
  readonly role: BufferRole;
  readonly bytes: number;
  /** Slot of the program that holds a workspace buffer. Buffers whose lifetimes do not overlap share a slot. */
  readonly slot?: number;
  /** Contents of a table, as a description. */
  readonly parts?: readonly TablePart[];
}

/** A range of a buffer that a dispatch binds. */
export interface ProgramBinding {
  /** Name of the kernel's variable. */
  readonly name: string;
  readonly buffer: string;
  /** Range of the buffer that is bound, in bytes. */
  readonly offset: number;
  readonly size: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** A dispatch of a Program. */
export interface ProgramDispatch extends DispatchInfo {
  readonly kernel: Kernel;
  readonly bindings: readonly ProgramBinding[];
  /** Values of the kernel's parameters, in its order. */
  readonly params: readonly number[];
}

/** A computation as frozen data. */
export interface Program {
  readonly label: string;
  readonly buffers: readonly ProgramBuffer[];
  /** Bytes of each slot of workspace. */
  readonly slots: readonly number[];
  readonly dispatches: readonly ProgramDispatch[];
  /** Whether there is work that would take so long on such a device that it is in several dispatches. */
  readonly isLong: boolean;
  readonly cost: Cost;
}
