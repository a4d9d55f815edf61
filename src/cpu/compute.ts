/** Runs one operation, for the tests. */
import type { Storage } from "../spec/backend.ts";
import { capLimits, DEFAULT_LIMITS } from "../spec/limits.ts";
import { kernelSpectrumSpec, spectrumSpec, type OperationSpec } from "../spec/operations.ts";
import { createCpuBackend } from "./backend.ts";

export function createTestBackend() {
  return createCpuBackend(capLimits("test", DEFAULT_LIMITS, {}, 2 ** 28));
}

/**
 * The result of an operation on a backend of its own. `inputs` may hold the weights or the kernel in place of their spectrum. An operation in
 * place has its input in `out`.
 */
export async function compute(spec: OperationSpec, inputs: Readonly<Record<string, Float32Array>>): Promise<Float32Array> {
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
  const out = new Float32Array(executable.bytes["out"]! / 4);
  await bindings["out"]!.read(out);
  return out;
}

function spectrumOf(spec: OperationSpec) {
  if (spec.operation === "convolve") return kernelSpectrumSpec(spec);
  return spec.operation === "toeplitz" || spec.operation === "attention" ? spectrumSpec(spec) : undefined;
}
