/** Rows of queries and keys to the features of DPFP (Schlag et al. 2021), and gradients back. */
import { dpfpKernel } from "../../../shaders/attention/dpfp.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { groupRows, type HeadGroup, type HeadWork, stridesOf } from "./head-groups.ts";
import type { ProjectedTensor, ProjectionRows } from "./projection.ts";

/** Adds the features of a group's rows, or the gradient of rows from that of their features. */
export function addDpfp(work: HeadWork, group: HeadGroup, of: ProjectedTensor, { from, to, rows = from }: ProjectionRows): void {
  const { program } = work;
  const { headDim, features, length } = work.shape;
  const nu = features / (2 * headDim);
  const back = of === "queryGradients" || of === "keyGradients";
  const elements = group.count * length * (back ? headDim : 2 * headDim);
  program.dispatch({
    kernel: dpfpKernel({
      lanes: elementwiseLanes(program.limits),
      headDim,
      nu,
      to: back ? "rows" : "features",
      precision: rows.precision,
      strides: stridesOf({ rows, out: to }),
    }),
    elements,
    params: { firstRow: group.first * length },
    uses: {
      rows: groupRows(work, group, { ...rows, reads: length * (back ? 1 + 2 * nu : 2 + 2 * nu) }),
      gradients: groupRows(work, group, { ...from, reads: length }),
      out: groupRows(work, group, { ...to, writes: length }),
    },
    flops: 4 * nu * elements,
  });
}
