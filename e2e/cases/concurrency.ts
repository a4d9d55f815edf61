/** Several at a time: runtimes on one device, runs that interleave, work among that of others. */
import { STORAGE_USAGE } from "../../src/gpu/usage.ts";
import { createRuntime, type Runtime, type Tensor } from "../../src/index.ts";
import { check, checkClose, checkRefused, normals, scoped, type Suite } from "./case.ts";

const ATTENTION = { heads: 2, length: 24, headDim: 4, featureMap: "sikf", bias: "fastrpb" } as const;
const SHAPE = [1, 2, 24, 4];

function inputs(runtime: Runtime, seed: number) {
  const [q, k, v] = [0, 1, 2].map((i) => runtime.tensor(normals(seed + i, 192), SHAPE)) as [Tensor, Tensor, Tensor];
  return { q, k, v, bias: runtime.tensor(normals(seed + 3, 2 * 47), [2, 47]) };
}

/** A pass of somebody else's, that adds 1 to numbers. */
function foreignPass(device: GPUDevice, buffer: GPUBuffer, size: number): (encoder: GPUCommandEncoder) => void {
  const module = device.createShaderModule({
    code: `@group(0) @binding(0) var<storage, read_write> data: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { if (id.x < ${size}u) { data[id.x] += 1.0; } }`,
  });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] });
  return (encoder) => {
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(Math.ceil(size / 64));
    pass.end();
  };
}

export const concurrencySuite: Suite = {
  name: "concurrency",
  sample: true,
  cases: [
    {
      name: "two runtimes on one device, runs in turn: the bits of each alone; one goes, the other stays",
      run: async (context) => {
        const owner = await context.open();
        try {
          const guests = await Promise.all([0, 1].map(() => createRuntime({ device: owner.device! })));
          const plans = await Promise.all(guests.map((guest) => guest.attention(ATTENTION)));
          const given = guests.map((guest, i) => inputs(guest, 10 * i));
          const alone = await Promise.all(plans.map((plan, i) => plan.run(given[i]!).data()));
          const turns = Array.from({ length: 20 }, (_, turn) => plans[turn % 2]!.run(given[turn % 2]!).data());
          for (const [turn, data] of (await Promise.all(turns)).entries()) checkClose(data, alone[turn % 2]!, 0, `turn ${turn}`);
          await checkRefused(() => plans[0]!.run(given[1]!), "value", "another runtime");
          guests[0]!.dispose();
          checkClose(await plans[1]!.run(given[1]!).data(), alone[1]!, 0, "after the other one's end");
          guests[1]!.dispose();
          const fft = await owner.fft({ shape: [4] });
          check(fft.run(owner.tensor(new Float32Array(8), [4], "complex64")).size === 4, "the owner's device");
        } finally {
          owner.dispose();
        }
      },
    },
    {
      name: "plans that are disposed of while their work is under way: the results come",
      run: async (context) => {
        const runtime = await context.open();
        try {
          const reference = await runtime.attention(ATTENTION);
          const given = inputs(runtime, 1);
          const expected = await reference.run(given).data();
          for (let i = 0; i < 10; i++) {
            const plan = await runtime.attention(ATTENTION);
            const spectrum = plan.prepare(given.bias);
            const out = plan.run({ ...given, bias: spectrum });
            plan.dispose();
            spectrum.dispose();
            // Their buffers are used by others at once.
            const other = await runtime.fft({ shape: [2, 64] });
            other.run(runtime.tensor(normals(i, 256), [2, 64], "complex64")).dispose();
            const reading = out.data();
            out.dispose();
            checkClose(await reading, expected, 0, `round ${i}`);
            other.dispose();
            await checkRefused(() => plan.run(given), "disposed");
          }
          const pending = reference.run(given).data();
          runtime.dispose();
          const came = await pending.then(
            () => "data",
            (error: { code: string }) => error.code,
          );
          check(["lost", "disposed", "data"].includes(came), `a reading at the runtime's end: ${came}`);
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "encode between passes of others, in one command buffer",
      run: async (context) => {
        const runtime = await context.runtime;
        const device = runtime.device!;
        await scoped(runtime, async (scope) => {
          const plan = scope.keep(await runtime.attention(ATTENTION));
          const buffer = device.createBuffer({ size: 192 * 4, usage: STORAGE_USAGE });
          const data = normals(1, 192);
          device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
          const q = scope.keep(runtime.wrap(buffer, SHAPE));
          const { k, v, bias } = inputs(runtime, 5);
          for (const tensor of [k, v, bias]) scope.keep(tensor);
          const shifted = scope.tensor(data.map((x) => Math.fround(x + 1)) as Float32Array, SHAPE);
          const twice = scope.tensor(data.map((x) => Math.fround(Math.fround(x + 1) + 1)) as Float32Array, SHAPE);
          const add = foreignPass(device, buffer, 192);
          const encoder = device.createCommandEncoder();
          add(encoder);
          const first = scope.keep(plan.encode(encoder, { q, k, v, bias }));
          add(encoder);
          const second = scope.keep(plan.encode(encoder, { q, k, v, bias }));
          add(encoder);
          // A run that is submitted before what was recorded earlier does not disturb it.
          const between = scope.keep(plan.run({ q: shifted, k, v, bias }));
          device.queue.submit([encoder.finish()]);
          checkClose(await first.data(), await between.data(), 0, "after one pass");
          checkClose(await second.data(), await scope.keep(plan.run({ q: twice, k, v, bias })).data(), 0, "after two passes");
          checkClose(
            await q.data(),
            data.map((x) => Math.fround(Math.fround(Math.fround(x + 1) + 1) + 1)),
            0,
            "after three passes",
          );
          buffer.destroy();
        });
      },
    },
    {
      name: "a long run in slices beside short ones",
      run: async (context) => {
        const runtime = await context.runtime;
        await scoped(runtime, async (scope) => {
          const plan = scope.keep(await runtime.attention(ATTENTION));
          const given = inputs(runtime, 30);
          for (const tensor of Object.values(given)) scope.keep(tensor);
          const expected = await scope.keep(plan.run(given)).data();
          const others = await Promise.all(
            Array.from({ length: 12 }, async (_, i) => scope.keep(i % 3 === 0 ? await plan.runAsync(given) : plan.run(given)).data()),
          );
          for (const [i, data] of others.entries()) checkClose(data, expected, 0, `run ${i}`);
        });
      },
    },
  ],
};
