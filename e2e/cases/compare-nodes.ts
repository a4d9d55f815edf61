/** Operations of a graph on the GPU against the same in float64, all in one Program, where outputs start as NaN. */
import { graph, graphSpec } from "../../src/graph/graph.ts";
import { planProgram, type Task, task, type TaskNode } from "../../src/operations/operation.ts";
import type { Runtime } from "../../src/index.ts";
import { runNodes, type WideValues } from "../../src/testing/nodes.ts";
import { relativeL2 } from "../../src/testing/random.ts";
import { check } from "./case.ts";
import { runProgram } from "./run-program.ts";

/** float32 numbers, or unsigned integers, by the names of values. */
export type NarrowValues = Readonly<Record<string, Float32Array | Uint32Array>>;

/**
 * Checks results against float64.
 *
 * @param results the values to compare; u32 ones have to be equal
 * @param bound of relL2, or one for each result
 * @returns what the GPU gave
 */
export async function compareNodes(
  runtime: Runtime,
  nodes: readonly TaskNode[],
  given: NarrowValues,
  results: readonly string[],
  bound: number | Readonly<Record<string, number>>,
  what: string,
): Promise<NarrowValues> {
  const wide = Object.fromEntries(Object.entries(given).map(([name, data]) => [name, data instanceof Uint32Array ? data : Float64Array.from(data)]));
  const expected = await runNodes(nodes, wide as WideValues);
  const program = planProgram("test", task(graph, graphSpec({ nodes, results })), runtime.limits);
  const bits = await runProgram(runtime.device!, program, given);
  const got: Record<string, Float32Array | Uint32Array> = {};
  for (const name of results) {
    const isIndex = expected[name] instanceof Uint32Array;
    const actual = (got[name] = isIndex ? new Uint32Array(bits[name]!) : new Float32Array(bits[name]!));
    const error = relativeL2(actual, expected[name]!);
    const most = isIndex ? 0 : typeof bound === "number" ? bound : bound[name]!;
    check(error <= most, `${what}: ${name} is off by ${error}, ${most} allowed`);
  }
  return got;
}

/** One operation, with its tensors by their own names. */
export function compareTask(
  runtime: Runtime,
  one: Task,
  given: NarrowValues,
  results: readonly string[],
  bound: number | Readonly<Record<string, number>>,
  what: string,
): Promise<NarrowValues> {
  const names = Object.keys(one.operation.tensors(one.spec, runtime.limits));
  return compareNodes(runtime, [{ task: one, values: Object.fromEntries(names.map((name) => [name, name])) }], given, results, bound, what);
}

/** The gradients of an operation, as a graph has them, in one Program with the operation; `dOut` is among the given values. */
export function compareBackward(
  runtime: Runtime,
  one: Task,
  given: NarrowValues,
  wanted: readonly string[],
  bound: number | Readonly<Record<string, number>>,
  what: string,
): Promise<NarrowValues> {
  const names = Object.keys(one.operation.tensors(one.spec, runtime.limits));
  const { nodes, gradients } = one.operation.backward!(one.spec, wanted);
  const forward = { task: one, values: Object.fromEntries(names.map((name) => [name, name])) };
  const results = [...new Set(wanted.map((name) => gradients[name]!))].filter((name) => !(name in given));
  return compareNodes(runtime, [forward, ...nodes], given, results, bound, what);
}
