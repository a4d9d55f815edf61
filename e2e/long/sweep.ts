/** The accuracy of FFTs of very many lengths: which, in which groups, and how a group is checked. */
import { random } from "../../src/testing/random.ts";
import type { CaseContext } from "../cases/case.ts";
import { type Accuracy, BOUNDS, checkTransform, classOf, type LengthClass, type Transform } from "../cases/transform.ts";

/** What one device checks: with a new one for each group, pipelines do not pile up. */
export interface Group {
  readonly name: string;
  readonly transforms: readonly Transform[];
}

export interface Failure {
  readonly transform: Transform;
  readonly error: unknown;
}

/** The largest error of each class of lengths so far. */
export type Worst = Map<LengthClass, Accuracy>;

/** Points per check, so that the norm is an average also for short transforms. */
const POINTS = 65536;
/** At a time: pipelines compile side by side. */
const PARALLEL = 8;

const EVERY_TO = 4096;
const EVERY_GROUP = 64;
const DRAWN_TO = 2 ** 20;
const DRAWN_SEED = 24;
const DRAWN_COUNT = 200;
const DRAWN_GROUP = 20;

/** Every length from 2 to 4096. */
export function everyLength(): Group[] {
  const groups: Group[] = [];
  for (let first = 2; first <= EVERY_TO; first += EVERY_GROUP) {
    const lengths = Array.from({ length: Math.min(EVERY_GROUP, EVERY_TO + 1 - first) }, (_, i) => first + i);
    groups.push({ name: `${first} to ${lengths.at(-1)}`, transforms: lengths.map(transformOf) });
  }
  return groups;
}

/** 200 lengths from there up to 2^20, as many in each octave. */
export function drawnLengths(): Group[] {
  const uniform = random(DRAWN_SEED);
  const lengths = Array.from({ length: DRAWN_COUNT }, () => Math.floor((EVERY_TO + 1) * (DRAWN_TO / (EVERY_TO + 1)) ** uniform()));
  const groups: Group[] = [];
  for (let first = 0; first < lengths.length; first += DRAWN_GROUP) {
    const transforms = lengths.slice(first, first + DRAWN_GROUP).map(transformOf);
    groups.push({ name: `lengths ${first} to ${first + DRAWN_GROUP - 1}`, transforms });
  }
  return groups;
}

/** One transform each: they are large. */
export function longest(): Group[] {
  return [22, 24].map((bits) => ({ name: `2^${bits}`, transforms: [{ shape: [2 ** bits] }] }));
}

/** Forward and inverse by turns, unscaled: a factor would round once more. */
export function transformOf(length: number): Transform {
  return {
    shape: [Math.max(1, Math.floor(POINTS / length)), length],
    direction: length % 2 === 0 ? "forward" : "inverse",
    norm: length % 2 === 0 ? "backward" : "forward",
  };
}

/** Checks transforms on a device of their own. `report` gets a line for each that passes. */
export async function checkAll(
  context: CaseContext,
  transforms: readonly Transform[],
  worst: Worst,
  report?: (message: string) => void,
): Promise<Failure[]> {
  const runtime = await context.open();
  const failures: Failure[] = [];
  const queue = [...transforms.entries()];
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [seed, transform] = next;
      try {
        const accuracy = await checkTransform(runtime, transform, seed);
        const name = classOf(accuracy.points);
        if (!(accuracy.c <= (worst.get(name)?.c ?? 0))) worst.set(name, accuracy);
        report?.(accuracy.message);
      } catch (error) {
        failures.push({ transform, error });
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: PARALLEL }, worker));
  } finally {
    runtime.dispose();
  }
  return failures;
}

export function worstLines(worst: Worst): string[] {
  return [...worst].map(([name, { points, c }]) => `${name}: worst c = ${c.toFixed(3)} at ${points}, ${BOUNDS[name]} allowed`);
}
