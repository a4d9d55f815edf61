/**
 * The operations, as validated and frozen data. A spec holds shapes and choices, never a device or a buffer: the planner turns it
 * into GPU work, the CPU backend runs it as it stands.
 */
import type { AttentionGradientSpec, AttentionSpec } from "./attention/spec.ts";
import type { ComplexMultiplySpec } from "./complex-multiply/spec.ts";
import type { ConvolveSpec, KernelSpectrumSpec } from "./convolve/spec.ts";
import type { FftSpec } from "./fft/spec.ts";
import type { FindNonFiniteSpec } from "./find-non-finite/spec.ts";
import type { SpectrumSpec, ToeplitzGradientSpec, ToeplitzSpec } from "./toeplitz/spec.ts";

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

export * from "./attention/spec.ts";
export * from "./complex-multiply/spec.ts";
export * from "./convolve/spec.ts";
export * from "./fft/spec.ts";
export * from "./find-non-finite/spec.ts";
export * from "./toeplitz/spec.ts";
export * from "./toeplitz/options.ts";
