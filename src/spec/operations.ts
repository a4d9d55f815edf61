/**
 * The operations, as validated and frozen data. A spec holds shapes and choices, never a device or a buffer: the planner turns it
 * into GPU work, the CPU backend runs it as it stands.
 */
import type { AttentionGradientSpec, AttentionSpec } from "./operations/attention.ts";
import type { ComplexMultiplySpec } from "./operations/complex-multiply.ts";
import type { ConvolveSpec, KernelSpectrumSpec } from "./operations/convolve.ts";
import type { FftSpec } from "./operations/fft.ts";
import type { FindNonFiniteSpec } from "./operations/find-non-finite.ts";
import type { SpectrumSpec, ToeplitzGradientSpec, ToeplitzSpec } from "./operations/toeplitz.ts";

export type OperationSpec =
  | FftSpec
  | ComplexMultiplySpec
  | ConvolveSpec
  | KernelSpectrumSpec
  | ToeplitzSpec
  | ToeplitzGradientSpec
  | SpectrumSpec
  | AttentionSpec
  | AttentionGradientSpec
  | FindNonFiniteSpec;

export * from "./operations/attention.ts";
export * from "./operations/complex-multiply.ts";
export * from "./operations/convolve.ts";
export * from "./operations/fft.ts";
export * from "./operations/find-non-finite.ts";
export * from "./operations/toeplitz.ts";
export * from "./operations/toeplitz-options.ts";
