/** Heads that a program does at a time, and the rows of tensors and workspaces that belong to them. */
import { ELEMENT_BYTES, type Kernel, type Precision } from "../../../shaders/wgsl/kernel.ts";
import type { AttentionShape } from "../specs.ts";
import { type BindingUse, bindableUnits, limitError, type ProgramBuilder, type Slice, sliceBase, sliceBytes } from "../../program/program.ts";
import { FLOAT_BYTES } from "../../program/units.ts";

export interface HeadGroup {
  readonly first: number;
  readonly count: number;
}

/** [B·H, N, dim] in a buffer. */
export interface Rows {
  readonly buffer: string;
  readonly dim: number;
  /** The buffer is a workspace, and holds the heads of one group only. */
  readonly local?: boolean;
  /** f32 when left out. */
  readonly precision?: Precision;
}

/** Rows of a tensor that is stored as the shape says: q, k, v or the output. */
export function storedRows({ storage }: AttentionShape, buffer: string, dim: number): Rows {
  return { buffer, dim, precision: storage };
}

/**
 * Heads, as many at a time as a binding can hold of rows of each of the dimensions, and a share of the workspace of what a head needs there.
 *
 * @param workspaceBytes per head, for as long as its group is done
 * @throws FastRpbError code `"limit"` where there is no room for one head
 */
export function headGroups(
  program: ProgramBuilder,
  { batch, heads, length }: AttentionShape,
  dims: readonly number[],
  workspaceBytes = 0,
): readonly HeadGroup[] {
  const { limits, caller } = program;
  const all = batch * heads;
  const widest = Math.max(...dims) * length * FLOAT_BYTES;
  const bindable = bindableUnits(limits, widest, all);
  if (bindable < 1) throw limitError(caller, "maxStorageBufferBindingSize", widest, limits.maxStorageBufferBindingSize, "one head of q, k or v");
  // What else a program holds takes the other half.
  const affordable = workspaceBytes === 0 ? all : Math.floor(limits.workspaceBytes / 2 / workspaceBytes);
  if (affordable < 1) throw limitError(caller, "workspaceBytes", 2 * workspaceBytes, limits.workspaceBytes, "one head");
  const step = Math.min(bindable, affordable);
  const groups: HeadGroup[] = [];
  for (let first = 0; first < all; first += step) groups.push({ first, count: Math.min(step, all - first) });
  return groups;
}

/** The rows of a group as a kernel's binding, and where it starts: what the kernel subtracts from a tensor-wide index. */
export function groupRows(
  program: ProgramBuilder,
  { batch, heads, length }: AttentionShape,
  group: HeadGroup,
  kernel: Kernel,
  binding: string,
  rows: Rows,
): { readonly use: BindingUse; readonly base: number } {
  const headBytes = length * rows.dim * ELEMENT_BYTES[rows.precision ?? "f32"];
  const begin = group.first * headBytes;
  if (rows.local) {
    const slice: Slice = { offset: 0, size: group.count * headBytes };
    return { use: { buffer: rows.buffer, slice }, base: sliceBase(kernel, binding, { offset: begin, size: 0 }) };
  }
  if (group.count === batch * heads) return { use: { buffer: rows.buffer }, base: 0 };
  const slice = sliceBytes(program.limits, begin, begin + group.count * headBytes);
  return { use: { buffer: rows.buffer, slice }, base: sliceBase(kernel, binding, slice) };
}

/** Bytes of a group's rows of `dim` numbers. */
export function groupBytes(shape: AttentionShape, group: HeadGroup, dim: number, precision: Precision = "f32"): number {
  return group.count * shape.length * dim * ELEMENT_BYTES[precision];
}
