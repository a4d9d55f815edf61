import { FastRpbError } from "../../spec/errors.ts";
import type { AttentionGradientSpec } from "../../spec/operations.ts";
import type { CpuOperation, FftOf } from "../operation.ts";

export function attentionGradientOperation(_spec: AttentionGradientSpec, _fftOf: FftOf): CpuOperation {
  throw new FastRpbError("unavailable", "attention gradient: not supported on the CPU in this version.");
}
