/** Several operations as one: planned into one Program, whose memory is shared, or run one after the other in float64. */
import { capLimits, DEFAULT_LIMITS, DEFAULT_WORKSPACE_BYTES, type PlannerLimits } from "../core/limits.ts";
import { viewableBuffer } from "../math/memory.ts";
import { type CpuMemory, layoutBytes, type Operation, type OperationSpec, type TaskNode, type TensorLayout } from "../operations/operation.ts";
import { sum } from "../program/units.ts";

export interface SequenceSpec extends OperationSpec {
  readonly operation: "sequence";
  /** In an order in which each value is written before it is read. */
  readonly nodes: readonly TaskNode[];
  /** The values that are results. Others that a node writes are scratch; those that no node writes are inputs. */
  readonly results: readonly string[];
}

/** @throws TypeError where a node binds a tensor to no value, or two nodes disagree about one: a defect of whoever builds it */
export function sequenceSpec(nodes: readonly TaskNode[], results: readonly string[]): SequenceSpec {
  return Object.freeze({ operation: "sequence", nodes: Object.freeze([...nodes]), results: Object.freeze([...results]) });
}

/** The values of a sequence by name, as inputs, outputs, or what only lies between. */
function valuesOf({ nodes, results }: SequenceSpec, limits: PlannerLimits): ReadonlyMap<string, TensorLayout & { readonly between: boolean }> {
  const values = new Map<string, TensorLayout & { readonly between: boolean }>();
  for (const { task, values: names } of nodes) {
    for (const [tensor, layout] of Object.entries(task.operation.tensors(task.spec, limits))) {
      const name = names[tensor];
      if (name === undefined) throw new TypeError(`sequence: ${task.operation.name} has no value for ${tensor}`);
      const known = values.get(name);
      if (known && layoutBytes(known) !== layoutBytes(layout)) throw new TypeError(`sequence: ${name} has two sizes`);
      if (known) continue;
      const between = layout.role !== "input" && !results.includes(name);
      values.set(name, { ...layout, between });
    }
  }
  return values;
}

/** A sequence of operations, with the values between them as scratch. */
export const sequence: Operation<SequenceSpec> = {
  name: "sequence",
  label: ({ nodes }) => nodes.map(({ task }) => task.operation.label(task.spec)).join(", "),
  tensors(spec, limits) {
    return Object.fromEntries([...valuesOf(spec, limits)].filter(([, { between }]) => !between));
  },
  plan(program, spec, tensors, scratch) {
    const between = [...valuesOf(spec, program.limits)].filter(([, value]) => value.between);
    const handles = { ...tensors, ...Object.fromEntries(between.map(([name, value]) => [name, program.temporary(name, layoutBytes(value))])) };
    const rest = scratch - sum(between, ([name]) => handles[name]!.bytes);
    for (const { task, values } of spec.nodes) {
      const own = Object.fromEntries(Object.entries(values).map(([tensor, name]) => [tensor, handles[name]!]));
      task.operation.plan(program, task.spec, own, rest);
    }
  },
  loadCpu: ({ nodes }) => Promise.all(nodes.map(({ task }) => task.operation.loadCpu?.(task.spec))),
  cpu(spec, fftOf) {
    const computations = spec.nodes.map(({ task, values }) => ({ values, ...task.operation.cpu(task.spec, fftOf) }));
    // Of spectra alone the layout depends on limits, and theirs is the backend's own.
    const limits = capLimits("sequence", DEFAULT_LIMITS, {}, DEFAULT_WORKSPACE_BYTES);
    const between = new Map<string, CpuMemory>();
    for (const [name, value] of valuesOf(spec, limits)) {
      if (!value.between) continue;
      const maker = computations.find(({ values }) => values["spectrum"] === name);
      between.set(name, memoryOfBytes(maker?.spectrumBytes ?? layoutBytes(value)));
    }
    return {
      flops: sum(computations, ({ flops }) => flops),
      run(memoryOf) {
        for (const { values, run } of computations) {
          run((tensor) => {
            const name = values[tensor]!;
            return between.get(name) ?? memoryOf(name);
          });
        }
      },
    };
  },
};

function memoryOfBytes(bytes: number): CpuMemory {
  const memory = viewableBuffer("cpu sequence", bytes);
  return {
    floats: new Float32Array(memory, 0, bytes / Float32Array.BYTES_PER_ELEMENT),
    words: new Uint32Array(memory, 0, bytes / Uint32Array.BYTES_PER_ELEMENT),
    doubles: new Float64Array(memory, 0, Math.floor(bytes / Float64Array.BYTES_PER_ELEMENT)),
  };
}
