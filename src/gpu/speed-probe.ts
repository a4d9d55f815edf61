/** The probe of a device: softmax attention of many short sequences. */
import { attentionSpec } from "../operations/attention/spec.ts";
import { softmaxAttention } from "../operations/attention/softmax/operation.ts";
import { planProgram, task } from "../operations/operation.ts";
import type { Program } from "../program/program.ts";
import { compilePipelines, InstalledProgram } from "./installed-program.ts";
import type { Session } from "./session.ts";
import type { Speed } from "../core/limits.ts";
import { measureSpeed } from "./speed.ts";
import { GpuStorage } from "./storage.ts";
import { STORAGE_USAGE } from "./usage.ts";

/** 16 MiB of queries, which are keys and values too, and as much of output: some thousand workgroups. */
const SHAPE = { heads: 512, length: 128, headDim: 64 };

/** Measures a device. @throws FastRpbError codes `"lost"`, `"unavailable"`, `"limit"` */
export async function measureDevice(session: Session, caller: string): Promise<Speed> {
  const { device, pool, watch } = session;
  const whole = planProgram(caller, task(softmaxAttention, attentionSpec({ ...SHAPE, kind: "softmax" })), session.limits);
  const [{ flops, workgroups }] = whole.dispatches as [Program["dispatches"][number]];
  const groups = workgroups[0] * workgroups[1] * workgroups[2];
  const sizes = Array.from({ length: 1 + Math.floor(Math.log2(Math.min(groups, device.limits.maxComputeWorkgroupsPerDimension))) }, (_, i) => 2 ** i);
  // The same kernel with fewer workgroups: the first ones.
  const program: Program = { ...whole, dispatches: sizes.map((size) => ({ ...whole.dispatches[0]!, workgroups: [size, 1, 1] as const })) };
  const pipelines = await watch.compiled(caller, compilePipelines(session, caller, program));
  const bytes = whole.buffers.find(({ name }) => name === "q")!.bytes;
  const [{ installed, buffers }, fault] = session.guard(caller, () => ({
    installed: new InstalledProgram(session, program, pipelines),
    buffers: ["in", "out"].map((name) => pool.acquire(bytes, STORAGE_USAGE, `speed ${name}`)),
  }));
  try {
    const error = await watch.answer(caller, fault);
    if (error) throw error;
    const [input, out] = buffers.map((buffer) => new GpuStorage(session, { buffer, byteOffset: 0, byteLength: bytes }, true)) as [
      GpuStorage,
      GpuStorage,
    ];
    const record = installed.recorder({ q: input, k: input, v: input, out }, []);
    return await measureSpeed({
      groupFlops: flops / groups,
      mostGroups: sizes.at(-1)!,
      async time(count, dispatches) {
        const encoder = device.createCommandEncoder({ label: "fastrpb speed" });
        const pass = encoder.beginComputePass({ label: "fastrpb speed" });
        for (let i = 0; i < dispatches; i++) record(pass, sizes.indexOf(count));
        pass.end();
        const started = performance.now();
        device.queue.submit([encoder.finish()]);
        await watch.answer(caller, device.queue.onSubmittedWorkDone());
        return (performance.now() - started) / 1000;
      },
    });
  } finally {
    installed.dispose();
    for (const buffer of buffers) {
      // Not for the runs to come, which ask for other sizes.
      pool.discard(buffer);
      pool.release(buffer);
    }
  }
}
