/** Runs one operation, for the tests. */
import type { Storage } from "../core/backend.ts";
import { capLimits, DEFAULT_LIMITS } from "../core/limits.ts";
import { kernelSpectrumSpec, spectrumSpec, type OperationSpec } from "../operations/specs.ts";
import { createCpuBackend } from "../cpu/backend.ts";

export function createTestBackend() {
  return createCpuBackend(capLimits("test", DEFAULT_LIMITS, {}, 2 ** 28));
}

/**
 * The result of an operation on a backend of its own. `inputs` may hold the weights or the kernel in place of their spectrum. An operation in
 * place has its input in `out`.
 */
export async function compute(spec: OperationSpec, inputs: Readonly<Record<string, Float32Array | Uint32Array>>): Promise<Float32Array> {
  return (await computeAll(spec, inputs, ["out"]))["out"]!;
}

/** The same, of an operation with several results. */
export async function computeAll<const Name extends string>(
  spec: OperationSpec,
  inputs: Readonly<Record<string, Float32Array | Uint32Array>>,
  outputs: readonly Name[],
): Promise<Readonly<Record<Name, Float32Array>>> {
  const backend = createTestBackend();
  const executable = await backend.compile("test", spec);
  const bindings: Record<string, Storage> = {};
  for (const name of Object.keys(executable.bytes)) {
    const data = inputs[name];
    // An output starts as NaN, so that nothing can be missing.
    bindings[name] = backend.upload(data ?? new Float32Array(executable.bytes[name]! / 4).fill(NaN), name);
  }
  const prepare = spectrumOf(spec);
  if (prepare !== undefined && bindings["spectrum"] !== undefined) {
    const source = prepare.operation === "spectrum" ? "weights" : "kernel";
    const uploaded = backend.upload(inputs[source]!, source);
    backend.run([
      { executable: await backend.compile("test", prepare), bindings: { [source]: uploaded, spectrum: bindings["spectrum"] } },
      { executable, bindings },
    ]);
  } else {
    backend.run([{ executable, bindings }]);
  }
  const read = async (name: Name) => {
    const result = new Float32Array(executable.bytes[name]! / 4);
    await bindings[name]!.read(result);
    return [name, result] as const;
  };
  return Object.fromEntries(await Promise.all(outputs.map(read))) as Record<Name, Float32Array>;
}

function spectrumOf(spec: OperationSpec) {
  switch (spec.operation) {
    case "convolve":
      return kernelSpectrumSpec(spec);
    case "toeplitz":
    case "toeplitzGradient":
    case "attention":
    case "attentionGradient":
      return spectrumSpec(spec);
    default:
      return undefined;
  }
}
