/** How fast this device copies: the yardstick for everything that is bound by memory. */
import { median } from "./numbers.ts";
import type { CopyBandwidth } from "./result.ts";

const LANES = 256;
const SAMPLES = 7;
const SAMPLE_MILLISECONDS = 30;

const COPY = `
@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4f>;
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * ${LANES}u;
  if (i < arrayLength(&source)) { target_[i] = source[i]; }
}`;

/** @param bytes of the buffer that is copied; less where the device allows no more */
export async function measureCopy(gpu: GPU, bytes: number): Promise<CopyBandwidth> {
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("there is no WebGPU adapter");
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  const device = await adapter.requestDevice({ requiredLimits: { maxStorageBufferBindingSize, maxBufferSize } });
  try {
    const size = Math.floor(Math.min(bytes, maxStorageBufferBindingSize, maxBufferSize) / 1024) * 1024;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const source = device.createBuffer({ label: "copy source", size, usage });
    const target = device.createBuffer({ label: "copy target", size, usage });
    device.queue.writeBuffer(source, 0, new Float32Array(size / 4).fill(1)); // pages that nobody wrote may all be the same one
    const pipeline = await device.createComputePipelineAsync({
      label: "copy",
      layout: "auto",
      compute: { module: device.createShaderModule({ label: "copy", code: COPY }) },
    });
    const bindGroup = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [
        { binding: 0, resource: { buffer: source } },
        { binding: 1, resource: { buffer: target } },
      ],
    });
    const groups = Math.ceil(size / 16 / LANES);
    const columns = Math.min(groups, 32768);
    const kernel = (encoder: GPUCommandEncoder) => {
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(columns, Math.ceil(groups / columns));
      pass.end();
    };
    const buffer = (encoder: GPUCommandEncoder) => encoder.copyBufferToBuffer(source, 0, target, 0, size);
    const bandwidth = (milliseconds: number) => (2 * size) / milliseconds / 1e6;
    return { bytes: size, kernel: bandwidth(await time(device, kernel)), buffer: bandwidth(await time(device, buffer)) };
  } finally {
    device.destroy();
  }
}

/** Milliseconds of one copy. */
async function time(device: GPUDevice, record: (encoder: GPUCommandEncoder) => void): Promise<number> {
  const run = async (repetitions: number) => {
    const started = performance.now();
    for (let i = 0; i < repetitions; i++) {
      const encoder = device.createCommandEncoder();
      record(encoder);
      device.queue.submit([encoder.finish()]);
    }
    await device.queue.onSubmittedWorkDone();
    return (performance.now() - started) / repetitions;
  };
  await run(1);
  const repetitions = Math.ceil(SAMPLE_MILLISECONDS / (await run(3)));
  const samples = [];
  for (let i = 0; i < SAMPLES; i++) samples.push(await run(repetitions));
  return median(samples);
}
