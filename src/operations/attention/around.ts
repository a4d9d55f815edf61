/** Attention that is planned around another attention, whose plan gets other tensors, or goes on from what has been added before. */
import { wholeWords } from "../../core/limits.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { limitError } from "../../program/ranges.ts";
import { sum } from "../../program/units.ts";
import { type Handles, type Operation, task } from "../operation.ts";
import type { AttentionGradientSpec, AttentionShape, AttentionSpec } from "./spec.ts";

/** Of the scratch, what copies may take. */
const COPIES_SHARE = 3 / 4;

/** Plans an attention or its gradient, which has `dOut` among the tensors. */
type PlanAttention = (program: ProgramBuilder, shape: AttentionShape, tensors: Handles, scratch: number) => void;

/** An attention with the tensors and all else of another, and with its own plan, which gets that of the other, for it and for its gradient. */
export function around(
  attention: Operation<AttentionSpec>,
  plan: (inner: PlanAttention, ...rest: Parameters<PlanAttention>) => void,
): Operation<AttentionSpec> {
  return {
    ...attention,
    plan: (...rest) => plan(attention.plan as PlanAttention, ...rest),
    gradient(spec) {
      const inner = attention.gradient!(spec);
      if (!inner) return undefined;
      const operation = inner.operation as Operation<AttentionGradientSpec>;
      const own: Operation<AttentionGradientSpec> = { ...operation, plan: (...rest) => plan(operation.plan as PlanAttention, ...rest) };
      return task(own, inner.spec as AttentionGradientSpec);
    },
  };
}

/**
 * Scratch for copies of so many bytes, by name.
 *
 * @param what asks for them
 * @returns their handles, and what they leave of the scratch
 * @throws FastRpbError code `"limit"`
 */
export function copyScratch<Name extends string>(
  program: ProgramBuilder,
  bytes: Readonly<Record<Name, number>>,
  what: string,
  scratch: number,
): { readonly copies: Readonly<Record<Name, Handle>>; readonly left: number } {
  const sizes = Object.entries<number>(bytes).map(([name, size]) => [name, wholeWords(size)] as const);
  const all = sum(sizes, ([, size]) => size);
  const needed = Math.ceil(all / COPIES_SHARE);
  if (needed > scratch) throw limitError(program, "workspaceBytes", needed, what, scratch);
  const copies = Object.fromEntries(sizes.map(([name, size]) => [name, program.temporary(name, size)])) as Record<Name, Handle>;
  return { copies, left: scratch - all };
}
