/** The probe of a device: softmax attention of many short sequences. */
import type { Speed } from "../core/limits.ts";
import { attentionSpec } from "../operations/attention/spec.ts";
import { planProgram, task } from "../operations/operation.ts";
import type { ProgramDispatch } from "../program/program.ts";
import type { Session } from "./session.ts";
import { measureSpeed } from "./speed.ts";

/** 16 MiB of queries, which are keys and values too, and as much of output: some thousand workgroups. */
const SHAPE = { heads: 512, length: 128, headDim: 64 };
/** Numbers of GPUBufferUsage, which Node does not have. Those of usage.ts would bring the whole backend's chunk into this one's. */
const [UNIFORM, STORAGE] = [0x40, 0x80];

/** Measures a device. @throws FastRpbError codes `"lost"`, `"unavailable"`, `"limit"` */
export async function measureDevice(session: Session, caller: string): Promise<Speed> {
  const { device, limits, pipelines, watch } = session;
  const { softmaxAttention } = await import("../operations/attention/softmax/operation.ts");
  const program = planProgram(caller, task(softmaxAttention, attentionSpec({ ...SHAPE, kind: "softmax" })), limits);
  const [{ kernel, params, bindings, flops, workgroups }] = program.dispatches as [ProgramDispatch];
  const groups = workgroups[0] * workgroups[1] * workgroups[2];
  const { pipeline, layout } = await watch.compiled(caller, pipelines.compile(caller, kernel));
  const [{ buffers, bindGroup }, fault] = session.guard(caller, () => {
    const [input, out] = ["in", "out"].map((name) => device.createBuffer({ label: `speed ${name}`, size: bindings[0]!.size, usage: STORAGE }));
    const uniform = device.createBuffer({ label: "speed params", size: 4 * params.length, usage: UNIFORM, mappedAtCreation: true });
    new Uint32Array(uniform.getMappedRange()).set(params);
    uniform.unmap();
    const bound = [...bindings.map(({ bytesWritten }) => (bytesWritten > 0 ? out! : input!)), uniform];
    const entries = bound.map((buffer, binding) => ({ binding, resource: { buffer } }));
    return { buffers: [input!, out!, uniform], bindGroup: device.createBindGroup({ label: "speed", layout, entries }) };
  });
  try {
    const error = await watch.answer(caller, fault);
    if (error) throw error;
    return await measureSpeed({
      groupFlops: flops / groups,
      mostGroups: 2 ** Math.floor(Math.log2(Math.min(groups, device.limits.maxComputeWorkgroupsPerDimension))),
      async time(count, dispatches) {
        const encoder = device.createCommandEncoder({ label: "fastrpb speed" });
        const pass = encoder.beginComputePass({ label: "fastrpb speed" });
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindGroup);
        // The first workgroups of the kernel's.
        for (let i = 0; i < dispatches; i++) pass.dispatchWorkgroups(count);
        pass.end();
        const started = performance.now();
        device.queue.submit([encoder.finish()]);
        await watch.answer(caller, device.queue.onSubmittedWorkDone());
        return (performance.now() - started) / 1000;
      },
    });
  } finally {
    for (const buffer of buffers) buffer.destroy();
    device.queue.submit([]); // frees their memory
  }
}
