/**
 * Linear attention with a multiplicative bias (Luo et al. 2021): every feature of the keys times every value, and times 1, is a channel of a
 * Toeplitz product with the exponentials of the bias; the features of the queries sum the channels up. In groups of features, so that the
 * channels fit into the scratch. Rows of which that leaves only rounding are summed directly (direct.ts).
 */
import type { ProgramBuilder } from "../../../program/builder.ts";
import { planToeplitz } from "../../toeplitz/plan.ts";
import { totalsWidth } from "../../../../shaders/attention/multiplicative/channels.ts";
import type { AttentionTensors } from "../bias.ts";
import { scratchRows, storedRows } from "../head-groups.ts";
import { type AttentionShape, isProjected } from "../spec.ts";
import { addContract, addExpand, addFeatures, channelBytes, channelProduct, featureScratch, multiplicativeWork } from "./channels.ts";
import { addFinish } from "./direct.ts";

/** Adds linear attention with a multiplicative bias, of whose exponentials `spectrum` is. */
export function planMultiplicativeAttention(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionTensors, scratch: number): void {
  const { valueDim, heads } = shape;
  const made = isProjected(shape);
  const work = multiplicativeWork(program, shape, tensors, scratch, 2, made ? 4 : 2);
  const { groups, featureGroups } = work;
  const scratchLeft = program.scratchLeft(scratch);
  const features = featureScratch(work);
  const { queries, keys, tolerances } = features;
  const largest = channelBytes(work, groups[0]!, featureGroups[0]!);
  const [channels, summed] = [program.temporary("channels", largest), program.temporary("summed", largest)];
  const totals = scratchRows(work, "totals", totalsWidth(valueDim));
  const rest = scratchLeft();
  const [values, out] = [storedRows(shape, tensors, "v"), storedRows(shape, tensors, "out")];
  for (const group of groups) {
    addFeatures(work, group, features);
    for (const [i, selected] of featureGroups.entries()) {
      addExpand(work, group, selected, { features: keys, values, out: channels });
      const product = { v: channels, spectrum: tensors.spectrum!, out: summed };
      planToeplitz(program, channelProduct(shape, group, selected), product, rest, { firstSpectrum: group.first % heads });
      addContract(work, group, selected, { features: queries, channels: summed, tolerances, out: totals, accumulate: i > 0 });
    }
    addFinish(work, group, features, totals, { out });
  }
}
