/** Operations joined into one computation: planned into one Program, whose memory is shared, or run one after the other in float64. */
import { capLimits, DEFAULT_LIMITS, DEFAULT_WORKSPACE_BYTES, type PlannerLimits } from "../core/limits.ts";
import { viewableBuffer } from "../math/memory.ts";
import {
  type CpuComputation,
  type CpuMemory,
  layout,
  layoutBytes,
  type Operation,
  type OperationSpec,
  type TaskNode,
  type TensorLayout,
} from "../operations/operation.ts";
import { FLOAT_BYTES, sum } from "../program/units.ts";

/** Numbers that lie in a row within another value, as the weights of a layer do within those of a model. */
export interface Part {
  readonly whole: string;
  /** In elements: a multiple of {@link PART_ALIGNMENT}. */
  readonly first: number;
  readonly size: number;
}

/** Parts begin at multiples of so many float32 numbers, where every device can bind them. */
export const PART_ALIGNMENT = 64;

export interface GraphSpec extends OperationSpec {
  readonly operation: "graph";
  /** For people: in profiles and errors. */
  readonly title: string;
  /** In an order in which each value is written before it is read. */
  readonly nodes: readonly TaskNode[];
  /** The values that are results. Others that a node writes are scratch; those that none writes are inputs. */
  readonly results: readonly string[];
  /** The results that are float32 on the CPU, too, where others are float64. */
  readonly narrow: readonly string[];
  /** float32 values that hold others, by their sizes. The caller keeps them: they are inputs, or changed in place. */
  readonly wholes: Readonly<Record<string, number>>;
  readonly parts: Readonly<Record<string, Part>>;
}

/** A graph. Nodes that bind a tensor to no value, or disagree about one, are a defect of whoever builds it: planning throws a TypeError. */
export function graphSpec(spec: Partial<GraphSpec> & Pick<GraphSpec, "nodes" | "results">): GraphSpec {
  return Object.freeze({ title: "graph", narrow: [], wholes: {}, parts: {}, ...spec, operation: "graph" });
}

interface Value extends TensorLayout {
  /** Written and read within the graph, and of no use after it. */
  readonly isBetween: boolean;
}

/** What the nodes read and write, parts as their wholes, in the order of first use. */
function valuesOf({ nodes, results, wholes, parts }: GraphSpec, limits: PlannerLimits): ReadonlyMap<string, Value> {
  const values = new Map<string, Value>();
  const known = new Map<string, TensorLayout>();
  for (const { task, values: names } of nodes) {
    for (const [tensor, layoutOf] of Object.entries(task.operation.tensors(task.spec, limits))) {
      const name = names[tensor];
      if (name === undefined) throw new TypeError(`graph: ${task.operation.name} has no value for ${tensor}`);
      const first = known.get(name);
      const bytes = layoutBytes(layoutOf);
      const size = parts[name]?.size ?? wholes[name];
      if ((first && layoutBytes(first) !== bytes) || (size !== undefined && bytes !== size * FLOAT_BYTES)) {
        throw new TypeError(`graph: ${name} has two sizes, ${bytes} bytes as ${tensor} of ${task.operation.name}`);
      }
      known.set(name, layoutOf);
      const root = parts[name]?.whole ?? name;
      const isWritten = layoutOf.role !== "input";
      const before = values.get(root);
      if (wholes[root] !== undefined) {
        const role = isWritten || before?.role === "inout" ? "inout" : "input";
        values.set(root, { ...layout(role, [wholes[root]]), isBetween: false });
      } else if (!before) values.set(root, { ...layoutOf, isBetween: layoutOf.role === "output" && !results.includes(root) });
      else if (before.role === "input" && isWritten) values.set(root, { ...before, role: "inout" });
    }
  }
  return values;
}

/**
 * Of the bound on scratch memory, what each node may have for its own. What values between nodes take of it is known when all is planned: the
 * Program is refused where it is too much.
 */
const SHARE_OF_NODES = 1 / 4;

/** A graph of operations: its inputs, what it changes, and its results by their names. */
export const graph: Operation<GraphSpec> = {
  name: "graph",
  label: ({ title }) => title,
  tensors(spec, limits) {
    return Object.fromEntries([...valuesOf(spec, limits)].filter(([, { isBetween }]) => !isBetween));
  },
  plan(program, spec, tensors, scratch) {
    const handles = { ...tensors };
    for (const [name, value] of valuesOf(spec, program.limits)) if (value.isBetween) handles[name] = program.temporary(name, layoutBytes(value));
    for (const [name, { whole, first, size }] of Object.entries(spec.parts)) {
      if (handles[whole]) handles[name] = program.part(name, handles[whole], first * FLOAT_BYTES, size * FLOAT_BYTES);
    }
    for (const { task, values } of spec.nodes) {
      const own = Object.fromEntries(Object.entries(values).map(([tensor, name]) => [tensor, handles[name]!]));
      task.operation.plan(program, task.spec, own, Math.floor(scratch * SHARE_OF_NODES));
    }
  },
  loadCpu: ({ nodes }) => Promise.all(nodes.map(({ task }) => task.operation.loadCpu?.(task.spec))),
  cpu(spec, fftOf) {
    // Layouts depend on limits in spectra alone, and theirs is the backend's own.
    const values = valuesOf(spec, capLimits("graph", DEFAULT_LIMITS, {}, DEFAULT_WORKSPACE_BYTES));
    const computations = spec.nodes.map(({ task, values: names }) => ({ names, ...task.operation.cpu(task.spec, fftOf) }));
    const bytes = wideBytes(spec, values, computations);
    const rootOf = (name: string) => spec.parts[name]?.whole ?? name;
    const lastUse = new Map<string, number>();
    for (const [i, { names }] of computations.entries()) for (const name of Object.values(names)) lastUse.set(rootOf(name), i);
    return {
      flops: sum(computations, ({ flops }) => flops),
      bytes: Object.fromEntries(Object.entries(bytes).filter(([name]) => !values.get(name)!.isBetween)),
      run(memoryOf) {
        const between = new Map<string, CpuMemory>();
        const memory = (name: string): CpuMemory => {
          const root = rootOf(name);
          if (!values.get(root)!.isBetween) return bytes[root] === undefined ? memoryOf(root) : wide(memoryOf(root), spec.parts[name]);
          if (!between.has(root)) between.set(root, memoryOfBytes(root, bytes[root]!));
          return between.get(root)!;
        };
        for (const [i, { names, run }] of computations.entries()) {
          run((tensor) => memory(names[tensor]!));
          for (const name of Object.values(names)) if (lastUse.get(rootOf(name)) === i) between.delete(rootOf(name));
        }
      },
    };
  },
};

/** Bytes of the values that are not as a caller gave them: float32 numbers take the room of float64. */
function wideBytes(
  { wholes, narrow }: GraphSpec,
  values: ReadonlyMap<string, Value>,
  computations: readonly (Pick<CpuComputation, "bytes"> & { readonly names: Readonly<Record<string, string>> })[],
): Readonly<Record<string, number>> {
  const bytes: Record<string, number> = {};
  for (const { names, bytes: own = {} } of computations) for (const [tensor, size] of Object.entries(own)) bytes[names[tensor]!] = size;
  for (const [name, value] of values) {
    const isGiven = narrow.includes(name) || (value.role === "input" && wholes[name] === undefined);
    if (!isGiven) bytes[name] ??= layoutBytes(value) * (value.dtype === "u32" ? 1 : 2);
  }
  return bytes;
}

/** Memory of float64 numbers, or a part of it, as that of any numbers. */
function wide({ doubles, words }: CpuMemory, part: Part | undefined): CpuMemory {
  const numbers = part ? doubles.subarray(part.first, part.first + part.size) : doubles;
  return { floats: numbers, words, doubles: numbers };
}

function memoryOfBytes(label: string, bytes: number): CpuMemory {
  const memory = viewableBuffer(`graph: ${label}`, bytes);
  const doubles = new Float64Array(memory, 0, Math.floor(bytes / Float64Array.BYTES_PER_ELEMENT));
  return { floats: doubles, words: new Uint32Array(memory, 0, bytes / Uint32Array.BYTES_PER_ELEMENT), doubles };
}
