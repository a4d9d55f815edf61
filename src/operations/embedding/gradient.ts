/**
 * The gradient of an embedding's table, with the same bits every time: tokens are sorted by their indices, and each row of the table adds up its own.
 * Sorting costs some words a token; sums read each row of gradients once.
 */
import { digitCountsKernel } from "../../../shaders/nn/digit-counts.ts";
import { digitScatterKernel } from "../../../shaders/nn/digit-scatter.ts";
import { digitStartsKernel } from "../../../shaders/nn/digit-starts.ts";
import { embeddingGradientKernel } from "../../../shaders/nn/embedding-gradient.ts";
import { CHUNK } from "../../../shaders/nn/token-rows.ts";
import { tokenRunsKernel } from "../../../shaders/nn/token-runs.ts";
import { tokenSumsKernel } from "../../../shaders/nn/token-sums.ts";
import { vectorsOf } from "../../../shaders/wgsl/rows.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { bindable, sliceBytes } from "../../program/ranges.ts";
import { evenStep, type Span, spansOf } from "../../program/slices.ts";
import { FLOAT_BYTES, WORD_BYTES } from "../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo, mostLanes } from "../../program/workgroups.ts";
import type { EmbeddingGradientSpec } from "./spec.ts";

/** Bits of a digit, where a workgroup has the lanes for it. */
const MOST_BITS = 8;

/** How the indices of a table are sorted: in `passes`, each by a digit. */
interface Digits {
  readonly lanes: number;
  readonly bits: number;
  readonly passes: number;
}

function digitsFor({ limits }: ProgramBuilder, count: number): Digits {
  // A lane has an entry and a digit in workgroup memory.
  const lanes = floorPowerOfTwo(Math.min(2 ** MOST_BITS, mostLanes(limits), limits.maxComputeWorkgroupStorageSize / (2 * WORD_BYTES)));
  const all = Math.max(1, Math.ceil(Math.log2(count)));
  const passes = Math.ceil(all / Math.log2(lanes));
  return { lanes, bits: Math.ceil(all / passes), passes };
}

/** Some of the tokens: their indices, and how many there are. */
interface Tokens {
  readonly indices: BindingUse;
  readonly entries: number;
  /** Rows of the table. */
  readonly rows: number;
}

/** Adds the gradient of `table`; of as many tokens at a time as bindings and scratch hold. */
export function planEmbeddingGradient(
  program: ProgramBuilder,
  spec: EmbeddingGradientSpec,
  tensors: NamedHandles<"indices" | "dOut" | "dTable">,
  scratch: number,
): void {
  const { tokens, count, width } = spec;
  const rowBytes = width * FLOAT_BYTES;
  const digits = digitsFor(program, count);
  // Two orders, counts of digits by chunk, and sums of chunks and of chunks of them; where rows start, and what is rounded up.
  const tokenBytes = (2 + 2 ** digits.bits / digits.lanes) * WORD_BYTES + (rowBytes * (1 + 1 / CHUNK)) / CHUNK;
  const left = scratch - (count + 1 + 2 * 2 ** digits.bits) * WORD_BYTES - 2 * rowBytes;
  const most = Math.min(bindable(program, Math.max(rowBytes, WORD_BYTES), tokens, "one row of an embedding"), Math.floor(left / tokenBytes));
  for (const span of spansOf(tokens, evenStep(tokens, Math.max(most, digits.lanes)))) addSpan(program, spec, digits, span, tensors);
}

/** Adds what some tokens give, to what there is unless they are the first. */
function addSpan(
  program: ProgramBuilder,
  { count: rows, width }: EmbeddingGradientSpec,
  digits: Digits,
  { first, count: entries }: Span,
  { indices, dOut, dTable }: NamedHandles<"indices" | "dOut" | "dTable">,
): void {
  const rowBytes = width * FLOAT_BYTES;
  const vectors = vectorsOf(width);
  const lanes = elementwiseLanes(program.limits);
  // Kernels count tokens from the first of these.
  const part = (buffer: Handle, bytes: number): BindingUse => {
    const slice = sliceBytes(program.limits, first * bytes, (first + entries) * bytes);
    return { buffer, slice, start: slice.offset - first * bytes };
  };
  const tokens: Tokens = { indices: part(indices, WORD_BYTES), entries, rows };
  const gradients = part(dOut, rowBytes);
  const order = addOrder(program, digits, tokens);
  const runs = program.temporary("token runs", (rows + 1) * WORD_BYTES);
  const looks = (rows + 1) * Math.ceil(Math.log2(entries + 1)) * WORD_BYTES;
  program.dispatch({
    kernel: tokenRunsKernel({ lanes }),
    elements: rows + 1,
    params: { entries, rows },
    uses: {
      indices: { ...tokens.indices, reads: looks },
      order: { buffer: order, reads: looks },
      runs: { buffer: runs, writes: (rows + 1) * WORD_BYTES },
    },
    flops: 0,
  });

  // Tokens in whole chunks, in chunks of chunks, and other tokens, where all rows have as many.
  const inside = (size: number) => Math.floor(Math.max(0, entries - rows * (size - 1)) / size);
  const [insideParts, insideSums] = [inside(CHUNK), inside(CHUNK ** 2)];
  const outside = entries - insideParts * CHUNK;
  const parts = program.temporary("token sums", Math.max(1, Math.floor(entries / CHUNK)) * rowBytes);
  const sums = program.temporary("sums of token sums", Math.max(1, Math.floor(entries / CHUNK ** 2)) * rowBytes);
  for (const of of ["tokens", "sums"] as const) {
    const isFirst = of === "tokens";
    const chunks = Math.floor(entries / (isFirst ? CHUNK : CHUNK ** 2));
    if (chunks === 0) continue;
    const done = isFirst ? insideParts : insideSums;
    const ends = 2 * chunks * vectors * WORD_BYTES;
    program.dispatch({
      kernel: tokenSumsKernel({ lanes, width, of }),
      elements: chunks * vectors,
      params: { entries, rows },
      uses: {
        indices: { ...tokens.indices, reads: ends },
        order: { buffer: order, reads: ends + (isFirst ? done * CHUNK * vectors * WORD_BYTES : 0) },
        dOut: { ...gradients, reads: done * CHUNK * rowBytes },
        parts: { buffer: parts, reads: done * CHUNK * rowBytes },
        sums: { buffer: isFirst ? parts : sums, writes: done * rowBytes },
      },
      flops: done * CHUNK * width,
      mostFlops: chunks * CHUNK * width,
    });
  }

  const accumulate = first > 0;
  const touched = accumulate ? Math.min(rows, entries) : rows;
  program.dispatch({
    kernel: embeddingGradientKernel({ lanes, width, accumulate }),
    elements: rows * vectors,
    uses: {
      order: { buffer: order, reads: outside * vectors * WORD_BYTES },
      runs: { buffer: runs, reads: 2 * rows * vectors * WORD_BYTES },
      dOut: { ...gradients, reads: outside * rowBytes },
      parts: { buffer: parts, reads: (insideParts - insideSums * CHUNK) * rowBytes },
      sums: { buffer: sums, reads: insideSums * rowBytes },
      dTable: { buffer: dTable, reads: accumulate ? touched * rowBytes : 0, writes: touched * rowBytes },
    },
    flops: outside * width,
    mostFlops: entries * width,
  });
}

/** Adds the order of tokens by their indices, digit by digit from the lowest. */
function addOrder(program: ProgramBuilder, { lanes, bits, passes }: Digits, { indices, entries, rows }: Tokens): Handle {
  const chunks = Math.ceil(entries / lanes);
  const digits = 2 ** bits;
  const countBytes = digits * chunks * WORD_BYTES;
  const bytes = entries * WORD_BYTES;
  let order: Handle | undefined;
  for (let pass = 0; pass < passes; pass++) {
    const spec = { lanes, digits, first: order === undefined };
    const counts = program.temporary("counts of digits", countBytes);
    const totals = program.temporary("totals of digits", digits * WORD_BYTES);
    const ordered = program.temporary("token order", bytes);
    const params = { entries, rows, chunks, shift: pass * bits };
    const from = { indices: { ...indices, reads: bytes }, order: order && { buffer: order, reads: bytes } };
    program.dispatch({
      kernel: digitCountsKernel(spec),
      groups: chunks,
      params,
      uses: { ...from, counts: { buffer: counts, writes: countBytes } },
      flops: 0,
    });
    program.dispatch({
      kernel: digitStartsKernel({ lanes }),
      groups: digits,
      params: { chunks },
      uses: { counts: { buffer: counts, reads: countBytes, writes: countBytes }, totals: { buffer: totals, writes: digits * WORD_BYTES } },
      flops: 0,
    });
    program.dispatch({
      kernel: digitScatterKernel(spec),
      groups: chunks,
      params,
      uses: {
        ...from,
        starts: { buffer: counts, reads: bytes },
        totals: { buffer: totals, reads: chunks * digits * WORD_BYTES },
        ordered: { buffer: ordered, writes: bytes },
      },
      // Comparisons with the entries of a chunk before it.
      flops: (entries * lanes) / 2,
    });
    order = ordered;
  }
  return order!;
}
