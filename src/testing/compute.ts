/** Runs one operation on the CPU, for the tests. */
import type { Storage } from "../core/backend.ts";
import { capLimits, DEFAULT_LIMITS } from "../core/limits.ts";
import { createCpuBackend } from "../cpu/backend.ts";
import { taskOf } from "./operations.ts";
import type { AnySpec } from "./specs.ts";

export function createTestBackend() {
  return createCpuBackend(capLimits("test", DEFAULT_LIMITS, {}, 2 ** 28));
}

/**
 * The result of an operation on a backend of its own. `inputs` may hold the weights or the kernel in place of their spectrum. An operation in
 * place has its input in `out`.
 */
export async function compute(spec: AnySpec, inputs: Readonly<Record<string, Float32Array | Uint32Array>>): Promise<Float32Array> {
  return (await computeAll(spec, inputs, ["out"]))["out"]!;
}

/** The same, of an operation with several results. */
export async function computeAll<const Name extends string>(
  spec: AnySpec,
  inputs: Readonly<Record<string, Float32Array | Uint32Array>>,
  outputs: readonly Name[],
): Promise<Readonly<Record<Name, Float32Array>>> {
  const backend = createTestBackend();
  const task = taskOf(spec);
  const executable = await backend.compile("test", task);
  const bindings: Record<string, Storage> = {};
  for (const name of Object.keys(executable.bytes)) {
    const data = inputs[name];
    // An output starts as NaN, so that nothing can be missing.
    bindings[name] = backend.upload(data ?? new Float32Array(executable.bytes[name]! / 4).fill(NaN), name);
  }
  const prepare = task.operation.preparation?.(task.spec);
  const source = prepare && Object.keys(prepare.operation.tensors(prepare.spec, backend.limits)).find((name) => name !== "spectrum")!;
  const steps = [{ executable, bindings }];
  if (prepare && inputs[source!]) {
    const bound = { [source!]: backend.upload(inputs[source!]!, source!), spectrum: bindings["spectrum"]! };
    steps.unshift({ executable: await backend.compile("test", prepare), bindings: bound });
  }
  backend.run(steps);
  const read = async (name: Name) => {
    const result = new Float32Array(executable.bytes[name]! / 4);
    await bindings[name]!.read(result);
    return [name, result] as const;
  };
  return Object.fromEntries(await Promise.all(outputs.map(read))) as Record<Name, Float32Array>;
}
