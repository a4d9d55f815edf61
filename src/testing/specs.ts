/** All specs and their makers, for the tests. */
import type { AttentionGradientSpec, AttentionSpec } from "../operations/attention/spec.ts";
import type { ComplexMultiplySpec } from "../operations/complex-multiply/spec.ts";
import type { ConvolveSpec, KernelSpectrumSpec } from "../operations/convolve/spec.ts";
import type { FftSpec } from "../operations/fft/spec.ts";
import type { FindNonFiniteSpec } from "../operations/find-non-finite/spec.ts";
import type { SpectrumSpec, ToeplitzGradientSpec, ToeplitzSpec } from "../operations/toeplitz/spec.ts";

export type AnySpec =
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

export * from "../operations/attention/spec.ts";
export * from "../operations/complex-multiply/spec.ts";
export * from "../operations/convolve/spec.ts";
export * from "../operations/fft/spec.ts";
export * from "../operations/find-non-finite/spec.ts";
export * from "../operations/toeplitz/spec.ts";
