/** The heads that a program does at a time, the rows of tensors and of scratch that belong to them, and the dispatches of kernels over them. */
import { ELEMENT_BYTES, type Kernel, type Precision } from "../../../shaders/wgsl/kernel.ts";
import type { BoundStrides, RowStrides } from "../../../shaders/wgsl/rows.ts";
import type { BindingUse, DispatchRequest, Extent, Handle, ProgramBuilder } from "../../program/builder.ts";
import { bindable, firstBytes, limitError, sliceBytes } from "../../program/ranges.ts";
import { type Span, spansOf } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { lengthsUse } from "../lengths.ts";
import type { Handles } from "../operation.ts";
import { type AttentionTensor, rowCounts, rowStrides, tensorDim } from "./layout.ts";
import { type AttentionShape, keyLengthOf } from "./spec.ts";

/** Neighbouring heads, counted over the batch. */
export type HeadGroup = Span;

/** Some attention in a program. */
export interface HeadWork {
  readonly program: ProgramBuilder;
  readonly shape: AttentionShape;
  /** The tensor `lengths`, where lengths vary. */
  readonly lengths: Handle | undefined;
  /** The tensor `keyMask`, for kernels that look at it. */
  readonly keyMask?: Handle | undefined;
}

/** Some attention in a program, and the size of its groups of heads. */
export interface GroupedWork extends HeadWork {
  /** Heads of the largest group. */
  readonly mostHeads: number;
}

/** Rows [heads, N, dim] in a buffer: of all heads, B·H of them, or of one group. */
export interface Rows {
  readonly buffer: Handle;
  /** Numbers of a row. */
  readonly dim: number;
  /** Rows of a head; left out: the tokens of the work. */
  readonly length?: number;
  readonly precision: Precision;
  /** Whether the buffer is scratch that holds the heads of one group only. */
  readonly local?: boolean;
  /** Where the rows lie, if not head by head. */
  readonly strides?: RowStrides | undefined;
}

/** Rows of several tensors, by name. */
export type NamedRows<Name extends string> = Readonly<Record<Name, Rows>>;

/** Rows, and what the workgroups of one head move of them. */
export interface MovedRows extends Rows {
  /** Rows that are read; 0 when left out. */
  readonly reads?: number;
  /** Rows that are written; 0 when left out. */
  readonly writes?: number;
  /** Numbers of each such row that are moved; all when left out. */
  readonly columns?: number;
}

/** Rows of a tensor that is stored as the shape says: queries, keys, values, the output, or the gradients of these. */
export function storedRows(shape: AttentionShape, tensors: Partial<Handles>, of: AttentionTensor): Rows {
  const buffer = tensors[of]!;
  const packed = buffer === tensors["qkv"] || buffer === tensors["dqkv"];
  return { buffer, dim: tensorDim(shape, of), length: rowCounts(shape, of).length, precision: shape.storage, strides: rowStrides(shape, of, packed) };
}

/** Rows of the tensors of a gradient. */
export function gradientRows(shape: AttentionShape, tensors: Partial<Handles>) {
  const rows = (of: AttentionTensor) => storedRows(shape, tensors, of);
  return { q: rows("q"), k: rows("k"), v: rows("v"), dOut: rows("dOut"), dq: rows("dq"), dk: rows("dk"), dv: rows("dv") };
}

/** The {@link BoundStrides} of a kernel that moves these rows, by the name of their binding; `undefined` where all lie head by head. */
export function stridesOf(rows: Readonly<Record<string, MovedRows | undefined>>): BoundStrides | undefined {
  const strided = Object.entries(rows).flatMap(([name, moved]) => {
    if (!moved?.strides) return [];
    const within = writtenWith(rows, name);
    return [[name, within === undefined ? moved.strides : { ...moved.strides, within }] as const];
  });
  return strided.length === 0 ? undefined : Object.fromEntries(strided);
}

/** The first other binding that writes rows of the same buffer, if there is such. */
function writtenWith(rows: Readonly<Record<string, MovedRows | undefined>>, name: string): string | undefined {
  const first = Object.keys(rows).find((other) => rows[other]?.writes && rows[other].buffer === rows[name]?.buffer);
  return first === name ? undefined : first;
}

/** Scratch for float32 rows of a group, for so many of a head. */
export function scratchRows({ program, shape, mostHeads }: GroupedWork, name: string, dim: number, length = shape.length): Rows {
  return { buffer: program.temporary(name, mostHeads * length * dim * FLOAT_BYTES), dim, precision: "f32", local: true };
}

/**
 * Heads, as many at a time as a binding can hold of rows of each of the dimensions, and a share of the scratch of what a head needs there.
 *
 * @param dims numbers of a row, of all tensors
 * @param scratch bytes in all
 * @param headBytes scratch of a head, for as long as its group is done
 * @param most heads at a time
 * @param share of the scratch; what else a program holds takes the rest
 * @throws FastRpbError code `"limit"` where there is no room for one head
 */
export function headGroups(
  program: ProgramBuilder,
  shape: AttentionShape,
  dims: readonly number[],
  scratch: number,
  headBytes = 0,
  most = Infinity,
  share = 1 / 2,
): readonly HeadGroup[] {
  const all = shape.batch * shape.heads;
  const longest = Math.max(shape.length, keyLengthOf(shape));
  const bindableHeads = bindable(program, Math.max(...dims) * longest * FLOAT_BYTES, all, "one head of q, k or v");
  const affordable = headBytes === 0 ? all : Math.floor((scratch * share) / headBytes);
  if (affordable < 1) throw limitError(program, "workspaceBytes", Math.ceil(headBytes / share), "one head", scratch);
  return spansOf(all, Math.min(bindableHeads, affordable, most));
}

/** The rows of a group as a binding. The kernel counts rows over all heads. */
export function groupRows({ program, shape }: HeadWork, group: HeadGroup, rows: MovedRows): BindingUse {
  const { buffer, dim, length = shape.length, columns = dim, reads = 0, writes = 0 } = rows;
  const elementBytes = ELEMENT_BYTES[rows.precision];
  const headBytes = length * dim * elementBytes;
  const [start, bytes] = [group.first * headBytes, group.count * headBytes];
  const rowBytes = group.count * columns * elementBytes;
  // Rows may be read in part.
  const use = { buffer, reads: Math.round(reads * rowBytes), writes: writes * rowBytes };
  if (rows.local) return { ...use, slice: firstBytes(bytes), start };
  // Heads that stand side by side are bound together.
  return rows.strides || group.count === shape.batch * shape.heads ? use : { ...use, slice: sliceBytes(program.limits, start, start + bytes) };
}

/** Work of a kernel over heads: extent, what is moved of rows and `flops` are those of one head, `uses` those of the group. */
export type HeadKernelRequest = Extent &
  Pick<DispatchRequest, "params" | "flops" | "mostFlops"> & {
    /** Rows by the name of their binding. */
    readonly rows?: Readonly<Record<string, MovedRows | undefined>>;
    /** Uses of other bindings. */
    readonly uses?: DispatchRequest["uses"];
  };

/** Adds a kernel over a group of heads, with the parameters `firstHead` and `heads` and the bindings `lengths` and `keyMask` for kernels that have them. */
export function addHeadKernel(work: HeadWork, group: HeadGroup, kernel: Kernel, request: HeadKernelRequest): void {
  const { program, shape, lengths, keyMask } = work;
  const { groups, elements, rows = {}, uses, params, flops, mostFlops } = request;
  const bound = Object.entries(rows).map(([name, moved]) => [name, moved && groupRows(work, group, moved)] as const);
  const bindings: Record<string, BindingUse | undefined> = Object.fromEntries(bound);
  for (const [name, use] of bound) {
    const shared = bindings[writtenWith(rows, name) ?? ""];
    if (shared && use) Object.assign(shared, { reads: (shared.reads ?? 0) + (use.reads ?? 0), writes: (shared.writes ?? 0) + (use.writes ?? 0) });
  }
  program.dispatch({
    kernel,
    ...(elements === undefined ? { groups: group.count * groups } : { elements: group.count * elements }),
    params: { firstHead: group.first, heads: shape.heads, ...params },
    uses: {
      ...bindings,
      lengths: lengthsUse(shape, lengths),
      // A row of it is shared by all heads and workgroups of a batch row.
      keyMask: keyMask && { buffer: keyMask, reads: keyMask.bytes },
      ...uses,
    },
    flops: group.count * flops,
    ...(mostFlops !== undefined && { mostFlops: group.count * mostFlops }),
  });
}
