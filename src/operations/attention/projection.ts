/** Features that are made of queries and keys first, as rows of scratch which what follows takes in their place: those of FAVOR+ and of DPFP. */
import type { ProjectionKernelSpec } from "../../../shaders/attention/random-features.ts";
import { type GroupedWork, type HeadGroup, type HeadWork, type Rows, scratchRows } from "./head-groups.ts";
import type { FeatureMap } from "./spec.ts";

/** The tensor that the rows of a projection are of. */
export type ProjectedTensor = ProjectionKernelSpec["of"];

/** From rows to their features, or from the gradient of the features of `rows` to that of the rows. */
export interface ProjectionRows {
  readonly from: Rows;
  readonly to: Rows;
  /** Of gradients, the queries or keys themselves. */
  readonly rows?: Rows;
}

/** Adds the features of a group's rows, or the gradient of rows from that of their features. */
type AddProjection = (work: HeadWork, group: HeadGroup, of: ProjectedTensor, rows: ProjectionRows) => void;

/** What has been loaded, by feature map. */
const projections = new Map<FeatureMap | undefined, AddProjection>();

/** Loads what {@link addProjection} needs for a feature map, so that pages with others do without it. */
export async function loadProjection(featureMap: FeatureMap | undefined): Promise<void> {
  if (featureMap === "favor+") projections.set(featureMap, (await import("./random-features.ts")).addRandomFeatures);
  if (featureMap === "dpfp") projections.set(featureMap, (await import("./dpfp.ts")).addDpfp);
}

/** Scratch for the features of a group's rows, for so many of a head. */
export function projectedRows(work: GroupedWork, name: string, length?: number): Rows {
  return scratchRows(work, name, work.shape.features, length);
}

/** Adds a projection. To be called after {@link loadProjection}. */
export const addProjection: AddProjection = (work, ...rest) => projections.get(work.shape.featureMap)!(work, ...rest);
