/** Devices that are lost, short of memory, slow or silent. */
import { borrowDevice, deviceLimits, openDevice } from "../../src/gpu/device.ts";
import { GpuBackend } from "../../src/gpu/backend.ts";
import { type Patience, PATIENCE } from "../../src/gpu/watch.ts";
import { type AttentionOptions, createRuntime, FastRpbError, type Runtime, type Speed } from "../../src/index.ts";
import { Runtime as RuntimeClass } from "../../src/runtime/runtime.ts";
import { capLimits, DEFAULT_WORKSPACE_BYTES, HARDWARE_DEFAULTS, SLOW_GPU } from "../../src/core/limits.ts";
import { type CaseContext, check, checkClose, checkRefused, type DeviceLimits, normals, outcome, scoped, type Suite } from "./case.ts";
import { type Fault, FaultyDevice, withLittleMemory } from "./faulty-device.ts";

/** What Firefox prints of shaders that are made on a device that is lost. */
const LOST_SHADERS = /creating shader module|Parent device is lost/;
/** A caller hears of a loss within this many milliseconds. */
const LOSS_DEADLINE = 2000;

/** Checks that all of these come to code "lost" in time. */
async function checkAllLost(promises: Readonly<Record<string, Promise<unknown>>>): Promise<void> {
  // Those that come after the first are not told before it has settled.
  for (const promise of Object.values(promises)) promise.catch(() => {});
  for (const [name, promise] of Object.entries(promises)) {
    const came = await outcome(promise, LOSS_DEADLINE);
    check(came !== "unsettled", `${name} has not settled`);
    check("error" in came, `${name} came to a result`);
    check(came.error instanceof FastRpbError && came.error.code === "lost", `${name}: ${String(came.error)}`);
  }
}

/** A runtime on a device of its own, with other patience or another speed than the public way gives. */
export async function special(
  context: CaseContext,
  options: { readonly patience?: Patience; readonly speed?: Speed; readonly limits?: DeviceLimits; readonly prepare?: (device: GPUDevice) => void },
): Promise<Runtime> {
  const caller = "createRuntime";
  const open = await openDevice({ caller, gpu: context.gpu, powerPreference: undefined, onStage: () => {}, signal: undefined });
  check(open !== undefined, "no device");
  options.prepare?.(open.device);
  const { limits: caps = {}, workspaceBytes = DEFAULT_WORKSPACE_BYTES } = options.limits ?? {};
  const limits = capLimits(caller, deviceLimits(open.device), caps, workspaceBytes, {
    ...HARDWARE_DEFAULTS,
    ...(options.speed && { speed: options.speed }),
  });
  return new RuntimeClass(new GpuBackend({ open, limits }, () => {}, options.patience), {});
}

/** Waits for a device in every way that there is, with kernels that compile fast. */
async function everyWait(runtime: Runtime): Promise<readonly (readonly number[])[]> {
  return scoped(runtime, async (scope) => {
    const multiply = scope.keep(await runtime.complexMultiply({ shape: [4] }));
    const fft = scope.keep(await runtime.fft({ shape: [4] }));
    const x = scope.tensor(normals(1, 8), [4], "complex64");
    const product = scope.keep(multiply.run(x, x));
    const spectrum = scope.keep(fft.run(product, { check: true }));
    const results = [await spectrum.data(), await product.data()];
    results.push(await scope.keep(await multiply.runAsync(x, x)).data());
    const profile = await multiply.profile(x, x);
    results.push(await scope.keep(profile.output).data());
    const gradient = fft.backward(spectrum);
    results.push(await scope.keep(gradient).data());
    return results.map((data) => [...data]);
  });
}

const SMALL = { heads: 2, length: 12, headDim: 4, featureMap: "sikf", bias: "fastrpb" } as const;
const QUICK: Patience = { answer: 60, compile: 2000, announcement: 200, open: 2000 };
/** The same for a machine on which a run without a fault takes so many milliseconds: what is slow is not silent. */
function patienceFor(milliseconds: number): Patience {
  return { ...QUICK, answer: Math.max(QUICK.answer, milliseconds / 2), compile: Math.max(QUICK.compile, 5 * milliseconds) };
}

/** Attentions with all kinds of dispatches. */
const KINDS: readonly Partial<AttentionOptions>[] = [
  { featureMap: "sikf", bias: "fastrpb" },
  { featureMap: "sikf", causal: true },
  { kind: "softmax", causal: true, featureMap: undefined as never },
];

/** Runs everything with a fault at each wait for the device in turn: the results are right, or there is a fitting error. */
async function injectFaults(context: CaseContext, kind: Fault): Promise<void> {
  const request = { caller: "test", gpu: context.gpu, powerPreference: undefined, onStage: () => {}, signal: undefined } as const;
  const openDeviceOnce = async () => new FaultyDevice((await openDevice(request))!.device);
  const runtimeOn = ({ device: borrowed }: FaultyDevice, patience: Patience) => {
    const limits = capLimits("test", deviceLimits(borrowed), {}, DEFAULT_WORKSPACE_BYTES);
    return new RuntimeClass(new GpuBackend({ open: borrowDevice("test", borrowed), limits }, () => {}, patience), {});
  };
  let device = await openDeviceOnce();
  let runtime = runtimeOn(device, PATIENCE);
  const started = performance.now();
  const expected = await everyWait(runtime);
  const usual = performance.now() - started;
  // Without a loss, there is none to wait for.
  const patience = { ...patienceFor(usual), ...(kind !== "destroy" && { announcement: 5 }) };
  const deadline = patience.compile + LOSS_DEADLINE + usual;
  const same = (results: readonly (readonly number[])[]) => JSON.stringify(results) === JSON.stringify(expected);
  const waits = [...device.waits];
  check(waits.length > 30 && new Set(waits).size === 4, `${waits.length} waits of ${new Set(waits).size} kinds`);
  const came: Record<string, number> = {};
  let lost = false;
  for (let at = 0; at < waits.length; at++) {
    const where = `${kind} at wait ${at} (${waits[at]})`;
    // Compiles anew, so that it waits as often; a device that was lost is followed by another.
    runtime.dispose();
    if (lost) device = await openDeviceOnce();
    lost = false;
    runtime = runtimeOn(device, patience);
    device.inject({ at, kind });
    const result = await outcome(everyWait(runtime), deadline);
    check(result !== "unsettled", `${where}: unsettled`);
    const what = "value" in result ? "right" : result.error instanceof FastRpbError ? result.error.code : String(result.error);
    check("error" in result || same(result.value), `${where}: a wrong result`);
    // A slow run asks the device more often than a fast one.
    if (device.waits.length <= at) {
      check(what === "right", `${where}: not reached, and yet ${what}`);
      continue;
    }
    check(["right", "lost", "limit", "unavailable"].includes(what), `${where}: ${what}`);
    check(kind !== "destroy" || what === "lost" || at === waits.length - 1, `${where}: ${what}`);
    came[`${kind}: ${what}`] = (came[`${kind}: ${what}`] ?? 0) + 1;
    device.inject(undefined);
    // Whoever is not lost works on.
    const next = await outcome(everyWait(runtime), deadline);
    check(next !== "unsettled", `${where}: unsettled afterwards`);
    const then = "value" in next ? (same(next.value) ? "right" : "wrong") : next.error instanceof FastRpbError ? next.error.code : String(next.error);
    check(
      then === (what === "lost" || kind === "destroy" ? "lost" : "right") || (kind === "never" && then === "lost"),
      `${where}: ${what}, then ${then}`,
    );
    lost = then !== "right";
    if (lost) device.device.destroy();
  }
  runtime.dispose();
  device.device.destroy();
  console.info(`${waits.length} faults: ${JSON.stringify(came)}`);
}

export const faultsSuite: Suite = {
  name: "faults",
  sample: true,
  cases: [
    {
      name: "a destroyed device: whatever is pending and whatever comes says so; restore brings plans and spectra back",
      printed: { firefox: LOST_SHADERS },
      run: async (context) => {
        const runtime = await context.open();
        try {
          const shape = [1, 2, 12, 4];
          const [data, weights] = [normals(1, 96), normals(2, 2 * 23)];
          const plan = await runtime.attention(SMALL);
          await plan.compileBackward();
          const fft = await runtime.fft({ shape: [8] });
          const q = runtime.tensor(data, shape);
          const kept = plan.prepare(weights);
          const ofTensor = plan.prepare(runtime.tensor(weights, [2, 23]));
          // The plan that made it is gone, and it is restored all the same.
          const orphan = await scoped(runtime, async (scope) =>
            scope.keep(await runtime.toeplitz({ heads: 2, length: 12, channels: 4 })).prepare(weights),
          );
          const expected = await plan.run({ q, k: q, v: q, bias: kept }).data();
          const gradient = await plan.backward({ q, k: q, v: q, bias: kept, dOut: q }).dq.data();
          const x = runtime.tensor(normals(3, 16), [8], "complex64");
          const spectrum = await fft.run(x).data();

          const out = plan.run({ q, k: q, v: q, bias: kept });
          const device = runtime.device!;
          const lost = runtime.lost;
          const pending = {
            data: out.data(),
            compile: runtime.fft({ shape: [9] }),
            profile: fft.profile(x),
            // Submitted already, so that it may be done before the device is gone: then reading tells.
            runAsync: fft.runAsync(x).then((result) => result.data()),
          };
          device.destroy();
          await checkAllLost({ ...pending, readLater: out.data() });
          const info = await outcome(lost, LOSS_DEADLINE);
          check(typeof info === "object" && "value" in info, "runtime.lost has not settled");
          for (const later of [
            () => plan.run({ q, k: q, v: q, bias: kept }),
            () => runtime.tensor(data, shape),
            () => plan.prepare(weights),
            () => x.data(),
            () => runtime.fft({ shape: [4] }),
            () => plan.backward({ q, k: q, v: q, bias: kept, dOut: q }),
            () => fft.encode(device.createCommandEncoder(), x),
          ]) {
            await checkRefused(later, "lost", "restore");
          }

          const again = runtime.restore();
          check(runtime.restore() === again, "two restorations at a time");
          await again;
          check(runtime.device !== device && runtime.lost !== lost, "the same device");
          check(
            weights.every((value, i) => value === normals(2, 46)[i]) && data.every((value, i) => value === normals(1, 96)[i]),
            "the caller's arrays",
          );
          await runtime.restore(); // there is nothing to do
          await checkRefused(() => plan.run({ q, k: q, v: q, bias: kept }), "lost", "q");
          await checkRefused(() => q.data(), "lost");
          const fresh = runtime.tensor(data, shape);
          await checkRefused(() => plan.run({ q: fresh, k: fresh, v: fresh, bias: ofTensor }), "lost", "spectrum");
          checkClose(await plan.run({ q: fresh, k: fresh, v: fresh, bias: kept }).data(), expected, 0, "attention after restore");
          checkClose(await plan.run({ q: fresh, k: fresh, v: fresh, bias: orphan }).data(), expected, 0, "with the spectrum of a plan that is gone");
          checkClose(await plan.backward({ q: fresh, k: fresh, v: fresh, bias: kept, dOut: fresh }).dq.data(), gradient, 0, "gradient after restore");
          checkClose(await fft.run(runtime.tensor(normals(3, 16), [8], "complex64")).data(), spectrum, 0, "FFT after restore");
          for (const old of [q, x, out]) old.dispose(); // of the device before: nothing happens
          // And once more.
          runtime.device!.destroy();
          await runtime.lost;
          await runtime.restore();
          checkClose(await fft.run(runtime.tensor(normals(3, 16), [8], "complex64")).data(), spectrum, 0, "FFT after a second loss");
        } finally {
          runtime.dispose();
        }
        check(runtime.memory().buffers === 0, "buffers left");
        await checkRefused(() => runtime.restore(), "disposed");
      },
    },
    {
      name: "a loss for which there is no other device: three tries, and the runtime stays lost",
      run: async (context) => {
        let asked = 0;
        let willing = true;
        const gpu = {
          requestAdapter: (options: GPURequestAdapterOptions) => {
            asked++;
            return willing ? context.gpu.requestAdapter(options) : Promise.resolve(null);
          },
        } as GPU;
        const runtime = await createRuntime({ backend: "webgpu", gpu });
        try {
          const fft = await runtime.fft({ shape: [4] });
          willing = false;
          asked = 0;
          runtime.device!.destroy();
          await runtime.lost;
          await checkRefused(() => runtime.restore(), "lost", "3 tries");
          check(asked === 3, `${asked} tries`);
          await checkRefused(() => fft.run(fft as never), "value");
          await checkRefused(() => runtime.tensor(new Float32Array(1), [1]), "lost");
          const signal = AbortSignal.abort();
          await checkRefused(() => runtime.restore({ signal }), "aborted");
          willing = true;
          await runtime.restore();
          const x = runtime.tensor(new Float32Array([1, 0, 2, 0, 3, 0, 4, 0]), [4], "complex64");
          check(String(await fft.run(x).data()) === "10,0,-2,2,-2,0,-2,-2", "a wrong FFT");
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "a borrowed device that is lost: the caller brings another",
      run: async (context) => {
        const borrow = async () => (await context.gpu.requestAdapter())!.requestDevice();
        const first = await borrow();
        const runtime = await createRuntime({ device: first });
        const multiply = await runtime.complexMultiply({ shape: [2] });
        first.destroy();
        await runtime.lost;
        await checkRefused(() => runtime.restore(), "value", "options.device");
        const second = await borrow();
        await runtime.restore({ device: second });
        check(runtime.device === second, "another device");
        const x = runtime.tensor(new Float32Array([0, 1, 2, 0]), [2], "complex64");
        check(String(await multiply.run(x, x).data()) === "-1,0,4,0", "a wrong product");
        runtime.dispose();
        const alive = await Promise.race([second.lost.then(() => false), second.queue.onSubmittedWorkDone().then(() => true)]);
        check(alive, "the borrowed device is lost");
        second.destroy();
      },
    },
    // A case for each, so that two browsers share them.
    ...(["destroy", "out of memory", "reject", "never"] as const).map((kind) => ({
      name: `each wait for the device in turn: ${kind}`,
      printed: { firefox: LOST_SHADERS },
      run: (context: CaseContext) => injectFaults(context, kind),
    })),
    {
      name: "an adapter or a device that does not come: the signal ends the wait, and so does the patience",
      run: async (context) => {
        const never = new Promise<never>(() => {});
        const silent = { requestAdapter: () => never } as unknown as GPU;
        const deviceless = {
          requestAdapter: async () => {
            const adapter = (await context.gpu.requestAdapter())!;
            return new Proxy(adapter, { get: (target, name) => (name === "requestDevice" ? () => never : Reflect.get(target, name, target)) });
          },
        } as unknown as GPU;
        for (const gpu of [silent, deviceless]) {
          const controller = new AbortController();
          const opening = createRuntime({ gpu, signal: controller.signal });
          setTimeout(() => controller.abort(), 50);
          const came = await outcome(opening, LOSS_DEADLINE);
          check(came !== "unsettled" && "error" in came && (came.error as FastRpbError).code === "aborted", "not aborted");
          const patience = { ...QUICK, open: 50 };
          const request = { caller: "test", gpu, powerPreference: undefined, onStage: () => {}, signal: undefined, patience } as const;
          await checkRefused(() => openDevice(request), "unavailable", "has not answered");
        }
      },
    },
    {
      name: "memory that is short: half of the workspace, and again; then code limit, with what is needed",
      run: async (context) => {
        let most = Infinity;
        const runtime = await special(context, { prepare: (device) => withLittleMemory(device, () => most) });
        const cpu = await context.cpu;
        try {
          const shape = [16, 16384];
          const bytes = 16 * 16384 * 8;
          most = bytes / 3;
          const tight = await runtime.fft({ shape });
          check(tight.cost.workspaceBytes === bytes / 4, `${tight.cost.workspaceBytes} bytes of workspace`);
          most = Infinity;
          const free = await runtime.fft({ shape });
          check(free.cost.workspaceBytes === bytes, `${free.cost.workspaceBytes} bytes of workspace`);
          check(tight.cost.dispatches > free.cost.dispatches, "as many dispatches");
          free.dispose();
          const data = normals(7, bytes / 4);
          const x = runtime.tensor(data, shape, "complex64");
          const reference = await cpu.fft({ shape });
          const [actual, expected] = [await tight.run(x).data(), await reference.run(cpu.tensor(data, shape, "complex64")).data()];
          checkClose(actual, expected, 3e-7, "with a quarter of the workspace");
          tight.dispose();

          most = 2000;
          await checkRefused(() => runtime.fft({ shape }), "limit", "runtime.fft", "bytes of scratch");
          const y = runtime.tensor(new Float32Array(2000), [2000]);
          await checkRefused(() => y.data(), "limit", "out of memory");
          most = Infinity;
          const multiply = await runtime.complexMultiply({ shape: [1000] });
          const z = runtime.tensor(new Float32Array(2000), [1000], "complex64");
          most = 2000;
          const product = multiply.run(z, z);
          const next = multiply.run(product, z);
          await checkRefused(() => product.data(), "limit", "out of memory");
          await checkRefused(() => next.data(), "limit", "out of memory");
          most = Infinity;
          check(
            (await multiply.run(z, z).data()).every((value) => value === 0),
            "does not work afterwards",
          );
        } finally {
          runtime.dispose();
        }
        check(runtime.memory().buffers === 0, "buffers left");
      },
    },
    {
      name: "the speed of a device is measured once, when there is work for which a slow one would take long, and goes with the tuning",
      run: async (context) => {
        const runtime = await special(context, { speed: SLOW_GPU, limits: context.limits });
        try {
          const before = runtime.memory();
          (await runtime.attention({ heads: 1, length: 64, headDim: 8, kind: "softmax" })).dispose();
          check(runtime.limits.speed === SLOW_GPU, "measured for little work");
          const options = { heads: 8, length: 4096, headDim: 64, kind: "softmax" } as const;
          const [plan, other] = await Promise.all([runtime.attention(options), runtime.attention({ ...options, causal: true })]);
          const { speed } = runtime.limits;
          check(speed.flopsPerSecond > 0 && speed.flopsPerSecond < 1e15 && speed.paces !== undefined, JSON.stringify(speed));
          check(
            [...plan.dispatches, ...other.dispatches].every(({ estimatedSeconds }) => estimatedSeconds <= 0.25),
            "a long dispatch",
          );
          for (const each of [plan, other]) each.dispose();
          (await runtime.attention(options)).dispose();
          check(runtime.limits.speed === speed, "measured twice");
          const { liveBytes, buffers } = runtime.memory();
          check(liveBytes === before.liveBytes && buffers === before.buffers, `${buffers} buffers left, ${before.buffers} before`);
          const tuning = await runtime.tune([]);
          const next = await context.open({ tuning: JSON.parse(JSON.stringify(tuning)) });
          check(JSON.stringify(next.limits.speed) === JSON.stringify(speed), "another speed");
          next.dispose();
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "work that is cut into many dispatches gives the same bits; it reports progress, and can be stopped",
      run: async (context) => {
        const whole = await context.runtime;
        for (const options of KINDS) {
          const spec = { heads: 8, length: 150, headDim: 8, ...options } as AttentionOptions;
          const what = JSON.stringify(options);
          const shape = [1, 8, 150, 8];
          const inputs = (runtime: Runtime) => {
            const [q, k, v] = [1, 2, 3].map((seed) => runtime.tensor(normals(seed, 9600), shape)) as [never, never, never];
            return { q, k, v, ...(spec.bias && { bias: runtime.tensor(normals(4, 8 * 299), [8, 299]) }) };
          };
          const plan = await whole.attention(spec);
          const uncut = await plan.run(inputs(whole)).data();
          // A device on which a workgroup fits into a dispatch and two do not; as much as a third of a grid may be idle.
          const largest = Math.max(...plan.dispatches.map(({ flops, workgroups: [x, y, z] }) => flops / (x * y * z)));
          const bytes = Math.max(...plan.dispatches.map(({ bytesRead, bytesWritten }) => bytesRead + bytesWritten));
          const speed = { flopsPerSecond: 6 * largest, bytesPerSecond: 8 * bytes, workgroupShare: 1 };
          const runtime = await special(context, { speed, limits: context.limits });
          try {
            const cut = await runtime.attention(spec);
            check(cut.dispatches.length > plan.dispatches.length, `${what}: ${cut.dispatches.length} dispatches`);
            check(
              cut.dispatches.every(({ estimatedSeconds }) => estimatedSeconds <= 0.25),
              `${what}: a long dispatch`,
            );
            const given = inputs(runtime);
            const expected = await cut.run(given).data();
            // Softmax takes other tiles for a slow device, and so adds up in another order.
            checkClose(expected, uncut, options.kind === "softmax" ? 1e-6 : 0, what);
            const fractions: number[] = [];
            const before = runtime.memory().buffers;
            const running = cut.runAsync(given, {
              onProgress: ({ fraction, done, total }) => void (check(done <= total, "done"), fractions.push(fraction)),
            });
            // They are held until the run is done.
            for (const tensor of [given.q, given.k, given.v] as { dispose(): void }[]) tensor.dispose();
            const out = await running;
            checkClose(await out.data(), expected, 0, `${what} in slices`);
            out.dispose();
            check(runtime.memory().buffers === before - 3, `${what}: ${runtime.memory().buffers} buffers, ${before} before`);
            check(fractions.length > 1 && fractions.at(-1) === 1, `${what}: progress ${fractions}`);
            check(
              fractions.every((fraction, i) => fraction > (fractions[i - 1] ?? 0)),
              `${what}: progress ${fractions}`,
            );

            const again = inputs(runtime);
            const held = runtime.memory().buffers;
            const controller = new AbortController();
            const stopped = cut.runAsync(again, { signal: controller.signal, onProgress: () => controller.abort() });
            await checkRefused(() => stopped, "aborted", "runAsync");
            await checkRefused(() => cut.runAsync(again, { signal: AbortSignal.abort() }), "aborted");
            check(runtime.memory().buffers === held, `${what}: buffers left by what was stopped`);
            checkClose(await cut.run(again).data(), expected, 0, `${what} afterwards`);
            const ending = cut.runAsync(again);
            cut.dispose();
            await checkRefused(() => ending, "disposed");
          } finally {
            runtime.dispose();
          }
          plan.dispose();
        }
      },
    },
  ],
};
