/** Plans for FastRPB: the Toeplitz product, fused in one dispatch, in three passes (toeplitz/passes.ts), or by rows and columns (toeplitz/separable.ts). */
import { toeplitzFusedKernel } from "../../../shaders/toeplitz/fused.ts";
import { fftFlops, MULTIPLY_FLOPS } from "../../math/flops.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { addColumns, columnTransform } from "../fft/columns.ts";
import { lengthsUse } from "../lengths.ts";
import { axisWithRoots, branchPoints, headSpectrumBytes, pairGroups, toeplitzLayout } from "./layout.ts";
import { addOutside, boundStrides, productOf } from "./outside.ts";
import { lanesFor, rowsUse, spectrumUse, type ToeplitzTensors, type ToeplitzVariant } from "./pairs.ts";
import { addToeplitzPasses } from "./passes.ts";
import { separablePlans } from "./separable-plans.ts";
import { isSeparable, type ToeplitzSpec } from "./spec.ts";

/** Adds the products of the matrices that `spectrum` is of with `v`, into `out`. @throws FastRpbError code `"limit"` */
export function planToeplitz(
  program: ProgramBuilder,
  given: ToeplitzSpec,
  tensors: ToeplitzTensors,
  scratch: number,
  variant: ToeplitzVariant = {},
): void {
  const spec = { ...productOf(given), strides: variant.strides };
  addOutside(program, spec, tensors.out);
  if (isSeparable(spec)) {
    separablePlans().addSeparable(program, spec, tensors, scratch);
    return;
  }
  const layout = toeplitzLayout(program, spec);
  if (layout.kind !== "fused") {
    addToeplitzPasses(program, spec, layout, tensors, scratch, variant);
    return;
  }
  const { axes } = layout;
  const pairs = Math.ceil(spec.channels / 2);
  const lengths = axes.map((axis) => axis.period);
  const columns = spec.batch * spec.heads * pairs;
  const transform = columnTransform({ lengths, columns, lanes: lanesFor(pairs), fused: true }, program.limits)!;
  const { shape, twiddles, tables } = transform;
  const { channels, margin, variableLengths, storage } = spec;
  const { transposed = false } = variant;
  const axesWithRoots = axes.map((axis) => axisWithRoots(tables, axis));
  const strides = boundStrides(spec, { values: tensors.v, out: tensors.out });
  const kernel = toeplitzFusedKernel({ shape, twiddles, axes: axesWithRoots, channels, margin, transposed, variableLengths, storage, strides });
  const points = branchPoints(axes);
  const spectrumHead = headSpectrumBytes(spec, program.limits);
  for (const group of pairGroups(program, spec, Infinity, variant.firstSpectrum)) {
    const count = group.heads * group.pairs;
    addColumns(program, transform, count, {
      kernel,
      params: { firstColumn: group.firstHead * pairs, heads: spec.heads },
      uses: {
        values: rowsUse(spec, group, tensors.v, "reads"),
        spectrum: spectrumUse(spec, group, tensors.spectrum, variant, spectrumHead),
        out: rowsUse(spec, group, tensors.out, "writes"),
        lengths: lengthsUse(spec, tensors.lengths),
      },
      flops: count * 2 ** axes.length * (2 * fftFlops(points) + (1 + 2 * axes.length) * MULTIPLY_FLOPS * points),
    });
  }
}
