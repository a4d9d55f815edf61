/** Spectra of FastRPB weights along one axis, of which a workgroup holds a half. */
import { toeplitzSpectrumKernel } from "../../../shaders/toeplitz/spectrum.ts";
import { fftFlops, MULTIPLY_FLOPS } from "../../math/flops.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";
import { addColumns, columnTransform } from "../fft/columns.ts";
import { type AxisPeriod, axisWithRoots } from "./layout.ts";
import type { SpectrumSpec } from "./spec.ts";
import type { SpectrumMethod } from "./spectrum-method.ts";

/** Circulant and skew-circulant. */
const HALVES = 2;

/** Transforms both halves of an axis of the weights in one dispatch. */
export function fusedSpectrum(program: ProgramBuilder, spec: SpectrumSpec, axis: AxisPeriod): SpectrumMethod {
  const { period } = axis;
  const transform = columnTransform({ lengths: [period], columns: HALVES * spec.heads, lanes: "points" }, program.limits)!;
  const { shape, twiddles, tables } = transform;
  const { roots } = axisWithRoots(tables, axis);
  const scaleOffset = tables.scale(1 / (HALVES * period));
  const kernel = toeplitzSpectrumKernel({ shape, twiddles, length: axis.size, roots, scaleOffset, causal: spec.causal });
  return {
    headBytes: 0,
    add({ first, count, weights, firstWeight, reads, spectrum }) {
      const columns = HALVES * count;
      addColumns(program, transform, columns, {
        kernel,
        params: { firstWeight, firstPoint: first * HALVES * period - spectrum.slice.offset / COMPLEX_BYTES },
        uses: { weights: { ...weights, reads: HALVES * reads }, spectrum: { ...spectrum, writes: columns * period * COMPLEX_BYTES } },
        flops: columns * (fftFlops(period) + (MULTIPLY_FLOPS / 2 + 2) * period),
      });
    },
  };
}
