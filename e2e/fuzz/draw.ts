/** From a seed and a number to a case. */
import { type FuzzCase, type Layout, OPERATIONS, type OperationName, type Subject } from "./case.ts";
import type { DataKind } from "./data.ts";
import { Draw } from "./draw-numbers.ts";
import { drawLimits } from "./limits.ts";
import { OPERATION } from "./operations/index.ts";

/** Cases of one plan: compiling takes a software GPU as long as running a hundred of them. */
export const BLOCK = 128;

/** Of the generators of plans and of cases. */
const [PLANS, CASES] = [1, 2];

/** The operations of a round of plans, each `share` times, spread evenly. */
const ROUND: readonly OperationName[] = OPERATIONS.flatMap((name, i) => {
  const { share } = OPERATION[name];
  return Array.from({ length: share }, (_, k) => ({ name, at: (k + (i + 0.5) / OPERATIONS.length) / share }));
})
  .sort((a, b) => a.at - b.at)
  .map(({ name }) => name);

export function operationOf(block: number): OperationName {
  return ROUND[block % ROUND.length]!;
}

/** The plan of a block of cases. */
export function drawSubject(seed: number, block: number, half: boolean): Subject {
  const draw = new Draw(seed, PLANS, block);
  const operation = operationOf(block);
  return { operation, options: OPERATION[operation].draw(draw, half), limits: drawLimits(draw) };
}

/** A case of a plan, by its number among all. */
export function drawCase(subject: Subject, seed: number, number: number): FuzzCase {
  const draw = new Draw(seed, CASES, number);
  const operation = OPERATION[subject.operation];
  const { inputs, outputs } = operation.tensors(subject.options);
  const names = Object.keys(inputs);
  // A third is normal throughout, where bounds are tightest.
  const plain = draw.chance(1 / 3);
  const data = names.flatMap((name): [string, DataKind][] => {
    const kinds = Object.keys(inputs[name]!.kinds!) as DataKind[];
    const kind = plain || draw.chance(0.3) ? "normal" : draw.pick(kinds);
    return kind === "normal" ? [] : [[name, kind]];
  });
  const layout = [...names, ...Object.keys(outputs)].flatMap((name): [string, Layout][] => {
    const kind = draw.pick(["own", "wrap", ...(name in inputs ? (["shared"] as const) : [])]);
    return kind === "own" ? [] : [[name, kind]];
  });
  const flags = operation.flags(subject.options).filter(() => draw.chance(0.3));
  const lengths = operation.drawLengths?.(draw, subject.options);
  return {
    ...subject,
    seed: draw.seed(),
    ...(data.length > 0 && { data: Object.fromEntries(data) }),
    ...(layout.length > 0 && { layout: Object.fromEntries(layout) }),
    ...Object.fromEntries(flags.map((flag) => [flag, true])),
    ...(lengths && { lengths }),
  };
}
