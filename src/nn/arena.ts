/** The memory of a model's parameters: all in one, each at a place of its own. */
import { elementCount } from "../core/check.ts";
import { type Part, PART_ALIGNMENT } from "../graph/graph.ts";
import type { ParameterGroup } from "../operations/optimizers/spec.ts";
import type { Optimizer } from "./optimizers.ts";
import type { Parameter } from "./recorder.ts";

/** Where numbers of several tensors lie, side by side, with gaps so that each can be bound. */
export interface Arena {
  /** In all, gaps too. */
  readonly size: number;
  readonly places: ReadonlyMap<string, { readonly first: number; readonly size: number }>;
}

/** Tensors by name and number of elements, in their order. */
export function arenaOf(sizes: Iterable<readonly [name: string, size: number]>): Arena {
  const places = new Map<string, { readonly first: number; readonly size: number }>();
  let end = 0;
  for (const [name, size] of sizes) {
    places.set(name, { first: end, size });
    end += PART_ALIGNMENT * Math.ceil(size / PART_ALIGNMENT);
  }
  return { size: Math.max(end, PART_ALIGNMENT), places };
}

/** The parts of a value that is an arena, by the names of values of a graph. */
export function partsOf({ places }: Arena, whole: string, nameOf: (name: string) => string): Readonly<Record<string, Part>> {
  return Object.fromEntries([...places].map(([name, place]) => [nameOf(name), { whole, ...place }]));
}

/** Parameters with those of a group of the optimiser side by side, and where each group ends. */
export function groupedArena(
  parameters: Iterable<Parameter>,
  { groups, weightDecay }: Pick<Optimizer, "groups" | "weightDecay">,
): { readonly arena: Arena; readonly groups: readonly ParameterGroup[] } {
  const all = [...groups, { names: [""], rateFactor: 1, weightDecay }];
  const members = all.map((): Parameter[] => []);
  for (const parameter of parameters) members[all.findIndex(({ names }) => names.some((end) => parameter.name.endsWith(end)))]!.push(parameter);
  const arena = arenaOf(members.flat().map(({ name, shape }) => [name, elementCount(shape)]));
  const ranges: ParameterGroup[] = [];
  for (const [i, { rateFactor = 1, weightDecay: decay = weightDecay }] of all.entries()) {
    const last = members[i]!.at(-1);
    if (!last) continue;
    const { first, size } = arena.places.get(last.name)!;
    ranges.push({ end: PART_ALIGNMENT * Math.ceil((first + size) / PART_ALIGNMENT), rateFactor, weightDecay: decay });
  }
  return { arena, groups: ranges };
}

/** The numbers of one tensor within those of an arena. */
export function numbersAt<Numbers extends Float32Array | Float64Array>(arena: Arena, numbers: Numbers, name: string): Numbers {
  const { first, size } = arena.places.get(name)!;
  return numbers.subarray(first, first + size) as Numbers;
}
