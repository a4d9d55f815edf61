/** The Toeplitz product in three passes, for what does not fit into a workgroup: along one axis, or on a grid. */
import type { Kernel } from "../../../shaders/wgsl/kernel.ts";
import { toeplitzColumnsInverseKernel } from "../../../shaders/toeplitz/columns-inverse.ts";
import { toeplitzColumnsKernel } from "../../../shaders/toeplitz/columns.ts";
import { toeplitzGridRowsKernel } from "../../../shaders/toeplitz/grid-rows.ts";
import type { ToeplitzPassSpec } from "../../../shaders/toeplitz/pass.ts";
import { toeplitzRowsKernel } from "../../../shaders/toeplitz/rows.ts";
import { fftFlops, MULTIPLY_FLOPS } from "../../math/flops.ts";
import type { BindingUse, ProgramBuilder } from "../../program/builder.ts";
import { firstBytes, largestScratch, limitError } from "../../program/ranges.ts";
import type { TableLayout } from "../../program/tables.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";
import { addColumns, columnTransform, type ColumnTransform } from "../fft/columns.ts";
import type { ShapeRequest } from "../fft/stockham.ts";
import { lengthsUse } from "../lengths.ts";
import { headSpectrumBytes, pairGroups, type ToeplitzLayout } from "./layout.ts";
import { boundStrides, type ToeplitzProduct } from "./outside.ts";
import { lanesFor, rowsUse, spectrumUse, type ToeplitzTensors, type ToeplitzVariant } from "./pairs.ts";

/** Circulant and skew-circulant, of the axis that the columns run along. */
const COLUMN_BRANCHES = 2;

/** One of the three passes, without what differs from group to group. */
interface ToeplitzPass {
  readonly kernel: Kernel;
  readonly transform: ColumnTransform;
  /** Columns of one pair of one head. */
  readonly columns: number;
  /** Operations for one pair of one head. */
  readonly flops: number;
}

/** Adds the three passes of a product that does not fit into a workgroup. @throws FastRpbError code `"limit"` */
export function addToeplitzPasses(
  program: ProgramBuilder,
  spec: ToeplitzProduct,
  layout: Exclude<ToeplitzLayout, { kind: "fused" }>,
  tensors: ToeplitzTensors,
  scratch: number,
  variant: ToeplitzVariant,
): void {
  // Columns of `a` points, `b` of them; rows of `b`, on a grid padded to the period of x.
  const { a, b, row } =
    layout.kind === "grid" ? { a: layout.y.period, b: layout.x.size, row: layout.x.period } : { a: layout.a, b: layout.b, row: layout.b };
  const pairBytes = COLUMN_BRANCHES * a * b * COMPLEX_BYTES;
  const most = Math.floor(largestScratch(program.limits, scratch) / pairBytes);
  if (most < 1) {
    const limit = program.limits.maxStorageBufferBindingSize < pairBytes ? "maxStorageBufferBindingSize" : "workspaceBytes";
    throw limitError(program, limit, pairBytes, "the transform of one pair of channels");
  }
  const strides = boundStrides(spec, { values: tensors.v, out: tensors.out });
  const groups = pairGroups(program, spec, most, variant.firstSpectrum);
  const largest = Math.max(...groups.map((group) => group.heads * group.pairs));
  const work = program.temporary("work", largest * pairBytes);
  const makePass = (
    length: number,
    columns: number,
    across: Pick<ShapeRequest, "lanes" | "wide">,
    transforms: number,
    make: (spec: ToeplitzPassSpec, tables: TableLayout) => Kernel,
  ): ToeplitzPass => {
    const transform = columnTransform({ lengths: [length], columns: largest * columns, ...across }, program.limits)!;
    const { shape, twiddles, tables } = transform;
    const { length: tokens, channels, margin, variableLengths, storage } = spec;
    const { transposed = false } = variant;
    const kernel = make({ shape, twiddles, length: tokens, a, b, channels, margin, transposed, variableLengths, storage, strides }, tables);
    return { kernel, transform, columns, flops: columns * transforms * (fftFlops(length) + MULTIPLY_FLOPS * length) };
  };
  const lines = COLUMN_BRANCHES * a;
  const lanes = lanesFor(groups[0]!.pairs);
  const axisRoots = (tables: TableLayout, period: number) => tables.roots(2 * period, period);
  const sequenceRoots = (tables: TableLayout) => tables.roots(2 * a * b, 2 * a * b);
  const forward = makePass(a, b, { lanes: "columns", wide: true }, COLUMN_BRANCHES, (base, tables) => {
    const roots = layout.kind === "grid" ? undefined : sequenceRoots(tables);
    return toeplitzColumnsKernel({ ...base, axisRoots: axisRoots(tables, a), roots });
  });
  const middle =
    layout.kind === "grid"
      ? makePass(row, lines, { lanes }, 4, (base, tables) => toeplitzGridRowsKernel({ ...base, axisRoots: axisRoots(tables, row) }))
      : makePass(row, lines, { lanes }, 2, (base, tables) => toeplitzRowsKernel({ ...base, roots: sequenceRoots(tables) }));
  const inverse = makePass(a, b, { lanes: "columns", wide: true }, COLUMN_BRANCHES, (base, tables) => {
    return toeplitzColumnsInverseKernel({ ...base, axisRoots: axisRoots(tables, a) });
  });
  const spectrumHead = headSpectrumBytes(spec, program.limits);
  const spectrumReads = layout.kind === "grid" ? spectrumHead : (a + 1) * b * COMPLEX_BYTES; // of two mirrored rows one
  for (const group of groups) {
    const count = group.heads * group.pairs;
    const bytes = count * pairBytes;
    const slice = firstBytes(bytes);
    const add = ({ kernel, transform, columns, flops }: ToeplitzPass, uses: Readonly<Record<string, BindingUse>>) =>
      addColumns(program, transform, count * columns, {
        kernel,
        params: { pairs: group.pairs, firstPair: group.firstPair, firstHead: group.firstHead, heads: spec.heads },
        uses: { ...uses, lengths: lengthsUse(spec, tensors.lengths) },
        flops: count * flops,
      });
    add(forward, { values: rowsUse(spec, group, tensors.v, "reads"), work: { buffer: work, slice, writes: bytes } });
    const spectrum = spectrumUse(spec, group, tensors.spectrum, variant, spectrumHead, spectrumReads);
    add(middle, { work: { buffer: work, slice, reads: bytes, writes: bytes }, spectrum });
    add(inverse, { work: { buffer: work, slice, reads: bytes }, out: rowsUse(spec, group, tensors.out, "writes") });
  }
}
