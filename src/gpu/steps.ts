/** What runs of steps have in common, whether they submit once or bit by bit. */
import type { Step } from "../core/backend.ts";
import type { FastRpbError } from "../core/errors.ts";
import type { GpuExecutable } from "./executable.ts";
import type { GpuStorage } from "./storage.ts";

/** Workspace for each step. An executable that runs several times has one: dispatches follow one another. */
export function acquireWorkspace(steps: readonly Step[]): {
  readonly slots: readonly (readonly GPUBuffer[])[];
  readonly buffers: readonly GPUBuffer[];
} {
  const acquired = new Map<GpuExecutable, readonly GPUBuffer[]>();
  const slots = steps.map(({ executable }) => {
    const own = acquired.get(executable as GpuExecutable) ?? (executable as GpuExecutable).installed.acquireSlots();
    acquired.set(executable as GpuExecutable, own);
    return own;
  });
  return { slots, buffers: [...acquired.values()].flat() };
}

/** What goes wrong in steps, or went wrong in what they read, is told by whatever they write. */
export function passFault(steps: readonly Step[], fault: Promise<FastRpbError | undefined>): Promise<FastRpbError | undefined> {
  const outputs = new Set<GpuStorage>();
  const inputs = new Set<GpuStorage>();
  for (const { executable, bindings } of steps) {
    for (const { name, role } of (executable as GpuExecutable).program.buffers) {
      const storage = bindings[name] as GpuStorage | undefined;
      if (storage) (role === "output" ? outputs : inputs).add(storage);
      if (role === "inout") outputs.add(storage!);
    }
  }
  // What a result held before is gone.
  const earlier = [...[...inputs].map(({ fault }) => fault), ...[...outputs].map(({ memoryFault }) => memoryFault)];
  // What failed first is the reason of what follows.
  const combined = Promise.all([...earlier, fault]).then((errors) => errors.find((error) => error !== undefined));
  for (const output of outputs) output.fault = combined;
  return combined;
}

/** Records all dispatches of the steps into a pass of their own. */
export function recordPass(encoder: GPUCommandEncoder, steps: readonly Step[], slots: readonly (readonly GPUBuffer[])[]): void {
  const pass = encoder.beginComputePass({ label: "fastrpb" });
  for (const [s, step] of steps.entries()) {
    const { installed } = step.executable as GpuExecutable;
    const record = installed.recorder(step.bindings, slots[s]!);
    for (let index = 0; index < installed.program.dispatches.length; index++) record(pass, index);
  }
  pass.end();
}
