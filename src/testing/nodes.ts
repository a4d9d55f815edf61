/** Runs operations of a graph one by one in float64: the oracle of layers, and of their gradients by finite differences. */
import { elementCount } from "../core/check.ts";
import { capLimits, DEFAULT_LIMITS } from "../core/limits.ts";
import { createFft } from "../math/fft.ts";
import type { Backward, CpuMemory, Task, TaskNode } from "../operations/operation.ts";
import { normals } from "./random.ts";

export type WideValues = Readonly<Record<string, Float64Array | Uint32Array>>;

const LIMITS = capLimits("test", DEFAULT_LIMITS, {}, 2 ** 28);

/** All values after the nodes; what a node writes starts as NaN, unless it is there. Spectra are not for it: their layout is the backend's. */
export async function runNodes(nodes: readonly TaskNode[], given: WideValues): Promise<Record<string, Float64Array | Uint32Array>> {
  const all = { ...given };
  for (const { task, values } of nodes) {
    const { operation, spec } = task;
    await operation.loadCpu?.(spec);
    const memories: Record<string, CpuMemory> = {};
    for (const [tensor, { role, shape, dtype }] of Object.entries(operation.tensors(spec, LIMITS))) {
      const name = values[tensor];
      if (name === undefined) throw new TypeError(`${operation.name}: nothing bound to ${tensor}`);
      const known = all[name];
      if (!known && role !== "output") throw new TypeError(`${operation.name}: ${name} is not there`);
      const size = elementCount(shape);
      if (known && known.length !== size) throw new TypeError(`${operation.name}: ${tensor} has ${size} elements, ${name} ${known.length}`);
      const data = (all[name] =
        role === "input" ? known! : role === "inout" ? known!.slice() : dtype === "u32" ? new Uint32Array(size) : new Float64Array(size).fill(NaN));
      memories[tensor] = memoryOf(data);
    }
    operation.cpu(spec, createFft).run((tensor) => memories[tensor]!);
  }
  return all;
}

function memoryOf(data: Float64Array | Uint32Array): CpuMemory {
  const none = { floats: new Float64Array(0), words: new Uint32Array(0), doubles: new Float64Array(0) };
  return data instanceof Uint32Array ? { ...none, words: data } : { ...none, floats: data, doubles: data };
}

/** One operation in float64, with its tensors by their own names. */
export async function runTask(task: Task, given: WideValues): Promise<Record<string, Float64Array | Uint32Array>> {
  const names = Object.keys(task.operation.tensors(task.spec, LIMITS));
  return runNodes([{ task, values: Object.fromEntries(names.map((name) => [name, name])) }], given);
}

/**
 * How far the gradients of an operation are from central differences of dOut · out along random directions, one for each wanted input: the
 * difference of the two slopes, relative to the norms of gradient and direction.
 *
 * @param result the differentiable result
 */
export async function slopeErrors(
  task: Task,
  given: WideValues,
  wanted: readonly string[],
  { result = "out", step = 1e-5, seed = 1 } = {},
): Promise<Readonly<Record<string, number>>> {
  const forward = await runTask(task, given);
  const out = forward[result] as Float64Array;
  const dOut = Float64Array.from(normals(seed, out.length));
  const backward: Backward = task.operation.backward!(task.spec, wanted);
  const gradients = await runNodes(backward.nodes, { ...forward, [`d${result[0]!.toUpperCase()}${result.slice(1)}`]: dOut });
  const errors: Record<string, number> = {};
  for (const [i, name] of wanted.entries()) {
    const x = given[name] as Float64Array;
    const direction = Float64Array.from(normals(seed + 1 + i, x.length));
    const along = async (factor: number) => {
      const moved = await runTask(task, { ...given, [name]: x.map((value, at) => value + factor * direction[at]!) });
      return dot(dOut, moved[result] as Float64Array);
    };
    const gradient = gradients[backward.gradients[name]!] as Float64Array;
    const measured = ((await along(step)) - (await along(-step))) / (2 * step);
    const norm = Math.sqrt(dot(gradient, gradient) * dot(direction, direction));
    errors[name] = Math.abs(measured - dot(gradient, direction)) / norm;
  }
  return errors;
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
