/** Spectra of FastRPB weights along one axis, of which a workgroup holds a half. */
import { toeplitzSpectrumKernel } from "../../../shaders/toeplitz/spectrum.ts";
import { fftFlops, MULTIPLY_FLOPS } from "../../math/flops.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { sliceBase } from "../../program/ranges.ts";
import { TableLayout } from "../../program/tables.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";
import { chooseShape } from "../fft/stockham.ts";
import { type AxisPeriod, axisWithRoots } from "./layout.ts";
import type { SpectrumSpec } from "./spec.ts";
import type { SpectrumMethod } from "./spectrum-method.ts";

/** Circulant and skew-circulant. */
const HALVES = 2;

/** Both halves in registers: one dispatch. */
export function fusedSpectrum(program: ProgramBuilder, spec: SpectrumSpec, axis: AxisPeriod): SpectrumMethod {
  const { period } = axis;
  const shape = chooseShape({ lengths: [period], columns: HALVES * spec.heads, lanes: "points" }, program.limits)!;
  const tables = new TableLayout(program.limits.choices);
  const kernel = toeplitzSpectrumKernel({
    shape,
    twiddles: tables.twiddles(shape.axes),
    length: axis.size,
    roots: axisWithRoots(tables, axis).roots,
    scaleOffset: tables.scale(1 / (HALVES * period)),
    causal: spec.causal,
  });
  const table = program.table(tables.parts);
  return {
    headBytes: 0,
    add({ first, count, weights, firstWeight, reads, spectrum }) {
      const columns = HALVES * count;
      const bytes = columns * period * COMPLEX_BYTES;
      program.dispatch({
        kernel,
        groups: Math.ceil(columns / shape.columns),
        params: {
          columns,
          firstWeight,
          firstPoint: first * HALVES * period - sliceBase(kernel, "spectrum", spectrum.slice),
        },
        uses: {
          weights: { ...weights, reads: HALVES * reads },
          spectrum: { ...spectrum, writes: bytes },
          tables: { buffer: table },
        },
        flops: columns * (fftFlops(period) + (MULTIPLY_FLOPS / 2 + 2) * period),
      });
    },
  };
}
