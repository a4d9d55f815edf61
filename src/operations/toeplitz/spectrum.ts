/** Plans for the spectrum of FastRPB weights: both halves of the matrix along each axis, transformed. */
import type { Kernel } from "../../../shaders/wgsl/kernel.ts";
import { toeplitzSpectrumKernel } from "../../../shaders/toeplitz/spectrum.ts";
import { elementCount } from "../../core/check.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { type SpectrumSpec, weightsShape } from "../specs.ts";
import { need } from "../parts.ts";
import {
  type BindingUse,
  bindableUnits,
  limitError,
  type Program,
  ProgramBuilder,
  type Slice,
  sliceBase,
  sliceBytes,
} from "../../program/program.ts";
import { chooseShape, fftFlops } from "../fft/stockham.ts";
import { TableLayout } from "../../program/tables.ts";
import { type AxisPeriod, axisWithRoots, headSpectrumBytes, toeplitzLayout } from "./layout.ts";
import { COMPLEX_BYTES, FLOAT_BYTES, MULTIPLY_FLOPS } from "../../program/units.ts";

/** Circulant and skew-circulant. */
const HALVES = 2;

/** The weights of some heads, and the place of their spectra. */
export interface SpectrumHeads {
  readonly first: number;
  readonly count: number;
  /** The weights, or their exponentials: the range is that of these heads, but for what alignment adds. */
  readonly weights: BindingUse;
  /** Of the first head, among the elements of that range. */
  readonly firstWeight: number;
  /** Bytes that are read, if each weight that counts is read once. */
  readonly reads: number;
  readonly spectrum: Slice;
}

/** A way from weights to spectra. */
export interface SpectrumMethod {
  /** Workspace for a head. */
  readonly headBytes: number;
  /** Declares the workspace for so many heads. */
  declare(heads: number): void;
  add(heads: SpectrumHeads): void;
}

export function planSpectrum(caller: string, spec: SpectrumSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `toeplitz spectrum ${(spec.grid ?? [spec.length]).join("×")}`, limits);
  const layout = toeplitzLayout(program, spec);
  const headWeights = elementCount(weightsShape(spec).slice(1));
  const headBytes = headSpectrumBytes(spec, limits);
  const weights = program.buffer("weights", "input", spec.heads * headWeights * FLOAT_BYTES);
  program.buffer("spectrum", "output", spec.heads * headBytes);
  const method =
    layout.kind === "fused" && layout.axes.length === 1
      ? fusedSpectrum(program, spec, layout.axes[0]!)
      : need("longSpectrum").longSpectrum(program, spec, layout);
  const bindable = bindableUnits(limits, headBytes, spec.heads);
  if (bindable < 1) {
    throw limitError(caller, "maxStorageBufferBindingSize", headBytes, limits.maxStorageBufferBindingSize, "the spectrum of one head");
  }
  const between = method.headBytes + (spec.exponential ? headWeights * FLOAT_BYTES : 0);
  const most = Math.min(bindable, Math.floor(limits.workspaceBytes / between)); // of none, any number
  if (most < 1) throw limitError(caller, "workspaceBytes", between, limits.workspaceBytes, "the transform of one head's weights");
  const heads = Math.min(spec.heads, most);
  method.declare(heads);
  const exponentials = spec.exponential ? program.buffer("exponentials", "workspace", heads * headWeights * FLOAT_BYTES) : undefined;
  // Of a causal matrix half the weights are zero, whatever they hold.
  const counting = spec.causal ? spec.length : headWeights;
  for (let first = 0; first < spec.heads; first += heads) {
    const count = Math.min(heads, spec.heads - first);
    const slice = sliceBytes(limits, first * headWeights * FLOAT_BYTES, (first + count) * headWeights * FLOAT_BYTES);
    const ofWeights: BindingUse = { buffer: weights, slice };
    const firstWeight = first * headWeights - slice.offset / FLOAT_BYTES;
    const ofExponentials: BindingUse | undefined =
      exponentials === undefined ? undefined : { buffer: exponentials, slice: program.part(exponentials, count * headWeights * FLOAT_BYTES) };
    if (ofExponentials) need("exponentials").addExponentials(program, spec, { from: ofWeights, to: ofExponentials, firstWeight, count });
    method.add({
      first,
      count,
      weights: ofExponentials ?? ofWeights,
      firstWeight: ofExponentials ? 0 : firstWeight,
      reads: count * counting * FLOAT_BYTES,
      spectrum: sliceBytes(limits, first * headBytes, (first + count) * headBytes),
    });
  }
  return program.finish();
}

/** Both halves in registers: one dispatch. */
function fusedSpectrum(program: ProgramBuilder, spec: SpectrumSpec, axis: AxisPeriod): SpectrumMethod {
  const { period } = axis;
  const shape = chooseShape({ lengths: [period], columns: HALVES * spec.heads, lanes: "points" }, program.limits)!;
  const tables = new TableLayout(program.limits.choices);
  const kernel: Kernel = toeplitzSpectrumKernel({
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
    declare() {},
    add({ first, count, weights, firstWeight, reads, spectrum }) {
      const columns = HALVES * count;
      const bytes = columns * period * COMPLEX_BYTES;
      program.dispatch({
        kernel,
        groups: Math.ceil(columns / shape.columns),
        params: {
          columns,
          firstWeight,
          firstPoint: first * HALVES * period - sliceBase(kernel, "spectrum", spectrum),
        },
        uses: {
          weights: { ...weights, reads: HALVES * reads },
          spectrum: { buffer: "spectrum", slice: spectrum, writes: bytes },
          tables: { buffer: table },
        },
        flops: columns * (fftFlops(period) + (MULTIPLY_FLOPS / 2 + 2) * period),
      });
    },
  };
}
