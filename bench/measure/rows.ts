/** What is measured, as data: one entry a row. A new kind of row needs an entry in kinds.ts too; a peer takes the kinds that it knows. */

export interface FftRow {
  readonly kind: "fft";
  readonly name: string;
  readonly length: number;
  readonly batch: number;
}

export interface ToeplitzRow {
  readonly kind: "toeplitz";
  readonly name: string;
  readonly heads: number;
  readonly length: number;
  readonly channels: number;
}

export interface AttentionRow {
  readonly kind: "attention";
  readonly name: string;
  readonly heads: number;
  readonly length: number;
  readonly headDim: number;
  readonly bias: "none" | "fastrpb";
}

/** An FFT on the CPU; measured in Node. */
export interface CpuFftRow {
  readonly kind: "cpu-fft";
  readonly name: string;
  readonly length: number;
}

export type Row = FftRow | ToeplitzRow | AttentionRow | CpuFftRow;

const HEADS = 8;
const CHANNELS = 64;

/** Within a kind from the cheap to the dear: what a slow peer takes for one row tells whether to try the next (budget.ts). */
export const ROWS: readonly Row[] = [
  fft(256, 256),
  fft(1024, 64),
  fft(4096, 16),
  fft(65536, 1),
  fft(1048576, 1),
  ...[256, 1024, 4096, 16384, 65536].map(toeplitz),
  ...[1024, 4096, 16384].map((length) => attention(length, "none")),
  ...[1024, 4096, 16384].map((length) => attention(length, "fastrpb")),
  ...[1024, 4096, 65536, 1048576].map(cpuFft),
];

function fft(length: number, batch: number): FftRow {
  return { kind: "fft", name: `fft ${length}×${batch}`, length, batch };
}

function toeplitz(length: number): ToeplitzRow {
  return { kind: "toeplitz", name: `toeplitz ${length}`, heads: HEADS, length, channels: CHANNELS };
}

function attention(length: number, bias: "none" | "fastrpb"): AttentionRow {
  return { kind: "attention", name: `sikf${bias === "none" ? "" : "+fastrpb"} ${length}`, heads: HEADS, length, headDim: CHANNELS, bias };
}

function cpuFft(length: number): CpuFftRow {
  return { kind: "cpu-fft", name: `cpu fft ${length}`, length };
}

/** Rows by their whole name, or by parts of it, separated by commas; "x" stands for "×". */
export function selectRows(filter: { readonly row?: string | undefined; readonly only?: string | undefined }): readonly Row[] {
  const plain = (text: string) => text.toLowerCase().replaceAll("×", "x");
  return ROWS.filter(
    ({ name }) =>
      (filter.row === undefined || plain(name) === plain(filter.row)) &&
      (filter.only === undefined ||
        plain(filter.only)
          .split(",")
          .some((part) => plain(name).includes(part))),
  );
}
