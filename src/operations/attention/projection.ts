/** Features that are made of queries and keys first, as rows of scratch which what follows takes in their place: those of FAVOR+ and of DPFP. */
import { addDpfp } from "./dpfp.ts";
import { type GroupedWork, type HeadGroup, type HeadWork, type Rows, scratchRows } from "./head-groups.ts";
import { addRandomFeatures, type ProjectedTensor, type ProjectionRows } from "./random-features.ts";

/** Scratch for the features of a group's rows. */
export function projectedRows(work: GroupedWork, name: string): Rows {
  return scratchRows(work, name, work.shape.features);
}

/** Adds the features of a group's rows, or the gradient of rows from that of their features. */
export function addProjection(work: HeadWork, group: HeadGroup, of: ProjectedTensor, rows: ProjectionRows): void {
  const add = work.shape.featureMap === "dpfp" ? addDpfp : addRandomFeatures;
  add(work, group, of, rows);
}
