/**
 * The gradient of a Toeplitz product: that of the values is a product with the transposed matrices, that of the weights a correlation,
 * dWeights[h, o] = Σ_i dOut_i·v_{i+o} over batch and channels.
 */
import { toeplitzWeightGradientKernel } from "../../../shaders/toeplitz/weight-gradient.ts";
import type { AxisLayout } from "../../core/axes.ts";
import { elementCount } from "../../core/check.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { sliceBytes } from "../../program/ranges.ts";
import { forSlices, type Span, spansOf } from "../../program/slices.ts";
import { COMPLEX_BYTES, FLOAT_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { addFft } from "../fft/lines.ts";
import type { BufferEnd } from "../fft/pass.ts";
import { addCorrelations, addFusedCorrelations, type CorrelationSums, correlationPoints, makeCorrelation } from "./correlation.ts";
import { keptNumbers, keptUse } from "./kept.ts";
import type { ToeplitzTensors } from "./pairs.ts";
import { addOutside, productOf, type TensorStrides, type ToeplitzProduct } from "./outside.ts";
import { planToeplitz } from "./plan.ts";
import { separablePlans } from "./separable-plans.ts";
import { isSeparable, offsetCount, type ToeplitzSpec, weightsShape } from "./spec.ts";

/** Share of the workspace that the correlations of several heads may take; otherwise heads go one after the other. */
const MOST_HELD = 1 / 4;

/** The tensors of the gradient of a Toeplitz product. */
export type ToeplitzGradientTensors = Omit<ToeplitzTensors, "out"> & { readonly dOut: Handle; readonly dv: Handle; readonly dWeights: Handle };

/**
 * Adds the gradients of the values into `dv`, and of the weights of the spectrum into `dWeights`.
 *
 * @param strides where the tokens of `v`, `dOut` and `dv` lie, if not head by head
 * @throws FastRpbError code `"limit"`
 */
export function planToeplitzGradient(
  program: ProgramBuilder,
  spec: Omit<ToeplitzSpec, "operation">,
  { dOut, dv, dWeights, ...tensors }: ToeplitzGradientTensors,
  scratch: number,
  strides?: TensorStrides,
): void {
  const product = { ...productOf(spec), strides };
  if (isSeparable(spec)) {
    addOutside(program, product, dv);
    separablePlans().addSeparableGradient(program, product, { ...tensors, dOut, dv, dWeights }, scratch);
    return;
  }
  const { heads } = spec;
  const transposedProduct = (room: number) =>
    planToeplitz(program, { ...spec, operation: "toeplitz" }, { ...tensors, v: dOut, out: dv }, room, { transposed: true, strides });
  const correlated = { gradients: dOut, values: tensors.v, lengths: tensors.lengths };
  const fused = addFusedCorrelations(program, product, correlated, MOST_HELD * scratch);
  if (fused) {
    addWeightGradient(program, product, fused, { out: dWeights }, scratch - MOST_HELD * scratch);
    transposedProduct(scratch);
    return;
  }
  const headBytes = correlationPoints(product, program.limits) * COMPLEX_BYTES;
  const affordable = Math.min(MOST_HELD * scratch, program.limits.maxBufferSize);
  const held = heads * headBytes <= affordable ? heads : 1;
  const scratchLeft = program.scratchLeft(scratch);
  const correlation = makeCorrelation(program, [product], held, scratch);
  const rest = scratchLeft() - correlation.bytes;
  transposedProduct(rest);
  for (const range of spansOf(heads, held)) {
    addCorrelations(program, product, correlation, { ...correlated, firstSum: 0, accumulate: false, range }, rest);
    addWeightGradient(program, product, correlation, { out: dWeights, range }, rest);
  }
}

/**
 * Adds the transforms back of correlations, which it overwrites, and from them the gradient of the weights.
 *
 * @param buffers `kept`: the spectrum of a multiplicative bias, by whose exponentials the gradient is multiplied, and added to what is in `out`; `range`:
 *   the heads that are there, all when left out
 */
export function addWeightGradient(
  program: ProgramBuilder,
  spec: ToeplitzProduct,
  { axes, points, sums: correlations }: CorrelationSums,
  buffers: { readonly out: Handle; readonly kept?: Handle; readonly range?: Span },
  scratch: number,
): void {
  const { kept, range = { first: 0, count: spec.heads } } = buffers;
  const [y, x] = axes;
  const weights = elementCount(weightsShape(spec).slice(1));
  const weightBytes = weights * FLOAT_BYTES;
  const correlationBytes = points * COMPLEX_BYTES;
  const lanes = elementwiseLanes(program.limits);
  const { symmetric = false, reach = [], between } = spec.form ?? {};
  const [reachX = x.size, reachY = y.size] = [...reach].reverse();
  const kernel = toeplitzWeightGradientKernel({
    lanes,
    y: { ...y, reach: reachY },
    x: { ...x, reach: reachX },
    causal: spec.causal,
    symmetric,
    ...(between && { between }),
    factors: kept !== undefined,
  });
  const counting = spec.causal ? spec.length : offsetCount(spec);
  const each = [correlationBytes, weightBytes, ...(kept === undefined ? [] : [keptNumbers(spec) * FLOAT_BYTES])];
  forSlices(program, "the weights of one head", range.count, each, (first, count) => {
    /** So many bytes of each of these heads, of which the first is at `from` in the buffer and 0 for the kernel. */
    const headsUse = (buffer: Handle, bytes: number, from: number) => {
      const slice = sliceBytes(program.limits, from * bytes, (from + count) * bytes);
      return { buffer, slice, start: slice.offset - from * bytes };
    };
    const sums = headsUse(correlations, correlationBytes, first);
    const end = { buffer: correlations, slice: sums.slice };
    const addAlong = (layout: AxisLayout, firstOuter: number) => {
      const rows: BufferEnd = { ...end, firstOuter };
      addFft(program, { layout, source: rows, destination: rows, inverse: true, scale: 1 / layout.length, order: "natural" }, scratch);
    };
    if (y.period > 1) addAlong({ outer: count, length: y.period, inner: x.period }, first);
    if (x.period > 1) addAlong({ outer: count * y.period, length: x.period, inner: 1 }, first * y.period);
    const head = range.first + first;
    program.dispatch({
      kernel,
      elements: count * weights,
      uses: {
        correlations: { ...sums, reads: count * counting * COMPLEX_BYTES },
        out: { ...headsUse(buffers.out, weightBytes, head), reads: kept ? count * weightBytes : 0, writes: count * weightBytes },
        kept: kept && { ...keptUse(program.limits, spec, kept, { first: head, count }, head), reads: 2 * count * counting * FLOAT_BYTES },
      },
      flops: 0,
    });
  });
}
