/** Plans for the spectrum of FastRPB weights: both halves of the matrix along each axis, transformed. */
import { toeplitzEmbedKernel } from "../../../shaders/toeplitz/embed.ts";
import { toeplitzExponentialsKernel } from "../../../shaders/toeplitz/exponentials.ts";
import { toeplitzGridEmbedKernel } from "../../../shaders/toeplitz/grid-embed.ts";
import { toeplitzSpectrumKernel } from "../../../shaders/toeplitz/spectrum.ts";
import { elementCount } from "../../core/check.ts";
import { fftFlops, MULTIPLY_FLOPS } from "../../math/flops.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { bindable, firstBytes, limitError, type Slice, sliceBytes } from "../../program/ranges.ts";
import { type Span, spansOf } from "../../program/slices.ts";
import { TableLayout } from "../../program/tables.ts";
import { COMPLEX_BYTES, FLOAT_BYTES } from "../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo } from "../../program/workgroups.ts";
import { addColumns, columnTransform } from "../fft/columns.ts";
import { lineEnd } from "../fft/line-ends.ts";
import { addFft } from "../fft/lines.ts";
import { addPass, type BufferEnd } from "../fft/pass.ts";
import { keptNumbers, keptUse } from "./kept.ts";
import { type AxisPeriod, axisWithRoots, branchPoints, headSpectrumBytes, toeplitzAxes, type ToeplitzLayout, toeplitzLayout } from "./layout.ts";
import { separablePlans } from "./separable-plans.ts";
import { isSeparable, offsetCount, type SpectrumSpec, weightLayout, weightsShape } from "./spec.ts";

/** Circulant and skew-circulant. */
const HALVES = 2;

/** The weights of some heads, or their exponentials. */
interface HeadWeights {
  /** Their range, but for what alignment adds, and the bytes of it that are read, if each weight that counts is read once. */
  readonly use: BindingUse & { readonly reads: number };
  /** Index of the first weight in that range. */
  readonly first: number;
}

/** A way to transform weights. */
interface SpectrumMethod {
  /** Bytes of scratch for a head. */
  readonly headBytes: number;
  /** Adds the spectra of some heads, with scratch for them and no more. */
  add(heads: Span, weights: HeadWeights, spectra: { readonly buffer: Handle; readonly slice: Slice }, scratch: number): void;
}

/** Adds the transforms of `weights`, or of their exponentials, into `spectrum`. @throws FastRpbError code `"limit"` */
export function planSpectrum(program: ProgramBuilder, spec: SpectrumSpec, tensors: NamedHandles<"weights" | "spectrum">, scratch: number): void {
  if (isSeparable(spec)) {
    separablePlans().addSeparableWeights(program, spec, tensors);
    return;
  }
  const { limits } = program;
  const layout = toeplitzLayout(program, spec);
  const headWeights = elementCount(weightsShape(spec).slice(1));
  const headBytes = headSpectrumBytes(spec, limits);
  const method =
    layout.kind === "fused" && layout.axes.length === 1 ? fusedSpectrum(program, spec, layout.axes[0]!) : longSpectrum(program, spec, layout);
  const bindableHeads = bindable(program, headBytes, spec.heads, "the spectrum of one head");
  const exponentialBytes = spec.exponential ? headWeights * FLOAT_BYTES : 0;
  const between = method.headBytes + exponentialBytes;
  const most = Math.min(bindableHeads, Math.floor(scratch / between)); // of none, any number
  if (most < 1) throw limitError(program, "workspaceBytes", between, "the transform of one head's weights", scratch);
  // Of a causal matrix half the weights are zero, whatever they hold.
  const counting = spec.causal ? spec.length : offsetCount(spec);
  for (const heads of spansOf(spec.heads, most)) {
    const { first, count } = heads;
    const headsSlice = (bytes: number) => sliceBytes(limits, first * bytes, (first + count) * bytes);
    const slice = headsSlice(headWeights * FLOAT_BYTES);
    const reads = count * counting * FLOAT_BYTES;
    let from: HeadWeights = { use: { buffer: tensors.weights, slice, reads }, first: first * headWeights - slice.offset / FLOAT_BYTES };
    if (spec.exponential) {
      const bytes = count * exponentialBytes;
      const exponentials = { buffer: program.temporary("exponentials", bytes), slice: firstBytes(bytes) };
      // The exponentials of a multiplicative bias, relative to the largest of each head.
      program.dispatch({
        kernel: toeplitzExponentialsKernel({ lanes: floorPowerOfTwo(elementwiseLanes(limits)), size: headWeights, count: counting }),
        groups: count,
        params: { firstWeight: from.first, firstHead: first },
        // Once for the maximum, once for the exponentials.
        uses: {
          weights: { ...from.use, reads: 2 * reads },
          out: { ...exponentials, writes: bytes },
          kept: { ...keptUse(limits, spec, tensors.spectrum, heads), writes: count * keptNumbers(spec) * FLOAT_BYTES },
        },
        flops: count * counting,
      });
      from = { use: { ...exponentials, reads }, first: 0 };
    }
    method.add(heads, from, { buffer: tensors.spectrum, slice: headsSlice(headBytes) }, scratch - count * exponentialBytes);
  }
}

/** Along one axis, of which a workgroup holds a half, both halves are transformed in one dispatch. */
function fusedSpectrum(program: ProgramBuilder, spec: SpectrumSpec, axis: AxisPeriod): SpectrumMethod {
  const { period } = axis;
  const transform = columnTransform({ lengths: [period], columns: HALVES * spec.heads, lanes: "points" }, program.limits)!;
  const { shape, twiddles, tables } = transform;
  const { roots } = axisWithRoots(tables, axis);
  const scaleOffset = tables.scale(1 / (HALVES * period));
  const weightsOf = weightLayout(spec);
  const kernel = toeplitzSpectrumKernel({ shape, twiddles, length: axis.size, roots, scaleOffset, weights: weightsOf, causal: spec.causal });
  return {
    headBytes: 0,
    add({ first, count }, weights, spectrum) {
      const columns = HALVES * count;
      addColumns(program, transform, columns, {
        kernel,
        params: { firstWeight: weights.first, firstPoint: first * HALVES * period - spectrum.slice.offset / COMPLEX_BYTES },
        uses: {
          weights: { ...weights.use, reads: HALVES * weights.use.reads },
          spectrum: { ...spectrum, writes: columns * period * COMPLEX_BYTES },
        },
        flops: columns * (fftFlops(period) + (MULTIPLY_FLOPS / 2 + 2) * period),
      });
    },
  };
}

/** On a grid, or where a workgroup does not hold a half, the halves of each axis are written into scratch and transformed from there. */
function longSpectrum(program: ProgramBuilder, spec: SpectrumSpec, layout: ToeplitzLayout): SpectrumMethod {
  const { limits } = program;
  const axes = toeplitzAxes(spec, limits);
  const branches = 2 ** axes.length;
  const points = branchPoints(axes);
  const headBytes = headSpectrumBytes(spec, limits);
  const buffersBetween = layout.kind === "sequence" ? 2 : 1; // embedded, and the columns of a four-step transform
  const tables = new TableLayout(limits);
  const common = { lanes: elementwiseLanes(limits), weights: weightLayout(spec), scaleOffset: tables.scale(1 / (branches * points)) };
  const [y, x] = axes.map((axis) => axisWithRoots(tables, axis));
  const kernel = x
    ? toeplitzGridEmbedKernel({ ...common, y: y!, x })
    : toeplitzEmbedKernel({ ...common, length: y!.size, period: y!.period, roots: y!.roots, causal: spec.causal });
  return {
    headBytes: headBytes * buffersBetween,
    add({ first, count }, weights, spectrum, scratch) {
      const bytes = count * headBytes;
      const embedded = { buffer: program.temporary("embedded", bytes), slice: firstBytes(bytes) };
      program.dispatch({
        kernel,
        elements: count * points,
        params: { firstWeight: weights.first },
        uses: { weights: weights.use, embedded: { ...embedded, writes: bytes }, tables: { buffer: program.table(tables.parts) } },
        flops: count * points * branches * (MULTIPLY_FLOPS / 2 + 2),
      });
      const [source, destination] = [
        { ...embedded, firstOuter: 0 },
        { ...spectrum, firstOuter: first * branches },
      ];
      addTransforms(program, layout, count * branches, source, destination, scratch - bytes);
    },
  };
}

/** Adds the transforms of the branches, in the order in which the product reads them. */
function addTransforms(
  program: ProgramBuilder,
  layout: ToeplitzLayout,
  outer: number,
  source: BufferEnd,
  destination: BufferEnd,
  scratch: number,
): void {
  const common = { inverse: false, scale: 1, order: "transposed" } as const;
  if (layout.kind === "sequence") {
    addFft(program, { ...common, layout: { outer, length: layout.a * layout.b, inner: 1 }, source, destination }, scratch);
  } else if (layout.kind === "grid") {
    const [y, x] = [layout.y.period, layout.x.period];
    addFft(program, { ...common, layout: { outer: outer * y, length: x, inner: 1 }, source, destination: source }, scratch);
    addFft(program, { ...common, layout: { outer, length: y, inner: x }, source, destination }, scratch);
  } else {
    const lengths = layout.axes.map((axis) => axis.period);
    // All axes at once: the result has them in reversed order, and stays so.
    const whole = { length: elementCount(lengths), inner: 1 };
    const end = (target: BufferEnd) => lineEnd(target, whole, { point: 1, digits: [] });
    addPass(program, { outer, digits: [], lengths, source: end(source), destination: end(destination) });
  }
}
