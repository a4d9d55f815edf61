/** What is measured, as data: one entry a row. A new kind of row needs an entry in kinds.ts too; a peer takes the kinds that it knows. */

interface AnyRow {
  /** As much data as fills a large GPU: measured where asked for, without the peers, by the GPU's own clock. */
  readonly large?: true;
  /** Its exact result takes the CPU minutes: the result is not compared. */
  readonly unchecked?: true;
  /** Too much work for a software adapter: left out there, as large rows are. */
  readonly hardware?: true;
}

export interface FftRow extends AnyRow {
  readonly kind: "fft";
  readonly name: string;
  readonly length: number;
  readonly batch: number;
}

export interface ToeplitzRow extends AnyRow {
  readonly kind: "toeplitz";
  readonly name: string;
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly channels: number;
}

export interface AttentionRow extends AnyRow {
  readonly kind: "attention";
  readonly name: string;
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly headDim: number;
  /** Linear attention with SIKF or elu + 1, or the original. */
  readonly similarity: "sikf" | "elu+1" | "softmax";
  readonly causal: boolean;
  readonly bias: "none" | "fastrpb";
}

/** The gradients of attention with respect to q, k, v and the weights. */
export interface GradientRow extends Omit<AttentionRow, "kind"> {
  readonly kind: "gradient";
}

/** A product of matrices, as a linear layer computes it: x [rows, size] times the transposed of a weight [size, size]. */
export interface MatmulRow extends AnyRow {
  readonly kind: "matmul";
  readonly name: string;
  readonly rows: number;
  readonly size: number;
}

/**
 * One step of training a transformer, in float32: the loss of a batch, its gradients, AdamW. Sequences are the tokens of a square grid, and a class is
 * told of each; attention is SIKF with the full two-dimensional FastRPB.
 */
export interface TrainingRow extends AnyRow {
  readonly kind: "training";
  readonly name: string;
  readonly batch: number;
  /** Rows and columns of the grid. */
  readonly side: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly feedForward: number;
  readonly tokens: number;
  readonly classes: number;
}

/** An FFT on the CPU; measured in Node. */
export interface CpuFftRow extends AnyRow {
  readonly kind: "cpu-fft";
  readonly name: string;
  readonly length: number;
}

export type Row = FftRow | ToeplitzRow | AttentionRow | GradientRow | MatmulRow | TrainingRow | CpuFftRow;

/** Tokens of softmax attention; each pair of them takes the CPU some time. */
const LONGEST_CHECKED = 4096;
const HEADS = 8;
const CHANNELS = 64;

/** Within a kind from the cheap to the dear: what a slow peer takes for one row tells whether to try the next (budget.ts). */
export const ROWS: readonly Row[] = [
  fft(256, 256),
  fft(1024, 64),
  fft(4096, 16),
  fft(65536, 1),
  fft(1048576, 1),
  ...[256, 1024, 4096, 16384, 65536].map((length) => toeplitz(length)),
  ...[1024, 4096, 16384].map((length) => attention(length, "none")),
  ...[1024, 4096, 16384].map((length) => attention(length, "fastrpb")),
  ...[1024, 4096, 16384].map((length) => causal(attention(length, "none"))),
  ...[1024, 4096, 16384].map((length) => causal(attention(length, "fastrpb"))),
  attention(32768, "fastrpb"),
  ...[1024, 2048, 4096, 8192, 16384].map((length) => softmax(attention(length, "none"))),
  // Where linear attention with its bias overtakes the original.
  ...[64, 128, 256, 512].flatMap((length) => [attention(length, "fastrpb"), softmax(attention(length, "none"))]),
  ...[4096, 32768].map((length) => backward(attention(length, "fastrpb"))),
  ...[4096, 32768].map((length) => backward(attention(length, "none"))),
  ...[4096, 32768].map((length) => backward(causal(attention(length, "none")))),
  backward(causal(attention(4096, "fastrpb"))),
  backward(elu(attention(4096, "fastrpb"))),
  ...[1024, 4096].map((length) => backward(softmax(attention(length, "none")))),
  elu(attention(4096, "fastrpb")),
  matmul(512),
  { ...matmul(2048), hardware: true },
  training({ side: 8, batch: 8, layers: 2, width: 32, feedForward: 64 }),
  { ...training({ side: 28, batch: 64, layers: 4, width: 128, feedForward: 256 }), hardware: true, unchecked: true },
  ...[1024, 4096, 65536, 1048576].map(cpuFft),
  // 128 MiB of input each, 384 MiB for attention.
  ...[256, 1000, 1024, 4096, 16384, 65536, 1048576].map((length) => large(fft(length, Math.floor(2 ** 24 / length)))),
  ...[256, 1024, 4096, 16384].map((length) => large(toeplitz(length, 65536 / length))),
  large({ ...toeplitz(1048576), heads: 1, channels: 32 }),
  ...(["none", "fastrpb"] as const).flatMap((bias) => [1024, 4096, 16384].map((length) => large(attention(length, bias, 65536 / length)))),
  ...[1024, 4096, 16384].map((length) => large(causal(attention(length, "none", 65536 / length)))),
  ...[1024, 4096].map((length) => large(softmax(attention(length, "none", 65536 / length)))),
  ...[32768, 65536, 131072].map((length) => large(softmax(attention(length, "none")))),
  large(backward(attention(4096, "fastrpb", 16))),
];

function large<R extends Row>(row: R): R {
  return { ...row, large: true };
}

function fft(length: number, batch: number): FftRow {
  return { kind: "fft", name: `fft ${length}×${batch}`, length, batch };
}

function toeplitz(length: number, batch = 1): ToeplitzRow {
  return { kind: "toeplitz", name: `toeplitz ${length}${inBatches(batch)}`, batch, heads: HEADS, length, channels: CHANNELS };
}

function attention(length: number, bias: "none" | "fastrpb", batch = 1): AttentionRow {
  const name = `sikf${bias === "none" ? "" : "+fastrpb"} ${length}${inBatches(batch)}`;
  return { kind: "attention", name, batch, heads: HEADS, length, headDim: CHANNELS, similarity: "sikf", causal: false, bias };
}

function causal(row: AttentionRow): AttentionRow {
  return { ...row, name: `causal ${row.name}`, causal: true };
}

function softmax(row: AttentionRow): AttentionRow {
  const name = row.name.replace("sikf", "softmax");
  return { ...row, name, similarity: "softmax", ...(row.length > LONGEST_CHECKED && { unchecked: true }) };
}

function elu(row: AttentionRow): AttentionRow {
  return { ...row, name: row.name.replace("sikf", "elu+1"), similarity: "elu+1" };
}

function backward(row: AttentionRow): GradientRow {
  const long = row.similarity === "softmax" && row.length > LONGEST_CHECKED / 2;
  return { ...row, kind: "gradient", name: `backward ${row.name}`, ...(long && { unchecked: true }) };
}

function matmul(size: number): MatmulRow {
  return { kind: "matmul", name: `matmul ${size}³`, rows: size, size };
}

function training(sizes: Pick<TrainingRow, "side" | "batch" | "layers" | "width" | "feedForward">): TrainingRow {
  const { side, batch } = sizes;
  return { kind: "training", name: `training ${side}×${side}, batch ${batch}`, ...sizes, heads: 4, tokens: 256, classes: 10 };
}

function cpuFft(length: number): CpuFftRow {
  return { kind: "cpu-fft", name: `cpu fft ${length}`, length };
}

function inBatches(batch: number): string {
  return batch === 1 ? "" : `, batch ${batch}`;
}

/** Rows by their whole name, or by parts of it, separated by commas; "x" stands for "×". Large ones by name, or where asked for. */
export function selectRows(filter: {
  readonly row?: string | undefined;
  readonly only?: string | undefined;
  readonly large: boolean;
}): readonly Row[] {
  const plain = (text: string) => text.toLowerCase().replaceAll("×", "x").replaceAll("³", "");
  return ROWS.filter(
    ({ name, large }) =>
      (filter.large || filter.row !== undefined || !large) &&
      (filter.row === undefined || plain(name) === plain(filter.row)) &&
      (filter.only === undefined ||
        plain(filter.only)
          .split(",")
          .some((part) => plain(name).includes(part))),
  );
}
