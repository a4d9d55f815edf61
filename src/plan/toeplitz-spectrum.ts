/** Plans for the spectrum of FastRPB weights: both halves of the matrix along each axis, transformed. */
import { toeplitzEmbedKernel } from "../../shaders/toeplitz-embed.ts";
import { toeplitzExponentialsKernel } from "../../shaders/toeplitz-exponentials.ts";
import { toeplitzGridEmbedKernel } from "../../shaders/toeplitz-grid-embed.ts";
import { elementCount } from "../spec/check.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import { type SpectrumSpec, weightsShape } from "../spec/operations.ts";
import { addPass, type BufferEnd, type PassEnd } from "./fft-pass.ts";
import { addFft } from "./fft-lines.ts";
import { type BindingUse, bindableUnits, limitError, type Program, ProgramBuilder, sliceBase, sliceBytes } from "./program.ts";
import { TableLayout } from "./tables.ts";
import { axisWithRoots, branchPoints, headSpectrumBytes, toeplitzAxes, type ToeplitzLayout, toeplitzLayout } from "./toeplitz-layout.ts";
import { FLOAT_BYTES, MULTIPLY_FLOPS } from "./units.ts";
import { elementwiseLanes, floorPowerOfTwo } from "./workgroups.ts";

export function planSpectrum(caller: string, spec: SpectrumSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `toeplitz spectrum ${(spec.grid ?? [spec.length]).join("×")}`, limits);
  const layout = toeplitzLayout(program, spec);
  const axes = toeplitzAxes(spec, limits);
  const branches = 2 ** axes.length;
  const points = branchPoints(axes);
  const headWeights = elementCount(weightsShape(spec).slice(1));
  const headBytes = headSpectrumBytes(spec, limits);
  const weights = program.buffer("weights", "input", spec.heads * headWeights * FLOAT_BYTES);
  const spectrum = program.buffer("spectrum", "output", spec.heads * headBytes);
  const buffersBetween = layout.kind === "sequence" ? 2 : 1; // embedded, and the columns of a two-pass transform
  const bindable = bindableUnits(limits, headBytes, spec.heads);
  if (bindable < 1) {
    throw limitError(caller, "maxStorageBufferBindingSize", headBytes, limits.maxStorageBufferBindingSize, "the spectrum of one head");
  }
  const between = headBytes * buffersBetween + (spec.exponential ? headWeights * FLOAT_BYTES : 0);
  const most = Math.min(bindable, Math.floor(limits.workspaceBytes / between));
  if (most < 1) throw limitError(caller, "workspaceBytes", between, limits.workspaceBytes, "the transform of one head's weights");
  const heads = Math.min(spec.heads, most);
  const embedded = program.buffer("embedded", "workspace", heads * headBytes);

  const exponentials = spec.exponential ? program.buffer("exponentials", "workspace", heads * headWeights * FLOAT_BYTES) : undefined;

  const tables = new TableLayout();
  const kernel = embedKernel(tables, spec, limits);
  // Of a causal matrix half the weights are zero, whatever they hold.
  const headReads = (spec.causal ? spec.length : headWeights) * FLOAT_BYTES;
  for (let first = 0; first < spec.heads; first += heads) {
    const count = Math.min(heads, spec.heads - first);
    const lanes = count * points;
    const weightSlice = sliceBytes(limits, first * headWeights * FLOAT_BYTES, (first + count) * headWeights * FLOAT_BYTES);
    const firstWeight = first * headWeights - sliceBase(kernel, "weights", weightSlice);
    const ofWeights: BindingUse = { buffer: weights, slice: weightSlice };
    const ofExponentials: BindingUse | undefined =
      exponentials === undefined ? undefined : { buffer: exponentials, slice: program.part(exponentials, count * headWeights * FLOAT_BYTES) };
    if (ofExponentials) addExponentials(program, spec, { from: ofWeights, to: ofExponentials, firstWeight, count });
    program.dispatch({
      kernel,
      groups: Math.ceil(lanes / kernel.workgroupSize[0]),
      params: { count: lanes, firstWeight: ofExponentials ? 0 : firstWeight },
      uses: {
        weights: { ...(ofExponentials ?? ofWeights), reads: count * headReads },
        embedded: { buffer: embedded, slice: program.part(embedded, count * headBytes), writes: count * headBytes },
        tables: { buffer: program.table(tables.parts) },
      },
      flops: lanes * branches * (MULTIPLY_FLOPS / 2 + 2),
    });
    addTransforms(program, layout, {
      outer: count * branches,
      source: { buffer: embedded, slice: program.part(embedded, count * headBytes), firstOuter: 0 },
      destination: { buffer: spectrum, slice: sliceBytes(limits, first * headBytes, (first + count) * headBytes), firstOuter: first * branches },
    });
  }
  return program.finish();
}

/** Exponentials of the weights of some heads, relative to the largest of each. */
function addExponentials(
  program: ProgramBuilder,
  spec: SpectrumSpec,
  { from, to, firstWeight, count }: { readonly from: BindingUse; readonly to: BindingUse; readonly firstWeight: number; readonly count: number },
): void {
  const size = elementCount(weightsShape(spec).slice(1));
  const counting = spec.causal ? spec.length : size;
  const kernel = toeplitzExponentialsKernel({ lanes: floorPowerOfTwo(elementwiseLanes(program.limits)), size, count: counting });
  program.dispatch({
    kernel,
    groups: count,
    params: { firstWeight },
    uses: {
      // Once for the maximum, once for the exponentials.
      weights: { ...from, reads: 2 * count * counting * FLOAT_BYTES },
      out: { ...to, writes: count * size * FLOAT_BYTES },
    },
    flops: count * counting,
  });
}

function embedKernel(tables: TableLayout, spec: SpectrumSpec, limits: PlannerLimits) {
  const lanes = elementwiseLanes(limits);
  const axes = toeplitzAxes(spec, limits);
  const scaleOffset = tables.scale(1 / (2 ** axes.length * branchPoints(axes)));
  const [first, second] = axes.map((axis) => axisWithRoots(tables, axis));
  if (second) return toeplitzGridEmbedKernel({ lanes, y: first!, x: second, scaleOffset });
  return toeplitzEmbedKernel({ lanes, length: first!.size, period: first!.period, roots: first!.roots, scaleOffset, causal: spec.causal });
}

/** The transforms of the branches, in the order in which the product reads them. */
function addTransforms(
  program: ProgramBuilder,
  layout: ToeplitzLayout,
  ends: { readonly outer: number; readonly source: BufferEnd; readonly destination: BufferEnd },
): void {
  const { outer, source, destination } = ends;
  const common = { inverse: false, scale: 1, order: "transposed" } as const;
  if (layout.kind === "sequence") {
    addFft(program, { ...common, layout: { outer, length: layout.a * layout.b, inner: 1 }, source, destination });
    return;
  }
  if (layout.kind === "grid") {
    const [y, x] = [layout.y.period, layout.x.period];
    addFft(program, { ...common, layout: { outer: outer * y, length: x, inner: 1 }, source, destination: source });
    addFft(program, { ...common, layout: { outer, length: y, inner: x }, source, destination });
    return;
  }
  const lengths = layout.axes.map((axis) => axis.period);
  const points = elementCount(lengths);
  // All axes at once: the result has them in reversed order, and stays so.
  const end = (target: BufferEnd): PassEnd => ({
    ...target,
    element: "complex",
    rows: points,
    inner: 1,
    points: [{ size: points, stride: 1 }],
    strides: [],
    outside: [],
    elements: points,
  });
  addPass(program, {
    outer,
    digits: [],
    lengths,
    source: end(source),
    destination: end(destination),
    swapInput: false,
    back: false,
    swapOutput: false,
    scale: 1,
  });
}
