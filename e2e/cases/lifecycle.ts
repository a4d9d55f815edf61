/** Buffers, plans, encoders and devices over time. */
import { makeKernel } from "../../shaders/wgsl/kernel.ts";
import { PipelineCache } from "../../src/gpu/pipelines.ts";
import { createRuntime, type Tensor } from "../../src/index.ts";
import { COPY_SOURCE, STORAGE_USAGE } from "../../src/gpu/usage.ts";
import { check, checkClose, checkRefused, normals, scoped, type Suite } from "./case.ts";

/** Counts the buffers of a device that were made and not destroyed. */
function countBuffers(device: GPUDevice): () => number {
  let alive = 0;
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    alive++;
    const destroy = buffer.destroy.bind(buffer);
    let destroyed = false;
    buffer.destroy = () => {
      if (!destroyed) alive--;
      destroyed = true;
      return destroy();
    };
    return buffer;
  };
  return () => alive;
}

const attention = { heads: 2, length: 64, headDim: 8, featureMap: "sikf", bias: "fastrpb" } as const;

export const lifecycleSuite: Suite = {
  name: "lifecycle",
  sample: true,
  cases: [
    {
      name: "a thousand plans made, run and disposed leave the buffers that were there before",
      run: async (context) => {
        const runtime = await context.open();
        const alive = countBuffers(runtime.device!);
        try {
          const shape = [1, 2, 64, 8];
          const q = runtime.tensor(normals(1, 1024), shape);
          const weights = runtime.tensor(normals(2, 2 * 127), [2, 127]);
          const before = runtime.memory();
          let peak = 0;
          for (let i = 0; i < 1000; i++) {
            const plan = await runtime.attention(attention);
            const spectrum = i % 2 === 0 ? plan.prepare(weights) : undefined;
            const out = plan.run({ q, k: q, v: q, bias: spectrum ?? weights });
            if (i % 100 === 0) check((await out.data()).every(Number.isFinite), "not finite");
            out.dispose();
            spectrum?.dispose();
            plan.dispose();
            peak = Math.max(peak, alive());
          }
          const after = runtime.memory();
          check(after.buffers === before.buffers && after.liveBytes === before.liveBytes, `${after.buffers} buffers, ${before.buffers} before`);
          check(after.pooledBytes <= runtime.limits.workspaceBytes, `${after.pooledBytes} bytes pooled`);
          check(peak < 40, `${peak} GPU buffers at a time`);
        } finally {
          runtime.dispose();
        }
        check(alive() === 0, `${alive()} buffers alive after dispose`);
      },
    },
    {
      name: "workspace is taken from the pool again, and the pool is bounded",
      run: async (context) => {
        const runtime = await context.open({ workspaceBytes: 2 ** 20 });
        const alive = countBuffers(runtime.device!);
        try {
          for (let i = 1; i <= 40; i++) {
            const plan = await runtime.fft({ shape: [i, 1024] });
            const x = runtime.tensor(new Float32Array(2 * i * 1024), [i, 1024], "complex64");
            plan.run(x).dispose();
            x.dispose();
            plan.dispose();
            check(runtime.memory().pooledBytes <= 2 ** 20, `${runtime.memory().pooledBytes} bytes pooled`);
          }
          check(runtime.memory().buffers === 0, "buffers left");
          check(alive() < 60, `${alive()} GPU buffers`);
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "a transform in place is planned when it is first asked for, and goes with its plan",
      run: async (context) => {
        const runtime = await context.open();
        try {
          const before = runtime.memory();
          const plan = await runtime.fft({ shape: [20000] });
          const x = runtime.tensor(normals(6, 40000), [20000], "complex64");
          plan.run(x).dispose();
          const made = runtime.memory();
          for (let i = 0; i < 3; i++) plan.run(x, { out: x });
          const used = runtime.memory();
          check(used.buffers > made.buffers, "expected parameters of its own");
          plan.run(x, { out: x });
          check(runtime.memory().buffers === used.buffers, "planned again");
          check((await x.data()).every(Number.isFinite), "not finite");
          x.dispose();
          plan.dispose();
          const after = runtime.memory();
          check(after.buffers === before.buffers && after.liveBytes === before.liveBytes, `${after.buffers} buffers, ${before.buffers} before`);
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "backward leaves its gradients alone: lengths and spectra are released, and tensors in out are used",
      run: async (context) => {
        const runtime = await context.open();
        const alive = countBuffers(runtime.device!);
        try {
          await scoped(runtime, async (scope) => {
            const shape = [2, 2, 20, 4];
            const [q, dOut] = [1, 2].map((seed) => scope.tensor(normals(seed, 320), shape)) as [Tensor, Tensor];
            const bias = scope.tensor(normals(3, 2 * 39), [2, 39]);
            const before = runtime.memory();
            const plan = await runtime.attention({ ...attention, batch: 2, length: 20, headDim: 4, variableLengths: true });
            await plan.compileBackward();
            const inputs = { q, k: q, v: q, bias, lengths: [20, 7] };
            const made = runtime.memory();
            const first = plan.backward({ ...inputs, dOut });
            check(runtime.memory().buffers === made.buffers + 4, `${runtime.memory().buffers - made.buffers} buffers for four gradients`);
            const expected = await Promise.all([first.dq, first.dk, first.dv, first.dBias!].map((tensor) => tensor.data()));
            const held = runtime.memory();
            let peak = 0;
            for (let i = 0; i < 20; i++) {
              const again = plan.backward({ ...inputs, dOut }, { out: first });
              check(again.dq === first.dq && again.dk === first.dk && again.dv === first.dv && again.dBias === first.dBias, "other tensors");
              plan.run(inputs).dispose();
              peak = Math.max(peak, alive());
            }
            const now = runtime.memory();
            check(now.buffers === held.buffers && now.liveBytes === held.liveBytes, `${now.buffers} buffers after 20 runs, ${held.buffers} before`);
            check(peak < 100, `${peak} GPU buffers at a time`);
            // Only one of them given: the others are new, and the caller's.
            const mixed = plan.backward({ ...inputs, dOut }, { out: { dk: first.dk } });
            check(mixed.dk === first.dk && mixed.dq !== first.dq, "dk is the one given");
            const results = [mixed.dq, mixed.dk, mixed.dv, mixed.dBias!];
            for (const [i, tensor] of results.entries()) checkClose(await tensor.data(), expected[i]!, 0, `gradient ${i}`);
            for (const tensor of [...results, first.dq, first.dv, first.dBias!]) tensor.dispose();
            check(runtime.memory().buffers === made.buffers, "gradients left");
            plan.dispose();
            const after = runtime.memory();
            check(after.buffers === before.buffers && after.liveBytes === before.liveBytes, `${after.buffers} buffers, ${before.buffers} before`);
          });
        } finally {
          runtime.dispose();
        }
        check(alive() === 0, `${alive()} buffers alive after dispose`);
      },
    },
    {
      name: "one encoder and one submit a run; pipelines and tables are made once for all plans",
      run: async (context) => {
        const runtime = await context.open();
        const device = runtime.device!;
        const calls: Record<string, number> = {};
        const count = (owner: object, name: string) => {
          const target = owner as Record<string, (...args: unknown[]) => unknown>;
          const original = target[name]!.bind(owner);
          target[name] = (...args) => {
            calls[name] = (calls[name] ?? 0) + 1;
            return original(...args);
          };
        };
        for (const name of ["createCommandEncoder", "createComputePipelineAsync"]) count(device, name);
        for (const name of ["submit", "writeBuffer"]) count(device.queue, name);
        const since = (before: Record<string, number>, name: string) => (calls[name] ?? 0) - (before[name] ?? 0);
        try {
          // Two plans at a time: the second finds the first one's pipelines while they compile.
          const [plan, twin] = await Promise.all([runtime.attention(attention), runtime.attention(attention)]);
          const kernels = new Set([...plan.dispatches, ...plan.preparation!.dispatches].map((dispatch) => dispatch.label)).size;
          check(calls["createComputePipelineAsync"] === kernels, `${calls["createComputePipelineAsync"]} pipelines for ${kernels} kernels`);
          const made = { ...calls };
          const third = await runtime.attention(attention);
          check(since(made, "createComputePipelineAsync") === 0, "a third plan compiled again");
          check(since(made, "writeBuffer") === 2, `${since(made, "writeBuffer")} uploads for a third plan, whose own are its parameters alone`);
          const shape = [1, 2, 64, 8];
          const q = runtime.tensor(normals(1, 1024), shape);
          const bias = runtime.tensor(normals(2, 254), [2, 127]);
          const before = { ...calls };
          plan.run({ q, k: q, v: q, bias });
          check(since(before, "createCommandEncoder") === 1 && since(before, "submit") === 1, "more than one encoder or submit");
          check(since(before, "writeBuffer") === 0, "a run uploads nothing");
          twin.dispose();
          third.dispose();
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "a kernel that does not compile: the compiler's words, and the numbered WGSL",
      // Firefox prints what a compiler says also where an error scope waits for it.
      printed: { firefox: /broken kernel/ },
      run: async (context) => {
        const runtime = await context.open();
        try {
          const kernel = makeKernel({
            id: "broken kernel",
            label: "broken kernel",
            workgroupSize: 1,
            bindings: [],
            params: [],
            declarations: "const A: u32 = 1.5;",
            body: "",
          });
          const pipelines = new PipelineCache(runtime.device!);
          await checkRefused(
            () => pipelines.compile("runtime.test", kernel),
            "unavailable",
            "runtime.test",
            "broken kernel",
            "error at 9:",
            "   9 const A: u32 = 1.5;",
          );
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "equal runs give equal bits",
      run: async (context) => {
        const runtime = await context.runtime;
        await scoped(runtime, async (scope) => {
          const plan = scope.keep(await runtime.attention({ ...attention, length: 3000 }));
          const shape = [1, 2, 3000, 8];
          const [q, k, v] = [1, 2, 3].map((seed) => scope.tensor(normals(seed, 48000), shape));
          const bias = scope.tensor(normals(4, 2 * 5999), [2, 5999]);
          const first = await scope.keep(plan.run({ q: q!, k: k!, v: v!, bias })).data();
          for (let i = 0; i < 5; i++) {
            const again = await scope.keep(plan.run({ q: q!, k: k!, v: v!, bias }, { out: scope.unwritten(shape) })).data();
            check(
              again.every((value, j) => Object.is(value, first[j])),
              `run ${i} differs`,
            );
          }
        });
      },
    },
    {
      name: "encode records into a foreign encoder, among foreign commands",
      run: async (context) => {
        const runtime = await context.runtime;
        const device = runtime.device!;
        await scoped(runtime, async (scope) => {
          const shape = [1, 2, 64, 8];
          const plan = scope.keep(await runtime.attention(attention));
          const fft = scope.keep(await runtime.fft({ shape: [16384] }));
          const q = scope.tensor(normals(1, 1024), shape);
          const bias = scope.tensor(normals(2, 254), [2, 127]);
          const x = scope.tensor(normals(3, 32768), [16384], "complex64");
          const expected = await scope.keep(plan.run({ q, k: q, v: q, bias })).data();
          const spectrum = await scope.keep(fft.run(x)).data();
          const copy = scope.unwritten(shape);
          const encoder = device.createCommandEncoder();
          const late = scope.unwritten(shape);
          encoder.clearBuffer(late.buffer!);
          const first = scope.keep(plan.encode(encoder, { q, k: q, v: q, bias }));
          const second = scope.keep(fft.encode(encoder, x));
          encoder.copyBufferToBuffer(first.buffer!, 0, copy.buffer!, 0, first.byteLength);
          const third = plan.encode(encoder, { q, k: q, v: q, bias }, { out: late });
          check(third === late, "encode returns out");
          device.queue.submit([encoder.finish()]);
          for (const tensor of [first, copy, late]) checkClose(await tensor.data(), expected, 0, "encoded attention");
          checkClose(await second.data(), spectrum, 0, "encoded fft");
          await checkRefused(
            async () => (await context.cpu).fft({ shape: [8] }).then((p) => p.encode(encoder, (context as never)["x"])),
            "value",
            "x",
          );
        });
      },
    },
    {
      name: "a borrowed device and wrapped buffers, at an offset, are used in place and survive",
      run: async (context) => {
        const adapter = (await context.gpu.requestAdapter())!;
        const device = await adapter.requestDevice();
        try {
          const runtime = await createRuntime({ device });
          check(runtime.device === device && runtime.backend === "webgpu", "the device is the caller's");
          const buffer = device.createBuffer({ size: 1024, usage: STORAGE_USAGE });
          const data = normals(5, 32);
          device.queue.writeBuffer(buffer, 256, data as Float32Array<ArrayBuffer>);
          const x = runtime.wrap(buffer, [16], { dtype: "complex64", offset: 256 });
          check(x.buffer === buffer && x.byteOffset === 256, "no copy");
          const forward = await runtime.fft({ shape: [16], norm: "ortho" });
          const inverse = await runtime.fft({ shape: [16], norm: "ortho", direction: "inverse" });
          const target = device.createBuffer({ size: 512, usage: STORAGE_USAGE });
          const out = runtime.wrap(target, [16], { dtype: "complex64", offset: 256 });
          inverse.run(forward.run(x), { out });
          checkClose(await out.data(), data, 3e-7, "round trip");
          const unreadable = runtime.wrap(device.createBuffer({ size: 128, usage: STORAGE_USAGE & ~COPY_SOURCE }), [16], { dtype: "complex64" });
          await checkRefused(() => unreadable.data(), "value", "COPY_SRC");
          x.dispose();
          out.dispose();
          runtime.dispose();
          const alive = await Promise.race([device.lost.then(() => false), device.queue.onSubmittedWorkDone().then(() => true)]);
          check(alive, "the borrowed device is lost");
        } finally {
          device.destroy();
        }
      },
    },
    {
      name: "profile tells what run does, dispatch by dispatch",
      run: async (context) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          await scoped(runtime, async (scope) => {
            const plan = scope.keep(await runtime.attention(attention));
            const shape = [1, 2, 64, 8];
            const q = scope.tensor(normals(1, 1024), shape);
            const bias = scope.keep(plan.prepare(scope.tensor(normals(2, 254), [2, 127])));
            const expected = await scope.keep(plan.run({ q, k: q, v: q, bias })).data();
            const profile = await plan.profile({ q, k: q, v: q, bias });
            checkClose(await scope.keep(profile.output).data(), expected, 0, "profile's output");
            check(profile.milliseconds > 0, "no time passed");
            if (runtime.backend === "cpu") return;
            check(profile.dispatches.map((d) => d.label).join() === plan.dispatches.map((d) => d.label).join(), "labels differ");
            const timed = runtime.device!.features.has("timestamp-query");
            check(
              profile.dispatches.every((d) => (timed ? d.milliseconds === undefined || d.milliseconds >= 0 : d.milliseconds === undefined)),
              "timings",
            );
          });
        }
      },
    },
    {
      name: "readbacks side by side with runs; tensors used across plans",
      run: async (context) => {
        const runtime = await context.runtime;
        await scoped(runtime, async (scope) => {
          const fft = scope.keep(await runtime.fft({ shape: [8, 256] }));
          const inverse = scope.keep(await runtime.fft({ shape: [8, 256], direction: "inverse" }));
          const results = await Promise.all(
            Array.from({ length: 20 }, async (_, i) => {
              const data = normals(100 + i, 4096);
              const x = runtime.tensor(data, [8, 256], "complex64");
              const y = fft.run(x);
              const z = inverse.run(y);
              x.dispose(); // the work that reads it is submitted
              y.dispose();
              const back = await z.data();
              z.dispose();
              return [back, data] as const;
            }),
          );
          for (const [back, data] of results) checkClose(back, data, 5e-7, "round trip");
        });
      },
    },
    {
      name: "a lost device: every later call says so",
      run: async (context) => {
        const runtime = await context.open();
        const fft = await runtime.fft({ shape: [8] });
        const x = runtime.tensor(new Float32Array(16), [8], "complex64");
        runtime.device!.destroy();
        await runtime.lost;
        await checkRefused(() => fft.run(x), "lost");
        await checkRefused(() => x.data(), "lost", "tensor.data");
        await checkRefused(() => runtime.fft({ shape: [16] }), "lost", "runtime.fft");
        await checkRefused(() => runtime.tensor(new Float32Array(1), [1]), "lost");
        x.dispose();
        fft.dispose();
        runtime.dispose();
      },
    },
    {
      name: "progress is reported from the adapter to the last kernel",
      run: async (context) => {
        const stages: string[] = [];
        const runtime = await context.open({
          onProgress: ({ stage, done, total }) => stages.push(done === undefined ? stage : `${stage} ${done}/${total}`),
        });
        const plan = await runtime.fft({ shape: [16384] });
        plan.dispose();
        runtime.dispose();
        check(stages.join() === "adapter,device,ready,compile 0/2,compile 2/2", stages.join());
      },
    },
  ],
};

/** Not in the sample: compiling it takes a minute on SwiftShader, and 6 s in Firefox on llvmpipe. */
export const selfTestSuite: Suite = {
  name: "self-test",
  cases: [
    {
      name: "the self-test passes on both backends",
      run: async (context) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          const report = await runtime.selfTest();
          const failed = report.checks.filter((entry) => !entry.ok).map((entry) => `${entry.name}: ${entry.error} > ${entry.bound}`);
          check(report.ok && failed.length === 0 && report.checks.length >= 10, failed.join("; "));
        }
      },
    },
  ],
};
