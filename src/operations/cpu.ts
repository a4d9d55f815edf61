import type { Fft } from "../math/fft.ts";
import type { CpuStorage } from "../cpu/storage.ts";

/** A spec that is ready to run on the CPU. */
export interface CpuOperation {
  readonly label: string;
  /** Bytes of each tensor it binds, by name. */
  readonly bytes: Readonly<Record<string, number>>;
  /** Each input once plus each output once, counting complex numbers as two float32. */
  readonly bytesMinimum: number;
  readonly flops: number;
  run(binding: (name: string) => CpuStorage): void;
}

/** What operations write, of all that they bind. */
export const OUTPUTS: ReadonlySet<string> = new Set(["out", "spectrum", "found", "dq", "dk", "dv", "dBias", "dWeights"]);

/** A transform of that length; operations share it, and its scratch, as they run one after the other. */
export type FftOf = (length: number) => Fft;

export const FLOAT_BYTES = 4;
export const COMPLEX_BYTES = 8;

/** The usual count for a complex transform: 5 n log₂ n. */
export function fftFlops(length: number): number {
  return 5 * length * Math.log2(length);
}

/** Four multiplications and two additions. */
export const COMPLEX_MULTIPLY_FLOPS = 6;
