/** Spectra of FastRPB weights whose transforms do not fit into a workgroup, or are on a grid: the halves wait in memory. */
import { toeplitzEmbedKernel } from "../../../shaders/toeplitz/embed.ts";
import { toeplitzGridEmbedKernel } from "../../../shaders/toeplitz/grid-embed.ts";
import { elementCount } from "../../core/check.ts";
import { MULTIPLY_FLOPS } from "../../math/flops.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { firstBytes } from "../../program/ranges.ts";
import { TableLayout } from "../../program/tables.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { lineEnd } from "../fft/line-ends.ts";
import { addFft } from "../fft/lines.ts";
import { addPass, type BufferEnd } from "../fft/pass.ts";
import { axisWithRoots, branchPoints, headSpectrumBytes, toeplitzAxes, type ToeplitzLayout } from "./layout.ts";
import type { SpectrumSpec } from "./spec.ts";
import type { SpectrumMethod } from "./spectrum-method.ts";

/** Writes both halves of each axis of the weights into scratch, and transforms them from there. */
export function longSpectrum(program: ProgramBuilder, spec: SpectrumSpec, layout: ToeplitzLayout): SpectrumMethod {
  const { limits } = program;
  const axes = toeplitzAxes(spec, limits);
  const branches = 2 ** axes.length;
  const points = branchPoints(axes);
  const headBytes = headSpectrumBytes(spec, limits);
  const buffersBetween = layout.kind === "sequence" ? 2 : 1; // embedded, and the columns of a two-pass transform
  const tables = new TableLayout(limits.choices);
  const kernel = embedKernel(tables, spec, program);
  return {
    headBytes: headBytes * buffersBetween,
    add({ first, count, weights, firstWeight, reads, spectrum }, scratch) {
      const lanes = count * points;
      const bytes = count * headBytes;
      const embedded = { buffer: program.temporary("embedded", bytes), slice: firstBytes(bytes) };
      program.dispatch({
        kernel,
        groups: Math.ceil(lanes / kernel.workgroupSize[0]),
        params: { count: lanes, firstWeight },
        uses: {
          weights: { ...weights, reads },
          embedded: { ...embedded, writes: bytes },
          tables: { buffer: program.table(tables.parts) },
        },
        flops: lanes * branches * (MULTIPLY_FLOPS / 2 + 2),
      });
      const ends = { outer: count * branches, source: { ...embedded, firstOuter: 0 }, destination: { ...spectrum, firstOuter: first * branches } };
      addTransforms(program, layout, ends, scratch - bytes);
    },
  };
}

function embedKernel(tables: TableLayout, spec: SpectrumSpec, { limits }: ProgramBuilder) {
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
  scratch: number,
): void {
  const { outer, source, destination } = ends;
  const common = { inverse: false, scale: 1, order: "transposed" } as const;
  if (layout.kind === "sequence") {
    addFft(program, { ...common, layout: { outer, length: layout.a * layout.b, inner: 1 }, source, destination }, scratch);
    return;
  }
  if (layout.kind === "grid") {
    const [y, x] = [layout.y.period, layout.x.period];
    addFft(program, { ...common, layout: { outer: outer * y, length: x, inner: 1 }, source, destination: source }, scratch);
    addFft(program, { ...common, layout: { outer, length: y, inner: x }, source, destination }, scratch);
    return;
  }
  const lengths = layout.axes.map((axis) => axis.period);
  // All axes at once: the result has them in reversed order, and stays so.
  const whole = { length: elementCount(lengths), inner: 1 };
  const end = (target: BufferEnd) => lineEnd(target, whole, { point: 1, digits: [] });
  addPass(program, { outer, digits: [], lengths, source: end(source), destination: end(destination) });
}
