/** Projections of rows to random features, and back, for attention with any feature map: their planner is loaded where they are used. */
import type { HeadGroup, Rows } from "./head-groups.ts";
import type { LinearWork } from "./linear/parts.ts";
import { need } from "../parts.ts";
import { FLOAT_BYTES } from "../../program/units.ts";

/** A workspace for the features of a group's rows. */
export function projectedRows({ program, shape, features, mostHeads }: LinearWork, name: string): Rows {
  const buffer = program.workspace(name, mostHeads * shape.length * features * FLOAT_BYTES);
  return { buffer, dim: features, local: true };
}

/** Adds the projection of a group's rows. */
export function addProjection(work: LinearWork, group: HeadGroup, rows: { readonly from: Rows; readonly to: Rows; readonly keys: boolean }): void {
  need("randomFeatures").addProjectionOf(work, group, rows.from, rows.to, rows.keys ? "keys" : "queries");
}

/** Adds the gradient of rows from that of their features; of keys, it depends on the keys themselves. */
export function addProjectionGradient(
  work: LinearWork,
  group: HeadGroup,
  rows: { readonly from: Rows; readonly to: Rows; readonly keys: Rows | undefined },
): void {
  need("randomFeatures").addProjectionOf(work, group, rows.from, rows.to, rows.keys ? "keyGradients" : "queryGradients", rows.keys);
}
