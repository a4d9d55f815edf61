import { matmulKernel, type MatmulOperand, type MatmulTile, tileLanes } from "../../../shaders/nn/matmul.ts";
import type { MatmulEnd } from "../../../shaders/nn/matmul-end.ts";
import { matmulRowsKernel, rowsColumnVectors } from "../../../shaders/nn/matmul-rows.ts";
import { matmulSumKernel } from "../../../shaders/nn/matmul-sum.ts";
import type { MatrixPlaces } from "../../../shaders/nn/matrix.ts";
import type { BindingUse, Handle, ProgramBuilder } from "../../program/builder.ts";
import { bindableUnits, largestScratch, limitError, type Slice, sliceBytes } from "../../program/ranges.ts";
import { type Span, spansOf } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { ceilPowerOfTwo, elementwiseLanes, floorPowerOfTwo, mostLanes } from "../../program/workgroups.ts";
import type { Handles } from "../operation.ts";
import { type MatmulSpec, type MatrixName, storedMatrix } from "./spec.ts";
import { chooseTile, MATMUL_TILES } from "./tiles.ts";

/** So many rows are no more than a vector times a matrix: nothing would be read twice. */
const FEW_ROWS = 8;

const VECTOR_BYTES = 16;

/** A part of a product whose matrices can be bound: items, rows of the result, and what is summed over. */
interface Part {
  readonly items: Span;
  readonly rows: Span;
  readonly depth: Span;
}

/**
 * Adds the products. Where a matrix is larger than a binding they go item by item, over slices of rows, and where a and b are stored so that k goes over
 * their rows, over slices of k, which are added up in the result.
 *
 * @param tiles to choose from
 */
export function planMatmul(
  program: ProgramBuilder,
  spec: MatmulSpec,
  tensors: Handles,
  scratch: number,
  tiles: readonly MatmulTile[] = MATMUL_TILES,
): void {
  const parts = partsOf(program, spec);
  for (const part of parts) {
    const whole = part.rows.count === spec.m && part.depth.count === spec.k;
    if (whole && spec.m <= FEW_ROWS && rowLanes(program, spec).slices >= 2) addRows(program, spec, tensors, part);
    else addTiles(program, spec, tensors, part, largestScratch(program.limits, scratch), tiles);
  }
}

/** The parts that bindings can hold, those of one result after each other. @throws FastRpbError code `"limit"` */
function partsOf(program: ProgramBuilder, spec: MatmulSpec): readonly Part[] {
  const { limits } = program;
  const { batch, m, n, k, transposeA, transposeB, heads } = spec;
  const all = { first: 0, count: m };
  const whole = { first: 0, count: k };
  const ofItem = { a: FLOAT_BYTES * m * k, b: FLOAT_BYTES * k * n, out: FLOAT_BYTES * m * n };
  const items = Math.min(...Object.values(ofItem).map((bytes) => bindableUnits(limits, bytes, batch)));
  if (items >= 1) return spansOf(batch, items).map((span) => ({ items: span, rows: all, depth: whole }));
  const fits = (name: MatrixName) => ofItem[name] <= limits.maxStorageBufferBindingSize;
  /** How many of the rows that stored matrices have in common can be bound, those of heads in whole sequences, and vectors of rows as one. */
  const bindable = (count: number, ...names: readonly MatrixName[]) => {
    const unit = heads && names.includes(heads.of) ? heads.length : 1;
    const units = Math.min(...names.map((name) => bindableUnits(limits, FLOAT_BYTES * storedMatrix(spec, name).columns * unit, count / unit)));
    const most = units * unit < count ? (units - (units % 4)) * unit : count;
    if (most >= 1) return most;
    const bytes = Math.max(...names.map((name) => ofItem[name]));
    throw limitError(program, "maxStorageBufferBindingSize", bytes, `${names.join(" or ")} of a matrix product`);
  };
  // Rows of a and out where b is whole; or rows of a and b, which are k, where out is.
  let [rows, depth] = [m, k];
  if (transposeA && !transposeB && fits("out")) depth = bindable(k, "a", "b");
  else if (!fits("b")) throw limitError(program, "maxStorageBufferBindingSize", ofItem.b, "b of a matrix product");
  else if (!transposeA) rows = bindable(m, "a", "out");
  else if (!fits("a")) throw limitError(program, "maxStorageBufferBindingSize", ofItem.a, "the transposed a of a matrix product");
  else rows = bindable(m, "out");
  return spansOf(batch, 1).flatMap((span) =>
    spansOf(m, rows).flatMap((row) => spansOf(k, depth).map((each) => ({ items: span, rows: row, depth: each }))),
  );
}

/** Where the numbers of the matrices lie, as kernels see it. */
function operandsOf(spec: MatmulSpec): { readonly a: MatmulOperand; readonly b: MatmulOperand; readonly out: MatrixPlaces } {
  const places = (name: MatrixName): MatrixPlaces => {
    const { columns, heads } = storedMatrix(spec, name);
    return { vectors: (heads?.width ?? columns) % 4 === 0, heads };
  };
  return { a: { ...places("a"), deep: !spec.transposeA }, b: { ...places("b"), deep: spec.transposeB }, out: places("out") };
}

/** Parameters of a matrix: from item to item and from row to row in what its binding holds. */
function strides(spec: MatmulSpec, name: MatrixName, { vectors }: MatrixPlaces): Readonly<Record<string, number>> {
  const { rows, columns } = storedMatrix(spec, name);
  const size = vectors ? 4 : 1;
  return { [`${name}Item`]: Math.floor((rows * columns) / size), [`${name}Row`]: Math.floor(columns / size) };
}

/** The range of a matrix that a part needs: of the items, and of one item the rows or k. */
function sliceOf(program: ProgramBuilder, spec: MatmulSpec, name: MatrixName, buffer: Handle, { items, rows, depth }: Part): Slice {
  const { rows: stored, columns } = storedMatrix(spec, name);
  const rowBytes = FLOAT_BYTES * columns;
  const span = { a: spec.transposeA ? depth : rows, b: spec.transposeB ? undefined : depth, out: rows }[name];
  const [first, count] = items.count === 1 && span ? [span.first, span.count] : [0, stored];
  const begin = (items.first * stored + first) * rowBytes;
  const end = ((items.first + items.count - 1) * stored + first + count) * rowBytes;
  if (end - begin === buffer.bytes) return { offset: 0, size: buffer.bytes };
  return sliceBytes(program.limits, begin, end);
}

/** The end of a product: all that follows the sums, or with `last` false the sums alone, as the first part or added to what is there. */
function endOf(spec: MatmulSpec, out: MatrixPlaces, accumulate: boolean, last: boolean): MatmulEnd {
  const { bias, residual, activation } = spec;
  return { out, accumulate, bias: bias && last, activation: last ? activation : "none", residual: residual && last };
}

/** The uses of what an end reads and writes, `biased` vectors of the bias in all. */
function endUses(
  program: ProgramBuilder,
  spec: MatmulSpec,
  { bias, residual, out }: Handles,
  end: MatmulEnd,
  part: Part,
  biased: number,
): Readonly<Record<string, BindingUse | undefined>> {
  const slice = sliceOf(program, spec, "out", out!, part);
  const bytes = FLOAT_BYTES * part.items.count * part.rows.count * spec.n;
  return {
    bias: bias && { buffer: bias, reads: biased * VECTOR_BYTES },
    residual: residual && { buffer: residual, slice, reads: bytes },
    out: { buffer: out!, slice, writes: bytes, ...(end.accumulate && { reads: bytes }) },
  };
}

function endFlops(spec: MatmulSpec, { out: _, ...end }: MatmulEnd, { items, rows }: Part): number {
  const ACTIVATION_FLOPS = { none: 0, relu: 1, gelu: 50, "gelu-tanh": 40 } as const;
  const each = Number(end.accumulate) + Number(end.bias) + Number(end.residual) + ACTIVATION_FLOPS[end.activation];
  return items.count * rows.count * spec.n * each;
}

/** Adds a part by tiles, k in as many turns or splits as its sums and slow devices need. */
function addTiles(program: ProgramBuilder, spec: MatmulSpec, tensors: Handles, part: Part, scratch: number, tiles: readonly MatmulTile[]): void {
  const { a, b, out } = operandsOf(spec);
  const { items, rows, depth } = part;
  const shape = { items: items.count, rows: rows.count, columns: spec.n, depth: depth.count };
  const { tile, splits, splitDepth } = chooseTile(program, shape, scratch, tiles);
  const across = Math.ceil(spec.n / tile.columns);
  const down = Math.ceil(rows.count / tile.rows);
  const vectors = Math.ceil(spec.n / 4);
  const elements = items.count * rows.count * vectors;
  const common = {
    items: items.count,
    firstItem: items.first,
    firstRow: rows.first,
    sliceRows: rows.count,
    endRow: rows.first + rows.count,
    columns: spec.n,
    ...strides(spec, "out", out),
  };
  const partials = splits > 1 ? program.temporary("matmul parts", splits * elements * VECTOR_BYTES) : undefined;
  const isLast = ({ first, count }: Span) => depth.first + first + count === spec.k;
  for (const turn of spansOf(depth.count, splits > 1 ? depth.count : splitDepth)) {
    const first = depth.first + turn.first;
    const end = endOf(spec, out, first > 0, isLast(turn));
    const wholeDepths = turn.count % tile.depth === 0;
    const kernel = matmulKernel({ tile, a, b, wholeDepths, end: partials ? "partials" : end });
    const groups = across * down * items.count * splits;
    const depths = spansOf(turn.count, splitDepth).reduce((sum, { count }) => sum + Math.ceil(count / tile.depth) * tile.depth, 0);
    const loaded = FLOAT_BYTES * across * down * items.count * depths;
    const uses = partials
      ? { out: { buffer: partials, writes: partials.bytes } }
      : endUses(program, spec, tensors, end, part, groups * tileLanes(tile) * (tile.patchColumns / 4));
    program.dispatch({
      kernel,
      groups,
      params: {
        ...common,
        ...strides(spec, "a", a),
        ...strides(spec, "b", b),
        tilesAcross: across,
        tilesDown: down,
        firstDepth: first,
        endDepth: first + turn.count,
        splitDepth,
      },
      uses: {
        a: { buffer: tensors["a"]!, slice: sliceOf(program, spec, "a", tensors["a"]!, part), reads: loaded * tile.rows },
        b: { buffer: tensors["b"]!, slice: sliceOf(program, spec, "b", tensors["b"]!, part), reads: loaded * tile.columns },
        ...uses,
      },
      flops: 2 * items.count * rows.count * spec.n * turn.count + (partials ? 0 : endFlops(spec, end, part)),
    });
    if (partials) addSum(program, spec, tensors, part, end, { partials, splits, elements, params: common });
  }
}

/** Adds the sum of the parts of a product. */
function addSum(
  program: ProgramBuilder,
  spec: MatmulSpec,
  tensors: Handles,
  part: Part,
  end: MatmulEnd,
  of: { readonly partials: Handle; readonly splits: number; readonly elements: number; readonly params: Readonly<Record<string, number>> },
): void {
  const { partials, splits, elements } = of;
  const most = floorPowerOfTwo(elementwiseLanes(program.limits));
  const fitting = Math.min(most, floorPowerOfTwo(program.limits.maxComputeWorkgroupStorageSize / VECTOR_BYTES));
  const slices = Math.min(fitting, splits >= 64 ? 16 : splits >= 8 ? 4 : 1);
  const kernel = matmulSumKernel({ lanes: slices > 1 ? fitting : most, slices, end });
  program.dispatch({
    kernel,
    groups: Math.ceil(elements / (kernel.workgroupSize[0] / slices)),
    params: { ...of.params, splits },
    uses: { partials: { buffer: partials, reads: partials.bytes }, ...endUses(program, spec, tensors, end, part, elements) },
    flops: splits * elements * 4 + endFlops(spec, end, part),
  });
}

/** Vectors of four columns of a workgroup, for few rows: one where b runs along k, else what neighbouring lanes load together. */
const ROW_VECTORS = { deep: 1, flat: 8 } as const;

/** Lanes of the kernel of a few rows: enough slices of k that each goes over little of it. */
function rowLanes({ limits }: ProgramBuilder, { m, k, transposeB }: MatmulSpec): { readonly lanes: number; readonly slices: number } {
  const MOST_LANES = 256;
  const most = floorPowerOfTwo(Math.min(MOST_LANES, mostLanes(limits), limits.maxComputeWorkgroupStorageSize / (m * VECTOR_BYTES)));
  const beside = transposeB ? 4 * ROW_VECTORS.deep : ROW_VECTORS.flat;
  const slices = Math.min(Math.floor(most / beside), Math.max(8, ceilPowerOfTwo(k / 8)));
  return { lanes: slices * beside, slices };
}

/** Adds the product of a few rows. */
function addRows(program: ProgramBuilder, spec: MatmulSpec, tensors: Handles, part: Part): void {
  const { m, n, k } = spec;
  const { a: stored, b, out } = operandsOf(spec);
  const a = { ...stored, vectors: stored.vectors && stored.deep && b.deep };
  const end = endOf(spec, out, false, true);
  const shape = { rows: m, ...rowLanes(program, spec), a, b, end };
  const kernel = matmulRowsKernel(shape);
  const vectors = rowsColumnVectors(shape);
  const { items } = part;
  const groups = Math.ceil(Math.ceil(n / 4) / vectors) * items.count;
  const fours = b.deep ? groups * 4 * vectors * Math.ceil(k / 4) : groups * vectors * k;
  program.dispatch({
    kernel,
    groups,
    params: {
      depth: k,
      columns: n,
      endRow: m,
      firstItem: items.first,
      ...strides(spec, "a", a),
      ...strides(spec, "b", b),
      ...strides(spec, "out", out),
    },
    uses: {
      a: { buffer: tensors["a"]!, slice: sliceOf(program, spec, "a", tensors["a"]!, part), reads: m * fours * (b.deep ? VECTOR_BYTES : FLOAT_BYTES) },
      b: { buffer: tensors["b"]!, slice: sliceOf(program, spec, "b", tensors["b"]!, part), reads: fours * VECTOR_BYTES },
      ...endUses(program, spec, tensors, end, part, groups * m * vectors),
    },
    flops: 2 * items.count * m * n * k + endFlops(spec, end, part),
  });
}
