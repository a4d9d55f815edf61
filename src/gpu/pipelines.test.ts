import { expect, test } from "vitest";
import { type Kernel, makeKernel } from "../../shaders/wgsl/kernel.ts";
import { PipelineCache } from "./pipelines.ts";

function kernelOf(number: number): Kernel {
  return makeKernel({
    id: "test",
    label: "kernel",
    workgroupSize: 64,
    bindings: [
      { name: "x", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "f32" },
    ],
    params: [],
    declarations: `const NUMBER = ${number}u;`,
    body: "",
  });
}

/** A device that counts what it compiles, and fails while `broken`. */
class FakeDevice {
  compiled = 0;
  broken = false;
  readonly layouts: GPUBindGroupLayoutDescriptor[] = [];

  createBindGroupLayout(descriptor: GPUBindGroupLayoutDescriptor): object {
    this.layouts.push(descriptor);
    return {};
  }

  createPipelineLayout(): object {
    return {};
  }

  pushErrorScope(): void {}

  async popErrorScope(): Promise<null> {
    return null;
  }

  createShaderModule(): object {
    return { getCompilationInfo: async () => ({ messages: [{ type: "error", lineNum: 3, linePos: 7, message: "no such thing" }] }) };
  }

  async createComputePipelineAsync(): Promise<object> {
    this.compiled++;
    if (this.broken) throw new Error("does not compile");
    return {};
  }

  cache(): PipelineCache {
    return new PipelineCache(this as unknown as GPUDevice);
  }
}

test("each WGSL text is compiled once, also when asked for at the same time", async () => {
  const device = new FakeDevice();
  const cache = device.cache();
  const [a, b] = await Promise.all([cache.compile("test", kernelOf(1)), cache.compile("test", kernelOf(1))]);
  expect(a).toBe(b);
  expect(await cache.compile("test", kernelOf(1))).toBe(a);
  expect(await cache.compile("test", kernelOf(2))).not.toBe(a);
  expect(device.compiled).toBe(2);
});

test("the layout is the kernel's, the parameters last", async () => {
  const device = new FakeDevice();
  await device.cache().compile("test", kernelOf(1));
  const entries = [...device.layouts[0]!.entries];
  expect(entries.map(({ binding, visibility, buffer }) => [binding, visibility, buffer?.type])).toEqual([
    [0, 4, "read-only-storage"],
    [1, 4, "storage"],
    [2, 4, "uniform"],
  ]);
});

test("a failure tells all, and is not kept", async () => {
  const device = new FakeDevice();
  const cache = device.cache();
  device.broken = true;
  const failure = cache.compile("runtime.fft", kernelOf(1));
  await expect(failure).rejects.toMatchObject({ name: "FastRpbError", code: "unavailable" });
  await expect(failure).rejects.toThrow(/^runtime\.fft: .*kernel/);
  await expect(failure).rejects.toThrow(/error at 3:7: no such thing/);
  await expect(failure).rejects.toThrow(/\n +1 \/\/ kernel\n +2 struct Params \{\n/);
  device.broken = false;
  await expect(cache.compile("test", kernelOf(1))).resolves.toBeDefined();
  expect(device.compiled).toBe(2);
});

test("of many kernels the least recently used is forgotten", async () => {
  const device = new FakeDevice();
  const cache = device.cache();
  for (let number = 0; number < 256; number++) await cache.compile("test", kernelOf(number));
  await cache.compile("test", kernelOf(0));
  expect(device.compiled).toBe(256);
  await cache.compile("test", kernelOf(256)); // number 1 has to go
  await cache.compile("test", kernelOf(0));
  expect(device.compiled).toBe(257);
  await cache.compile("test", kernelOf(1));
  expect(device.compiled).toBe(258);
});
