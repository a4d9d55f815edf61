/**
 * Attention with a mask over keys. It is attention of other rows: values that are left out become zero, and their keys such that they have no
 * feature; what gradients then arrive there is no gradient of the caller's. Softmax attention, which has no such keys, looks at the mask itself.
 */
import { maskRowsKernel, maskUnit } from "../../../shaders/attention/mask-rows.ts";
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import type { Handles, Operation } from "../operation.ts";
import { around, copyScratch } from "./around.ts";
import { addHeadKernel, gradientRows, headGroups, type Rows, storedRows, stridesOf } from "./head-groups.ts";
import { unpacked } from "./layout.ts";
import { type AttentionShape, type AttentionSpec, keyShape, unseenKey } from "./spec.ts";

/** An attention whose specs have a mask over keys, from the same without. */
export function withKeyMask(attention: Operation<AttentionSpec>): Operation<AttentionSpec> {
  return around(attention, (plan, program, shape, tensors, scratch) => {
    const { left, ...seen } = addSeen(program, shape, tensors, scratch);
    plan(program, shape, { ...tensors, ...seen }, left);
    if (!tensors["dOut"]) return;
    const { dk, dv } = gradientRows(shape, unpacked(tensors));
    for (const rows of [dk, dv]) addMask(program, keyShape(shape), tensors["keyMask"]!, rows, 0);
  });
}

/** Adds copies of keys and values, as the mask has them, and tells what they leave of the scratch. @throws FastRpbError code `"limit"` */
function addSeen(program: ProgramBuilder, whole: AttentionShape, tensors: Handles, scratch: number) {
  const shape = keyShape(whole);
  const own = unpacked(tensors);
  const [keys, values] = [storedRows(shape, own, "k"), storedRows(shape, own, "v")];
  const bytesOf = ({ dim, precision }: Rows) => shape.batch * shape.heads * shape.length * dim * ELEMENT_BYTES[precision];
  const bytes = { seenKeys: bytesOf(keys), seenValues: bytesOf(values) };
  const { copies, left } = copyScratch(program, bytes, "keyMask, for copies of keys and values,", scratch);
  const seen = { k: copies.seenKeys, v: copies.seenValues };
  addMask(program, shape, tensors["keyMask"]!, storedRows(shape, seen, "k"), unseenKey(shape), keys);
  addMask(program, shape, tensors["keyMask"]!, storedRows(shape, seen, "v"), 0, values);
  return { ...seen, left };
}

/** Adds the mask of rows of keys or values, in place where there are none that it comes from. */
function addMask(program: ProgramBuilder, shape: AttentionShape, keyMask: Handle, out: Rows, fill: number, rows?: Rows): void {
  const { length } = shape;
  const strides = stridesOf({ rows, out });
  const kernel = maskRowsKernel({
    lanes: elementwiseLanes(program.limits),
    length,
    width: out.dim,
    precision: out.precision,
    fill,
    inPlace: rows === undefined,
    strides,
  });
  const elements = length * (out.dim / maskUnit({ width: out.dim, strides }));
  for (const group of headGroups(program, shape, [out.dim], 0)) {
    addHeadKernel({ program, shape, lengths: undefined, keyMask }, group, kernel, {
      elements,
      rows: { rows: rows && { ...rows, reads: length }, out: { ...out, reads: rows ? 0 : length, writes: length } },
      flops: 0,
    });
  }
}
