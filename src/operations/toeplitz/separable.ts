/**
 * The product of a separable bias, W_ij = r[y_j − y_i] + c[x_j − x_i]: out_i = A[y_i] + B[x_i], with A the Toeplitz product of r and the sums of the
 * values of each row, B that of c and the sums of each column. Values are read once and the result is written once; what goes between is small, and
 * short enough for products without transforms. Its spectrum is the weights of all offsets: [heads, (2H − 1) + (2W − 1)].
 */
import { separableCorrelateKernel } from "../../../shaders/toeplitz/separable-correlate.ts";
import { separableProductKernel } from "../../../shaders/toeplitz/separable-product.ts";
import { separableSpreadKernel } from "../../../shaders/toeplitz/separable-spread.ts";
import { separableSumsKernel } from "../../../shaders/toeplitz/separable-sums.ts";
import { separableWeightsKernel } from "../../../shaders/toeplitz/separable-weights.ts";
import { type SeparableTile, sumVectors } from "../../../shaders/toeplitz/separable.ts";
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import { vectorsOf } from "../../../shaders/wgsl/rows.ts";
import { elementCount } from "../../core/check.ts";
import type { Handle, NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { firstBytes, limitError, type Slice, sliceBytes } from "../../program/ranges.ts";
import { forSlices } from "../../program/slices.ts";
import { FLOAT_BYTES, sum } from "../../program/units.ts";
import { ceilPowerOfTwo, elementwiseLanes, firstTile } from "../../program/workgroups.ts";
import type { RelativePositions, ToeplitzSpec, WeightForm } from "./spec.ts";
import { weightsShape } from "./spec.ts";

/** Whether a product goes by rows and columns. */
export function isSeparable({ form }: RelativePositions): boolean {
  return form?.separable !== undefined;
}

/** Numbers of a head's spectrum: the weights of all offsets of rows, and of columns. */
export function separableOffsets({ grid }: RelativePositions): number {
  return 2 * (grid![0] + grid![1] - 1);
}

const VECTOR_BYTES = ELEMENT_BYTES.vec4f;
/** Vectors of channels of a workgroup that sums: a whole cache line of a row. */
const SUM_VECTORS = 8;
/** Vectors of channels of a workgroup that multiplies: a memory sector. */
const PRODUCT_VECTORS = 2;
/** Columns of a tile, where a lane has no more than so many. */
const TILE_COLUMNS = 32;
const MOST_LANE_COLUMNS = 4;
/** Positions of a lane that multiplies. */
const MOST_OUTPUTS = 4;

/** Lanes of a workgroup, best first, with the rows that it sums at a time, and those of a tile. */
const TILES = [
  { lanes: 64, batchRows: 8, tileRows: 32 },
  { lanes: 32, batchRows: 4, tileRows: 16 },
  { lanes: 16, batchRows: 1, tileRows: 2 },
] as const;

/** How a separable product is done on a device. */
interface SeparableWork {
  readonly program: ProgramBuilder;
  readonly spec: Omit<ToeplitzSpec, "operation">;
  readonly tile: SeparableTile & { readonly batchRows: number };
  /** Vectors of the sums of a head, and of its products. */
  readonly sumVectors: number;
  readonly productVectors: number;
}

function separableWork(program: ProgramBuilder, spec: Omit<ToeplitzSpec, "operation">): SeparableWork {
  const [height, width] = spec.grid!;
  const { channels } = spec;
  const vectors = Math.min(SUM_VECTORS, ceilPowerOfTwo(vectorsOf(channels)));
  const { lanes, batchRows, tileRows } = firstTile(program, TILES, {
    lanes: (tile) => tile.lanes,
    bytes: (tile) => VECTOR_BYTES * Math.max(tile.batchRows * tile.lanes, tile.tileRows * vectors),
    what: "the sums of a separable bias",
  });
  const laneColumns = Math.min(MOST_LANE_COLUMNS, Math.max(1, Math.floor((TILE_COLUMNS * vectors) / lanes)));
  const tile = { height, width, channels, lanes, vectors, batchRows, tileRows, laneColumns, tileColumns: (laneColumns * lanes) / vectors };
  return { program, spec, tile, sumVectors: sumVectors(tile), productVectors: vectorsOf(channels) * (height + width) };
}

/** Tiles of the rows and of the columns. */
function tileCounts({ height, width, tileRows, tileColumns }: SeparableTile): readonly [y: number, x: number] {
  return [Math.ceil(height / tileRows), Math.ceil(width / tileColumns)];
}

/** Some heads of some batch rows, in order: the range of each tensor [B·H, N, channels] that holds them. */
interface HeadRange {
  readonly first: number;
  readonly count: number;
  readonly rows: Slice | undefined;
}

/** Runs `add` for as many heads at a time as bindings and scratch allow, with so many bytes of scratch for each. */
function eachHeadRange({ program, spec }: SeparableWork, headBytes: number, scratch: number, add: (range: HeadRange) => void): void {
  const { batch, heads, length, channels, storage } = spec;
  const most = Math.floor(Math.min(scratch, program.limits.maxBufferSize) / headBytes);
  if (most < 1) throw limitError(program, "workspaceBytes", headBytes, "the sums of one head", scratch);
  const bytes = [length * channels * ELEMENT_BYTES[storage], headBytes];
  const ranges = (first: number, count: number, [rows]: readonly (Slice | undefined)[]) => add({ first, count, rows });
  forSlices(program, "one head of v", batch * heads, bytes, ranges, () => most);
}

/** Numbers of scratch for a range of heads: its first ones. */
function scratchUse(buffer: Handle, bytes: number, moves: "reads" | "writes", moved = bytes) {
  return { buffer, slice: firstBytes(bytes), [moves]: moved };
}

function addSums({ program, spec, tile, sumVectors: vectors }: SeparableWork, { first, count, rows }: HeadRange, from: Handle, to: Handle): void {
  const { length, channels, storage } = spec;
  const [yTiles, xTiles] = tileCounts(tile);
  program.dispatch({
    kernel: separableSumsKernel({ ...tile, storage }),
    groups: count * yTiles * xTiles * Math.ceil(vectorsOf(channels) / tile.vectors),
    params: { firstHead: first },
    uses: {
      values: { buffer: from, slice: rows, reads: count * length * channels * ELEMENT_BYTES[storage] },
      sums: scratchUse(to, count * vectors * VECTOR_BYTES, "writes"),
    },
    flops: 2 * count * length * channels,
  });
}

/** Adds the products of a range of heads from their sums, and out of these the result. */
function addProducts(
  work: SeparableWork,
  { first, count, rows }: HeadRange,
  tensors: NamedHandles<"sums" | "spectrum" | "products" | "out">,
  transposed: boolean,
): void {
  const { program, spec, tile, productVectors } = work;
  const { heads, length, channels, storage } = spec;
  const { height, width } = tile;
  const [yTiles, xTiles] = tileCounts(tile);
  const vectors = Math.min(PRODUCT_VECTORS, vectorsOf(channels));
  const { lanes } = firstTile(program, TILES, { lanes: (each) => each.lanes, bytes: (each) => each.lanes * VECTOR_BYTES, what: "a product" });
  const outputs = Math.min(MOST_OUTPUTS, Math.ceil((Math.max(height, width) * vectors) / lanes));
  const part = (outputs * lanes) / vectors;
  const [yParts, xParts] = [Math.ceil(height / part), Math.ceil(width / part)];
  const productBytes = count * productVectors * VECTOR_BYTES;
  // Every part of an axis takes all of its sums.
  const sumsRead = count * vectorsOf(channels) * (yParts * xTiles * height + xParts * yTiles * width);
  program.dispatch({
    kernel: separableProductKernel({ height, width, channels, tileRows: tile.tileRows, tileColumns: tile.tileColumns, lanes, vectors, outputs, transposed }),
    groups: count * (yParts + xParts) * Math.ceil(vectorsOf(channels) / vectors),
    params: { firstHead: first, heads },
    uses: {
      sums: scratchUse(tensors.sums, count * work.sumVectors * VECTOR_BYTES, "reads", sumsRead * VECTOR_BYTES),
      spectrum: { buffer: tensors.spectrum, reads: Math.min(count, heads) * separableOffsets(spec) * FLOAT_BYTES },
      out: scratchUse(tensors.products, productBytes, "writes"),
    },
    flops: 2 * count * channels * (height ** 2 + width ** 2),
  });
  const productsRead = count * vectorsOf(channels) * (xTiles * height + yTiles * width);
  program.dispatch({
    kernel: separableSpreadKernel({ ...spreadTile(tile), storage }),
    groups: count * yTiles * xTiles * Math.ceil(vectorsOf(channels) / tile.vectors),
    params: { firstHead: first },
    uses: {
      products: scratchUse(tensors.products, productBytes, "reads", productsRead * VECTOR_BYTES),
      out: { buffer: tensors.out, slice: rows, writes: count * length * channels * ELEMENT_BYTES[storage] },
    },
    flops: count * length * channels,
  });
}

/** Without what only the sums depend on. */
function spreadTile({ batchRows: _, ...tile }: SeparableWork["tile"]): SeparableTile {
  return tile;
}

/** Adds the product of a separable bias with `v`, into `out`: sums, products of these, and their spread. @throws FastRpbError code `"limit"` */
export function addSeparable(
  program: ProgramBuilder,
  spec: Omit<ToeplitzSpec, "operation">,
  { v, spectrum, out }: NamedHandles<"v" | "spectrum" | "out">,
  scratch: number,
): void {
  const work = separableWork(program, spec);
  const headBytes = (work.sumVectors + work.productVectors) * VECTOR_BYTES;
  const held = heldHeads(work, headBytes, scratch);
  const sums = program.temporary("sums", held * work.sumVectors * VECTOR_BYTES);
  const products = program.temporary("products", held * work.productVectors * VECTOR_BYTES);
  eachHeadRange(work, headBytes, scratch, (range) => {
    addSums(work, range, v, sums);
    addProducts(work, range, { sums, spectrum, products, out }, false);
  });
}

/** Heads of the largest range. */
function heldHeads(work: SeparableWork, headBytes: number, scratch: number): number {
  let held = 0;
  eachHeadRange(work, headBytes, scratch, ({ count }) => {
    held = Math.max(held, count);
  });
  return held;
}

/**
 * Adds the gradients of the values, by the transposed product, and of the weights: of each offset the correlation of the sums of `dOut` with those
 * of `v`, over batch and channels. @throws FastRpbError code `"limit"`
 */
export function addSeparableGradient(
  program: ProgramBuilder,
  spec: Omit<ToeplitzSpec, "operation">,
  { v, spectrum, dOut, dv, dWeights }: NamedHandles<"v" | "spectrum" | "dOut" | "dv" | "dWeights">,
  scratch: number,
): void {
  const work = separableWork(program, spec);
  const { batch, heads } = spec;
  const offsets = separableOffsets(spec);
  const correlations = program.temporary("correlations", batch * heads * offsets * FLOAT_BYTES);
  const headBytes = (2 * work.sumVectors + work.productVectors) * VECTOR_BYTES;
  const rest = scratch - correlations.bytes;
  const held = heldHeads(work, headBytes, rest);
  const [sums, valueSums] = ["sums", "value sums"].map((name) => program.temporary(name, held * work.sumVectors * VECTOR_BYTES)) as [Handle, Handle];
  const products = program.temporary("products", held * work.productVectors * VECTOR_BYTES);
  eachHeadRange(work, headBytes, rest, (range) => {
    addSums(work, range, dOut, sums);
    addProducts(work, range, { sums, spectrum, products, out: dv }, true);
    addSums(work, range, v, valueSums);
    addCorrelate(work, range, { sums, valueSums, correlations });
  });
  const count = elementCount(weightsShape(spec));
  program.dispatch({
    kernel: separableWeightsKernel({ ...formOf(program, spec), gradient: true }),
    elements: count,
    params: { batch, batchStride: heads * offsets },
    uses: {
      correlations: { buffer: correlations, reads: correlations.bytes },
      out: { buffer: dWeights, writes: count * FLOAT_BYTES },
    },
    flops: batch * heads * offsets,
  });
}

function addCorrelate(
  { program, spec, tile, sumVectors: vectors }: SeparableWork,
  { first, count }: HeadRange,
  { sums, valueSums, correlations }: NamedHandles<"sums" | "valueSums" | "correlations">,
): void {
  const { height, width, channels, tileRows, tileColumns } = tile;
  const { lanes } = firstTile(program, TILES, {
    lanes: (each) => each.lanes,
    bytes: (each) => 3 * each.lanes * VECTOR_BYTES,
    what: "correlations of a separable bias",
  });
  const [yTiles, xTiles] = tileCounts(tile);
  const axes = [
    { size: height, pieces: xTiles },
    { size: width, pieces: yTiles },
  ] as const;
  const parts = axes.map(({ size }) => Math.ceil((2 * size - 1) / lanes));
  const bytes = count * vectors * VECTOR_BYTES;
  const read = (of: (axis: { readonly size: number }, part: number) => number) =>
    count * vectorsOf(channels) * VECTOR_BYTES * sum(axes, (axis) => axis.pieces * of(axis, Math.ceil((2 * axis.size - 1) / lanes)));
  const offsetBytes = separableOffsets(spec) * FLOAT_BYTES;
  const slice = sliceBytes(program.limits, first * offsetBytes, (first + count) * offsetBytes);
  program.dispatch({
    kernel: separableCorrelateKernel({ height, width, channels, tileRows, tileColumns, lanes }),
    groups: count * sum(parts, (part) => part),
    params: { firstHead: first },
    uses: {
      gradients: scratchUse(sums, bytes, "reads", read(({ size }, part) => part * size)),
      values: scratchUse(valueSums, bytes, "reads", read(({ size }) => windowReads(size, lanes))),
      correlations: { buffer: correlations, slice, writes: count * offsetBytes },
    },
    flops: 2 * count * channels * (height ** 2 + width ** 2),
  });
}

/** Positions that lie within an axis, of all windows that the workgroups of a correlation read of it. */
function windowReads(size: number, lanes: number): number {
  let reads = 0;
  for (let first = 0; first < 2 * size - 1; first += lanes) {
    for (let start = 0; start < size; start += lanes) {
      const begin = start + first - (size - 1);
      reads += Math.max(0, Math.min(size, begin + 2 * lanes) - Math.max(0, begin));
    }
  }
  return reads;
}

function formOf(program: ProgramBuilder, { grid, form }: RelativePositions) {
  const { reach, symmetric, separable } = form as WeightForm;
  return { lanes: elementwiseLanes(program.limits), sizes: grid!, reach, symmetric, shared: separable === "shared" };
}

/** Adds the weights of all offsets of a separable bias into `spectrum`. */
export function addSeparableWeights(
  program: ProgramBuilder,
  spec: RelativePositions & { readonly heads: number },
  { weights, spectrum }: NamedHandles<"weights" | "spectrum">,
): void {
  const elements = spec.heads * separableOffsets(spec);
  const bytes = elements * FLOAT_BYTES;
  program.dispatch({
    kernel: separableWeightsKernel({ ...formOf(program, spec), gradient: false }),
    elements,
    uses: { weights: { buffer: weights, reads: bytes }, spectrum: { buffer: spectrum, writes: bytes } },
    flops: 0,
  });
}
