/**
 * A Program: what a device has to do for a computation, as frozen data. Buffers with their sizes and roles, dispatches with their
 * kernels, bindings and parameters, the layout of the workspace, and what it all costs. Nothing here touches a GPU.
 */
import type { Kernel } from "../../shaders/wgsl/kernel.ts";
import type { Cost, DispatchInfo } from "../core/backend.ts";
import type { TablePart } from "./tables.ts";

/** `"inout"`: an output that is an input too. */
export type BufferRole = "input" | "output" | "inout" | "workspace" | "table";

export interface ProgramBuffer {
  readonly name: string;
  readonly role: BufferRole;
  readonly bytes: number;
  /** Of a workspace buffer: which of the program's slots holds it. Buffers whose lifetimes do not overlap share a slot. */
  readonly slot?: number;
  /** Of a table: its contents, as a description. */
  readonly parts?: readonly TablePart[];
}

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

export interface ProgramDispatch extends DispatchInfo {
  readonly kernel: Kernel;
  readonly bindings: readonly ProgramBinding[];
  /** Values of the kernel's parameters, in its order. */
  readonly params: readonly number[];
}

export interface Program {
  readonly label: string;
  readonly buffers: readonly ProgramBuffer[];
  /** Bytes of each slot of workspace. */
  readonly slots: readonly number[];
  readonly dispatches: readonly ProgramDispatch[];
  readonly cost: Cost;
}
