/** Runs a Program as it stands, below the public API, so that a test may look into its workspace or change its kernels. */
import { borrowDevice, deviceLimits } from "../../src/gpu/device.ts";
import { compilePipelines, InstalledProgram } from "../../src/gpu/installed-program.ts";
import { Session } from "../../src/gpu/session.ts";
import { GpuStorage } from "../../src/gpu/storage.ts";
import { MAP_MODE_READ, READBACK_USAGE, STORAGE_USAGE } from "../../src/gpu/usage.ts";
import type { Program } from "../../src/program/program.ts";
import { capLimits } from "../../src/core/limits.ts";

/** Inputs by name, results in the place of inputs among them; outputs start as NaN, or as the data given for them. The result holds the bits of every output. */
export async function runProgram(
  device: GPUDevice,
  program: Program,
  data: Readonly<Record<string, Float32Array | Uint32Array>>,
): Promise<Readonly<Record<string, ArrayBuffer>>> {
  const session = new Session(borrowDevice("test", device), capLimits("test", deviceLimits(device), {}, 1));
  const { pool } = session;
  const executable = new InstalledProgram(session, program, await compilePipelines(session, "test", program));
  try {
    const bindings: Record<string, GpuStorage> = {};
    for (const { name, role, bytes } of program.buffers) {
      if (role === "workspace" || role === "table") continue;
      const buffer = pool.acquire(bytes, STORAGE_USAGE, name);
      device.queue.writeBuffer(buffer, 0, (data[name] ?? new Float32Array(bytes / 4).fill(NaN)) as Float32Array<ArrayBuffer>);
      bindings[name] = new GpuStorage(session, buffer, 0, bytes, true);
    }
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    const slots = executable.acquireSlots();
    executable.bind(bindings, slots).recordAll(pass);
    pass.end();
    const outputs = program.buffers.filter((buffer) => buffer.role === "output" || buffer.role === "inout");
    const staged = outputs.map(({ name, bytes }) => {
      const staging = device.createBuffer({ size: bytes, usage: READBACK_USAGE });
      encoder.copyBufferToBuffer(bindings[name]!.buffer, 0, staging, 0, bytes);
      return staging;
    });
    device.queue.submit([encoder.finish()]);
    const entries = outputs.map(async ({ name }, i) => {
      await staged[i]!.mapAsync(MAP_MODE_READ);
      const bits = staged[i]!.getMappedRange().slice(0);
      staged[i]!.destroy();
      return [name, bits] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  } finally {
    executable.dispose();
    session.end();
  }
}
