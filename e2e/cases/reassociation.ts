import { MAP_MODE_READ, READBACK_USAGE, STORAGE_USAGE } from "../../src/gpu/usage.ts";

const known = new WeakMap<GPUDevice, Promise<boolean>>();

/** Not z + (p − q) with p = q: compilers see through that. */
const CODE = `
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1) fn main() { x[5] = x[0] + (x[1] * x[2] - x[3] * x[4]); }
`;
/** Less than half of the distance from 1 to the next number above, more than half of that to the next below. */
const SMALL = 0.75 * 2 ** -24;

/**
 * Whether the compiler of a device takes z + (p − q) for (z + p) − q, as WGSL lets it. Mesa does, so that a multiplication and an addition
 * may become one instruction. A rotation then rounds twice at full size (shaders/roots.ts).
 */
export function reassociates(device: GPUDevice): Promise<boolean> {
  const found = known.get(device) ?? probe(device);
  known.set(device, found);
  return found;
}

async function probe(device: GPUDevice): Promise<boolean> {
  const module = device.createShaderModule({ code: CODE });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
  const data = Float32Array.of(1, SMALL, 1, SMALL, 1, NaN);
  const buffer = device.createBuffer({ size: data.byteLength, usage: STORAGE_USAGE });
  const staging = device.createBuffer({ size: data.byteLength, usage: READBACK_USAGE });
  device.queue.writeBuffer(buffer, 0, data);
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, data.byteLength);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(MAP_MODE_READ);
  const result = new Float32Array(staging.getMappedRange().slice(0))[5]!;
  for (const held of [buffer, staging]) held.destroy();
  if (result !== 1 && result !== 1 - 2 ** -24) throw new Error(`1 + (p − p) is ${result}`);
  return result !== 1;
}
