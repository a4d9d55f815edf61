/** Finds out where a number first went wrong: the step once more, with a look at each value that it writes. */
import type { Storage } from "../core/backend.ts";
import { wholeWords } from "../core/limits.ts";
import { fuse } from "../graph/fuse.ts";
import { graph, graphSpec } from "../graph/graph.ts";
import { findNonFinite } from "../operations/find-non-finite/operation.ts";
import { ALL_FINITE, findNonFiniteSpec } from "../operations/find-non-finite/spec.ts";
import { layoutBytes, task, type TaskNode } from "../operations/operation.ts";
import type { PlanContext } from "../runtime/plan.ts";
import { partsOf } from "./arena.ts";
import { type Batch, Feeder } from "./feed.ts";
import { type KeptNumbers, stepOf } from "./kept-numbers.ts";
import { CLOCK } from "./recorder.ts";
import { gradientOf, KEPT, type Training } from "./training-graph.ts";

/** The name of the first parameter, input or value of a step whose numbers are not all finite; `undefined` where all are. */
export async function firstNonFinite(
  { backend, owner }: PlanContext,
  training: Training,
  kept: KeptNumbers,
  batch: Batch,
  clock: Uint32Array,
): Promise<string | undefined> {
  const { arena, constants, inputs } = training;
  const isWhole = (name: string) => arena.places.has(name) || constants.arena.places.has(name);
  const nodes: TaskNode[] = [];
  const seen: string[] = [];
  const watch = (name: string, numbers: number) => {
    seen.push(name);
    nodes.push({ task: task(findNonFinite, findNonFiniteSpec(numbers, "f32")), values: { source: name, found: foundIn(seen.length - 1) } });
  };
  for (const [name, { size }] of arena.places) watch(name, size);
  for (const { name, dtype, size } of inputs.values()) if (dtype === "f32") watch(name, size);
  for (const node of fuse(training.backward, [])) {
    nodes.push(node);
    for (const [tensor, layout] of Object.entries(node.task.operation.tensors(node.task.spec, backend.limits))) {
      const name = node.values[tensor]!;
      // Spectra are of the backend's own make.
      if (layout.role === "output" && layout.dtype === "f32" && tensor !== "spectrum" && !isWhole(name))
        watch(name, wholeWords(layoutBytes(layout)) / 4);
    }
  }
  const spec = graphSpec({
    title: "search for numbers that are not finite",
    nodes,
    results: [],
    wholes: { [KEPT.parameters]: arena.size, [KEPT.constants]: constants.arena.size, [KEPT.gradients]: arena.size },
    parts: {
      ...partsOf(arena, KEPT.parameters, (name) => name),
      ...partsOf(constants.arena, KEPT.constants, (name) => name),
      ...partsOf(arena, KEPT.gradients, gradientOf),
    },
  });
  const executable = await backend.compile("trainer.step", task(graph, spec));
  const feeder = new Feeder(backend, owner, inputs);
  const found = seen.map((_, i) => backend.upload(Uint32Array.of(ALL_FINITE), foundIn(i)));
  const now = backend.upload(clock, CLOCK);
  try {
    const [given] = feeder.feed("trainer.step", batch);
    const all: Readonly<Record<string, Storage>> = {
      ...kept.bindings(),
      ...given,
      [CLOCK]: now,
      ...Object.fromEntries(found.map((storage, i) => [foundIn(i), storage])),
    };
    await backend.runSliced("trainer.step", [stepOf(executable, all)], {});
    for (const [i, storage] of found.entries()) {
      const place = new Uint32Array(1);
      await storage.read(place);
      if (place[0] !== ALL_FINITE) return seen[i];
    }
    return undefined;
  } catch {
    // There is no memory for it, or the batch is no longer what it was: the step is known all the same.
    return undefined;
  } finally {
    for (const storage of [...found, now]) storage.release();
    feeder.release();
    executable.dispose();
  }
}

const foundIn = (index: number) => `found ${index}`;
