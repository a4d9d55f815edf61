/** Rows of numbers by class, several in a workgroup where there are few classes: what the kernels of cross-entropy share. */
import type { KernelBinding } from "../wgsl/kernel.ts";
import { loadVector, vectorElement, vectorsOf } from "../wgsl/rows.ts";
import { f32, u32, wgsl } from "../wgsl/wgsl.ts";

export interface ClassRowsSpec {
  readonly classes: number;
  /** How much of a target's weight goes to all classes. */
  readonly labelSmoothing: number;
  /** Lanes of a workgroup, and those of them that have a row: powers of two. */
  readonly lanes: number;
  readonly rowLanes: number;
}

/** The bindings of rows and their targets. */
export function classRowBindings({ classes }: ClassRowsSpec): readonly Omit<KernelBinding, "binding">[] {
  return [
    { name: "logits", access: "read", element: vectorElement(classes) },
    { name: "targets", access: "read", element: "u32" },
  ];
}

/** Constants, and `load_logits(row, column)`. A class has the weight SPREAD, and what the target lacks of 1 is LACK. */
export function classRowDeclarations({ classes, labelSmoothing, lanes, rowLanes }: ClassRowsSpec): string {
  return wgsl`const CLASSES = ${u32(classes)};
const VECTORS = ${u32(vectorsOf(classes))};
const ROW_LANES = ${u32(rowLanes)};
const ROWS = ${u32(lanes / rowLanes)};
const SPREAD = ${f32(labelSmoothing / classes)};
const LACK = ${f32(labelSmoothing - labelSmoothing / classes)};
${loadVector("load_logits", "logits", classes)}`;
}
