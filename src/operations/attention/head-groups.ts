/** Heads that a program does at a time, and the rows of tensors and of scratch that belong to them. */
import { ELEMENT_BYTES, type Kernel, type Precision } from "../../../shaders/wgsl/kernel.ts";
import type { BindingUse, Handle, ProgramBuilder } from "../../program/builder.ts";
import { bindableUnits, firstBytes, limitError, sliceBase, sliceBytes } from "../../program/ranges.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import type { AttentionGradientTensors } from "./bias.ts";
import type { AttentionShape } from "./spec.ts";

export interface HeadGroup {
  readonly first: number;
  readonly count: number;
}

/** [B·H, N, dim] in a buffer. */
export interface Rows {
  readonly buffer: Handle;
  readonly dim: number;
  /** The buffer is scratch, and holds the heads of one group only. */
  readonly local?: boolean;
  /** f32 when left out. */
  readonly precision?: Precision;
}

/** Rows of a tensor that is stored as the shape says: q, k, v or the output. */
export function storedRows({ storage }: AttentionShape, buffer: Handle, dim: number): Rows {
  return { buffer, dim, precision: storage };
}

/** Rows of the tensors of a gradient, which are float32. */
export function gradientRows({ headDim, valueDim }: AttentionShape, tensors: AttentionGradientTensors) {
  const rows = (buffer: Handle, dim: number): Rows => ({ buffer, dim });
  const { q, k, v, dOut, dq, dk, dv } = tensors;
  return {
    q: rows(q, headDim),
    k: rows(k, headDim),
    v: rows(v, valueDim),
    dOut: rows(dOut, valueDim),
    dq: rows(dq, headDim),
    dk: rows(dk, headDim),
    dv: rows(dv, valueDim),
  };
}

/**
 * Heads, as many at a time as a binding can hold of rows of each of the dimensions, and half of the scratch of what a head needs there.
 *
 * @param headBytes scratch of a head, for as long as its group is done
 * @throws FastRpbError code `"limit"` where there is no room for one head
 */
export function headGroups(
  program: ProgramBuilder,
  { batch, heads, length }: AttentionShape,
  dims: readonly number[],
  scratch: number,
  headBytes = 0,
): readonly HeadGroup[] {
  const { limits, caller } = program;
  const all = batch * heads;
  const widest = Math.max(...dims) * length * FLOAT_BYTES;
  const bindable = bindableUnits(limits, widest, all);
  if (bindable < 1) throw limitError(caller, "maxStorageBufferBindingSize", widest, limits.maxStorageBufferBindingSize, "one head of q, k or v");
  // What else a program holds takes the other half.
  const affordable = headBytes === 0 ? all : Math.floor(scratch / 2 / headBytes);
  if (affordable < 1) throw limitError(caller, "workspaceBytes", 2 * headBytes, scratch, "one head");
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
    return { use: { buffer: rows.buffer, slice: firstBytes(group.count * headBytes) }, base: sliceBase(kernel, binding, { offset: begin, size: 0 }) };
  }
  if (group.count === batch * heads) return { use: { buffer: rows.buffer }, base: 0 };
  const slice = sliceBytes(program.limits, begin, begin + group.count * headBytes);
  return { use: { buffer: rows.buffer, slice }, base: sliceBase(kernel, binding, slice) };
}

/** Bytes of a group's rows of `dim` numbers. */
export function groupBytes(shape: AttentionShape, group: HeadGroup, dim: number, precision: Precision = "f32"): number {
  return group.count * shape.length * dim * ELEMENT_BYTES[precision];
}
