import type { ClassRowsSpec } from "../../../shaders/nn/class-rows.ts";
import { crossEntropyGradientKernel, columnChunks } from "../../../shaders/nn/cross-entropy-gradient.ts";
import { crossEntropyKernel, crossEntropyVariables } from "../../../shaders/nn/cross-entropy.ts";
import { ELEMENT_BYTES, workgroupBytes } from "../../../shaders/wgsl/kernel.ts";
import { vectorElement } from "../../../shaders/wgsl/rows.ts";
import type { NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { bindable, sliceBytes } from "../../program/ranges.ts";
import { type Span, spansOf } from "../../program/slices.ts";
import { COMPLEX_BYTES, FLOAT_BYTES, sum, WORD_BYTES } from "../../program/units.ts";
import { ceilPowerOfTwo, firstTile } from "../../program/workgroups.ts";
import { addMean, mostSums, SUM_BYTES } from "./mean.ts";
import type { CrossEntropyGradientSpec, CrossEntropySpec } from "./spec.ts";

/** Numbers of a row that a lane has, where lanes suffice: four vectors. */
const LANE_NUMBERS = 16;
/** Operations on a logit: mostly its exponential. */
const FLOPS = 24;
/** Bytes of the statistics of a row. */
const STATISTICS_BYTES = COMPLEX_BYTES;

/** How lanes share rows of so many classes. */
function classRows(program: ProgramBuilder, { classes, labelSmoothing }: Pick<CrossEntropySpec, "classes" | "labelSmoothing">): ClassRowsSpec {
  const wanted = ceilPowerOfTwo(Math.ceil(classes / LANE_NUMBERS));
  const candidates = [256, 128, 64, 32, 16, 8, 4, 2, 1].filter((lanes) => lanes <= Math.max(128, wanted));
  const specOf = (lanes: number): ClassRowsSpec => ({ classes, labelSmoothing, lanes, rowLanes: Math.min(lanes, wanted) });
  const lanes = firstTile(program, candidates, {
    lanes: (lanes) => lanes,
    bytes: (lanes) => workgroupBytes(crossEntropyVariables(specOf(lanes))),
    what: "cross-entropy",
  });
  return specOf(lanes);
}

/** As many rows at a time as bindings hold. */
function rowSpans(program: ProgramBuilder, { rows, classes }: Pick<CrossEntropySpec, "rows" | "classes">): readonly Span[] {
  const bytes = Math.max(classes * FLOAT_BYTES, STATISTICS_BYTES);
  return spansOf(rows, bindable(program, bytes, rows, "one row of logits"));
}

/** The range of a tensor of rows that holds those of a span. */
function rowSlice({ limits }: ProgramBuilder, { first, count }: Span, bytes: number) {
  return sliceBytes(limits, first * bytes, (first + count) * bytes);
}

/** Adds the loss of each row, summed by workgroups, and the mean of all. */
export function planCrossEntropy(
  program: ProgramBuilder,
  spec: CrossEntropySpec,
  { logits, targets, loss, counts, statistics }: NamedHandles<"logits" | "targets" | "loss" | "counts" | "statistics">,
  scratch: number,
): void {
  const { rows, classes } = spec;
  const shape = classRows(program, spec);
  const kernel = crossEntropyKernel(shape);
  const atOnce = shape.lanes / shape.rowLanes;
  const spans = rowSpans(program, spec);
  const rounds = Math.ceil(rows / atOnce / mostSums(program.limits, scratch, spans.length));
  const groupsOf = ({ count }: Span) => Math.ceil(count / (atOnce * rounds));
  const all = sum(spans, groupsOf);
  const sums = program.temporary("loss sums", all * SUM_BYTES);
  let firstSum = 0;
  for (const span of spans) {
    const groups = groupsOf(span);
    program.dispatch({
      kernel,
      groups,
      params: { rows: span.count, firstRow: span.first, rounds, firstSum },
      uses: {
        logits: {
          buffer: logits,
          slice: rowSlice(program, span, classes * FLOAT_BYTES),
          // And once more that of the target.
          reads: span.count * (classes * FLOAT_BYTES + ELEMENT_BYTES[vectorElement(classes)]),
        },
        targets: { buffer: targets, slice: rowSlice(program, span, WORD_BYTES), reads: span.count * WORD_BYTES },
        statistics: { buffer: statistics, slice: rowSlice(program, span, STATISTICS_BYTES), writes: span.count * STATISTICS_BYTES },
        sums: { buffer: sums, writes: groups * SUM_BYTES },
      },
      flops: span.count * classes * FLOPS,
    });
    firstSum += groups;
  }
  addMean(program, sums, all, { loss, counts });
}

/** Adds the gradient of the logits. */
export function planCrossEntropyGradient(
  program: ProgramBuilder,
  spec: CrossEntropyGradientSpec,
  tensors: NamedHandles<"logits" | "targets" | "statistics" | "counts" | "dLoss" | "dLogits">,
): void {
  const { classes } = spec;
  const shape = classRows(program, spec);
  const kernel = crossEntropyGradientKernel(shape);
  const chunks = columnChunks(shape);
  for (const span of rowSpans(program, spec)) {
    const groups = Math.ceil(span.count / (shape.lanes / shape.rowLanes)) * chunks;
    const rowLanes = span.count * chunks * shape.rowLanes;
    const bytes = span.count * classes * FLOAT_BYTES;
    program.dispatch({
      kernel,
      groups,
      params: { rows: span.count, firstRow: span.first },
      uses: {
        logits: { buffer: tensors.logits, slice: rowSlice(program, span, classes * FLOAT_BYTES), reads: bytes },
        targets: { buffer: tensors.targets, slice: rowSlice(program, span, WORD_BYTES), reads: rowLanes * WORD_BYTES },
        statistics: { buffer: tensors.statistics, slice: rowSlice(program, span, STATISTICS_BYTES), reads: rowLanes * STATISTICS_BYTES },
        rowCounts: { buffer: tensors.counts, reads: WORD_BYTES },
        dLoss: { buffer: tensors.dLoss, reads: FLOAT_BYTES },
        dLogits: { buffer: tensors.dLogits, slice: rowSlice(program, span, classes * FLOAT_BYTES), writes: bytes },
      },
      flops: span.count * classes * FLOPS,
    });
  }
}
