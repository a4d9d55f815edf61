import { FastRpbError } from "../../spec/errors.ts";
import type { ToeplitzGradientSpec } from "../../spec/operations.ts";
import type { CpuOperation, FftOf } from "../operation.ts";

export function toeplitzGradientOperation(_spec: ToeplitzGradientSpec, _fftOf: FftOf): CpuOperation {
  throw new FastRpbError("unavailable", "toeplitz gradient: not supported on the CPU in this version.");
}
