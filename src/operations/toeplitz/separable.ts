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
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import { vectorsOf } from "../../../shaders/wgsl/rows.ts";
import { elementCount } from "../../core/check.ts";
import type { Handle, NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { firstBytes, limitError, type Slice, sliceBytes } from "../../program/ranges.ts";
import { forSlices } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { ceilPowerOfTwo, elementwiseLanes, firstTile } from "../../program/workgroups.ts";
import { boundStrides, headNumbers, type ToeplitzProduct } from "./outside.ts";
import { type RelativePositions, separableOffsets, weightsShape } from "./spec.ts";

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

/** Lanes of a workgroup, best first, the rows that it sums at a time, and those of a tile, with the vectors that these take in workgroup memory. */
const TILES = [
  { lanes: 64, batchRows: 8, tileRows: 32, held: 512 },
  { lanes: 32, batchRows: 4, tileRows: 16, held: 128 },
  { lanes: 16, batchRows: 1, tileRows: 2, held: 48 },
] as const;

/** How a separable product is done on a device. */
interface SeparableWork {
  readonly program: ProgramBuilder;
  readonly spec: ToeplitzProduct;
  readonly tile: ReturnType<typeof chooseTile>;
  /** Vectors of a row of channels. */
  readonly row: number;
  /** Bytes of the sums of a head, and of its products. */
  readonly sumBytes: number;
  readonly productBytes: number;
}

/** Some heads of some batch rows, in order, with the range of each tensor [B·H, N, channels] that holds them. */
interface HeadRange {
  readonly first: number;
  readonly count: number;
  readonly rows: Slice | undefined;
}

function chooseTile(program: ProgramBuilder, { grid, channels, margin }: ToeplitzProduct) {
  const [height, width] = grid!;
  const { lanes, batchRows, tileRows } = firstTile(program, TILES, {
    lanes: (tile) => tile.lanes,
    bytes: (tile) => tile.held * VECTOR_BYTES,
    what: "the sums of a separable bias",
  });
  const vectors = Math.min(SUM_VECTORS, ceilPowerOfTwo(vectorsOf(channels)));
  const laneColumns = Math.min(MOST_LANE_COLUMNS, Math.max(1, (TILE_COLUMNS * vectors) / lanes));
  const tileColumns = (laneColumns * lanes) / vectors;
  const [yTiles, xTiles] = [Math.ceil(height / tileRows), Math.ceil(width / tileColumns)];
  return { height, width, channels, margin, lanes, vectors, batchRows, tileRows, laneColumns, tileColumns, yTiles, xTiles };
}

function separableWork(program: ProgramBuilder, spec: ToeplitzProduct): SeparableWork {
  const tile = chooseTile(program, spec);
  const row = vectorsOf(spec.channels);
  const { height, width, yTiles, xTiles } = tile;
  const bytes = (vectors: number) => row * vectors * VECTOR_BYTES;
  return { program, spec, tile, row, sumBytes: bytes(xTiles * height + yTiles * width), productBytes: bytes(height + width) };
}

/** Runs `add` for as many heads at a time as bindings and scratch allow, with so many bytes of scratch for each. */
function eachHeadRange({ program, spec }: SeparableWork, headBytes: number, scratch: number, add: (range: HeadRange) => void): void {
  const { batch, heads, storage } = spec;
  const most = () => {
    if (scratch < headBytes) throw limitError(program, "workspaceBytes", headBytes, "the sums of one head", scratch);
    return Math.floor(Math.min(scratch, program.limits.maxBufferSize) / headBytes);
  };
  const bytes = [spec.strides ? 0 : headNumbers(spec) * ELEMENT_BYTES[storage], headBytes];
  forSlices(
    program,
    "one head of v",
    batch * heads,
    bytes,
    (first, count, [rows]) => add({ first, count, rows: spec.strides ? undefined : rows }),
    most,
  );
}

/** All of a piece of scratch as a binding. */
function whole(buffer: Handle, moves: "reads" | "writes", bytes = buffer.bytes) {
  return { buffer, slice: firstBytes(buffer.bytes), [moves]: bytes };
}

/** Bytes of the values of some heads. */
function valueBytes({ length, channels, storage }: SeparableWork["spec"], count: number): number {
  return count * length * channels * ELEMENT_BYTES[storage];
}

/** Adds the sums of the rows and columns of a range of heads. */
function addSums({ program, spec, tile, row, sumBytes }: SeparableWork, { first, count, rows }: HeadRange, from: Handle): Handle {
  const sums = program.temporary("sums", count * sumBytes);
  program.dispatch({
    kernel: separableSumsKernel({ ...tile, storage: spec.storage, strides: boundStrides(spec, { values: from }) }),
    groups: count * tile.yTiles * tile.xTiles * Math.ceil(row / tile.vectors),
    params: { firstHead: first },
    uses: { values: { buffer: from, slice: rows, reads: valueBytes(spec, count) }, sums: whole(sums, "writes") },
    flops: 2 * count * spec.length * spec.channels,
  });
  return sums;
}

/** Adds the products of the sums of a range of heads, and out of these the result. */
function addProducts(
  { program, spec, tile, row, productBytes }: SeparableWork,
  { first, count, rows }: HeadRange,
  { sums, spectrum, out }: NamedHandles<"sums" | "spectrum" | "out">,
  transposed: boolean,
): void {
  const { heads, length, channels } = spec;
  const { height, width, lanes, yTiles, xTiles } = tile;
  const vectors = Math.min(PRODUCT_VECTORS, row);
  const outputs = Math.min(MOST_OUTPUTS, Math.ceil((Math.max(height, width) * vectors) / lanes));
  const parts = (size: number) => Math.ceil((size * vectors) / (outputs * lanes));
  const [yParts, xParts] = [parts(height), parts(width)];
  const products = program.temporary("products", count * productBytes);
  const rowBytes = count * row * VECTOR_BYTES;
  program.dispatch({
    kernel: separableProductKernel({ ...tile, vectors, outputs, transposed }),
    groups: count * (yParts + xParts) * Math.ceil(row / vectors),
    params: { firstHead: first, heads },
    uses: {
      // Every part of an axis takes all of its sums.
      sums: whole(sums, "reads", rowBytes * (yParts * xTiles * height + xParts * yTiles * width)),
      spectrum: { buffer: spectrum, reads: Math.min(count, heads) * separableOffsets(spec) * FLOAT_BYTES },
      out: whole(products, "writes"),
    },
    flops: 2 * count * channels * (height ** 2 + width ** 2),
  });
  program.dispatch({
    kernel: separableSpreadKernel({ ...tile, storage: spec.storage, strides: boundStrides(spec, { out }) }),
    groups: count * yTiles * xTiles * Math.ceil(row / tile.vectors),
    params: { firstHead: first },
    uses: {
      products: whole(products, "reads", rowBytes * (xTiles * height + yTiles * width)),
      out: { buffer: out, slice: rows, writes: valueBytes(spec, count) },
    },
    flops: count * length * channels,
  });
}

/** Adds the product of a separable bias with `v`, into `out`: sums, products of these, and their spread. @throws FastRpbError code `"limit"` */
export function addSeparable(
  program: ProgramBuilder,
  spec: ToeplitzProduct,
  { v, spectrum, out }: NamedHandles<"v" | "spectrum" | "out">,
  scratch: number,
): void {
  const work = separableWork(program, spec);
  eachHeadRange(work, work.sumBytes + work.productBytes, scratch, (range) => {
    addProducts(work, range, { sums: addSums(work, range, v), spectrum, out }, false);
  });
}

/**
 * Adds the gradients of the values, by the transposed product, and of the weights: of each offset the correlation of the sums of `dOut` with those
 * of `v`, over batch and channels. @throws FastRpbError code `"limit"`
 */
export function addSeparableGradient(
  program: ProgramBuilder,
  spec: ToeplitzProduct,
  { v, spectrum, dOut, dv, dWeights }: NamedHandles<"v" | "spectrum" | "dOut" | "dv" | "dWeights">,
  scratch: number,
): void {
  const work = separableWork(program, spec);
  const { batch, heads } = spec;
  const offsets = separableOffsets(spec);
  const correlations = program.temporary("correlations", batch * heads * offsets * FLOAT_BYTES);
  eachHeadRange(work, 2 * work.sumBytes + work.productBytes, scratch - correlations.bytes, (range) => {
    const sums = addSums(work, range, dOut);
    addProducts(work, range, { sums, spectrum, out: dv }, true);
    addCorrelate(work, range, { gradients: sums, values: addSums(work, range, v), correlations });
  });
  const count = elementCount(weightsShape(spec));
  program.dispatch({
    kernel: separableWeightsKernel({ ...weightsOf(program, spec), gradient: true }),
    elements: count,
    params: { batch, batchStride: heads * offsets },
    uses: { correlations: whole(correlations, "reads"), out: { buffer: dWeights, writes: count * FLOAT_BYTES } },
    flops: batch * heads * offsets,
  });
}

function addCorrelate(
  { program, spec, tile, row }: SeparableWork,
  { first, count }: HeadRange,
  { gradients, values, correlations }: NamedHandles<"gradients" | "values" | "correlations">,
): void {
  const { height, width, lanes, yTiles, xTiles } = tile;
  const parts = (size: number) => Math.ceil((2 * size - 1) / lanes);
  const reads = (positions: (size: number) => number) => count * row * VECTOR_BYTES * (xTiles * positions(height) + yTiles * positions(width));
  const offsetBytes = separableOffsets(spec) * FLOAT_BYTES;
  program.dispatch({
    kernel: separableCorrelateKernel(tile),
    groups: count * (parts(height) + parts(width)),
    params: { firstHead: first },
    uses: {
      gradients: whole(
        gradients,
        "reads",
        reads((size) => parts(size) * size),
      ),
      values: whole(
        values,
        "reads",
        reads((size) => windowReads(size, lanes)),
      ),
      correlations: {
        buffer: correlations,
        slice: sliceBytes(program.limits, first * offsetBytes, (first + count) * offsetBytes),
        writes: count * offsetBytes,
      },
    },
    flops: 2 * count * spec.channels * (height ** 2 + width ** 2),
  });
}

/** Positions that lie within an axis, of all windows that the workgroups of a correlation read of it. */
function windowReads(size: number, lanes: number): number {
  const [parts, runs] = [Math.ceil((2 * size - 1) / lanes), Math.ceil(size / lanes)];
  let reads = 0;
  // The windows of part p and run i begin at the same place for all p + i.
  for (let step = 0; step < parts + runs - 1; step++) {
    const begin = step * lanes - size + 1;
    const windows = Math.min(step, parts - 1) - Math.max(0, step - runs + 1) + 1;
    reads += windows * Math.max(0, Math.min(size, begin + 2 * lanes) - Math.max(0, begin));
  }
  return reads;
}

function weightsOf(program: ProgramBuilder, { grid, form }: RelativePositions) {
  const { reach, symmetric, separable } = form!;
  return { lanes: elementwiseLanes(program.limits), sizes: grid!, reach, symmetric, shared: separable === "shared" };
}

/** Adds the weights of all offsets of a separable bias into `spectrum`. */
export function addSeparableWeights(
  program: ProgramBuilder,
  spec: RelativePositions & { readonly heads: number },
  { weights, spectrum }: NamedHandles<"weights" | "spectrum">,
): void {
  program.dispatch({
    kernel: separableWeightsKernel({ ...weightsOf(program, spec), gradient: false }),
    elements: spectrum.bytes / FLOAT_BYTES,
    uses: { weights: { buffer: weights, reads: spectrum.bytes }, spectrum: { buffer: spectrum, writes: spectrum.bytes } },
    flops: 0,
  });
}
