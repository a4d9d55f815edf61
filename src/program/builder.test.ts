import { describe, expect, test } from "vitest";
import { type Kernel, makeKernel } from "../../shaders/wgsl/kernel.ts";
import { DEFAULT_LIMITS } from "../core/limits.ts";
import { limitsWith } from "../testing/planning.ts";
import { random } from "../testing/random.ts";
import { type BindingUse, type Handle, ProgramBuilder } from "./builder.ts";
import { bindableUnits, sliceBase, sliceBytes } from "./ranges.ts";

/** A kernel with the given bindings; names in capitals are written. */
function kernelOf(names: readonly string[], lanes = 64, params: readonly string[] = []): Kernel {
  return makeKernel({
    id: "test",
    label: names.join(" "),
    workgroupSize: lanes,
    bindings: names.map((name) => ({ name, access: name === name.toUpperCase() ? "read_write" : "read", element: "f32" })),
    params,
    declarations: "",
    body: "",
  });
}

function builder(limits = limitsWith()): ProgramBuilder {
  return new ProgramBuilder("runtime.test", "test", limits);
}

/** Adds a dispatch that reads and writes whole buffers. */
function step(program: ProgramBuilder, reads: readonly Handle[], writes: readonly Handle[]): void {
  const uses: Record<string, BindingUse> = {};
  for (const buffer of reads) uses[buffer.name] = { buffer, reads: buffer.bytes };
  for (const buffer of writes) uses[buffer.name] = { buffer, writes: buffer.bytes };
  program.dispatch({ kernel: kernelOf([...reads, ...writes].map(({ name }) => name)), groups: 1, params: {}, uses, flops: 1 });
}

describe("slices", () => {
  test("are aligned, and hold what was asked for and little more", () => {
    const uniform = random(1);
    for (let trial = 0; trial < 5000; trial++) {
      const alignment = 2 ** Math.floor(9 * uniform());
      const limits = limitsWith({ minStorageBufferOffsetAlignment: alignment });
      const begin = 4 * Math.floor(1e6 * uniform());
      const end = begin + 4 * Math.ceil(1e6 * uniform());
      const { offset, size } = sliceBytes(limits, begin, end);
      const message = `seed 1: ${begin} to ${end}, alignment ${alignment} → ${offset} + ${size}`;
      expect(offset % alignment, message).toBe(0);
      expect(offset, message).toBeLessThanOrEqual(begin);
      expect(offset, message).toBeGreaterThan(begin - alignment);
      expect(offset + size, message).toBe(end);
    }
  });

  test("have a base in elements of the binding", () => {
    const kernel = makeKernel({
      id: "test",
      label: "elements",
      workgroupSize: 1,
      bindings: [
        { name: "scalars", access: "read", element: "f32" },
        { name: "pairs", access: "read", element: "vec2f" },
        { name: "vectors", access: "read", element: "vec4f" },
      ],
      params: [],
      declarations: "",
      body: "",
    });
    const slice = { offset: 256, size: 1024 };
    expect(["scalars", "pairs", "vectors"].map((name) => sliceBase(kernel, name, slice))).toEqual([64, 32, 16]);
    expect(sliceBase(kernel, "pairs", undefined)).toBe(0);
  });

  test("bindableUnits pieces can be bound from any of them on, and not many fewer than possible", () => {
    const uniform = random(2);
    for (let trial = 0; trial < 5000; trial++) {
      const alignment = 2 ** Math.floor(5 + 4 * uniform());
      const binding = Math.ceil(2 ** (8 + 12 * uniform()));
      const limits = limitsWith({ minStorageBufferOffsetAlignment: alignment, maxStorageBufferBindingSize: binding });
      const unit = 4 * Math.ceil(2 ** (14 * uniform()));
      const count = Math.ceil(100 * uniform());
      const units = bindableUnits(limits, unit, count);
      const message = `seed 2: ${count} × ${unit} bytes, binding ${binding}, alignment ${alignment} → ${units}`;
      expect(Number.isInteger(units) && units >= 0 && units <= count, message).toBe(true);
      if (units === count) expect(unit * count, message).toBeLessThanOrEqual(binding);
      else expect(unit * (units + 1) + alignment, message).toBeGreaterThan(binding);
      for (let first = 0; units >= 1 && first + units <= count; first += units) {
        const { size } = sliceBytes(limits, first * unit, (first + units) * unit);
        expect(size, message).toBeLessThanOrEqual(binding);
      }
    }
  });
});

describe("workspace", () => {
  test("buffers that do not live at the same time share memory, others do not", () => {
    const program = builder();
    const [input, OUT] = [program.tensor("in", "input", 400), program.tensor("OUT", "output", 400)];
    const [A, B, C] = [program.temporary("A", 1000), program.temporary("B", 200), program.temporary("C", 600)];
    step(program, [input], [A]);
    program.dispatch({ kernel: kernelOf(["a", "B"]), groups: 1, params: {}, uses: { a: { buffer: A }, B: { buffer: B } }, flops: 0 });
    program.dispatch({ kernel: kernelOf(["b", "C"]), groups: 1, params: {}, uses: { b: { buffer: B }, C: { buffer: C } }, flops: 0 });
    program.dispatch({ kernel: kernelOf(["c", "OUT"]), groups: 1, params: {}, uses: { c: { buffer: C }, OUT: { buffer: OUT } }, flops: 0 });
    const { buffers, slots, cost } = program.finish();
    const slot = Object.fromEntries(buffers.map((buffer) => [buffer.name, buffer.slot]));
    expect(slot["A"]).toBe(slot["C"]);
    expect(slot["A"]).not.toBe(slot["B"]);
    expect(slots[slot["A"]!]).toBe(1000);
    expect(slots[slot["B"]!]).toBe(200);
    expect(cost.workspaceBytes).toBe(1200);
    expect(slot["in"]).toBeUndefined();
    expect(slot["OUT"]).toBeUndefined();
  });

  test("a small one that is held for long does not keep the memory of a large one", () => {
    const program = builder();
    const OUT = program.tensor("OUT", "output", 4);
    const [large, small, again] = [program.temporary("large", 1000), program.temporary("small", 8), program.temporary("again", 1000)];
    for (const buffers of [[large], [small], [again, small], [small, OUT]]) step(program, [], buffers);
    expect(program.finish().slots).toEqual([1000, 8]);
  });

  test("random lifetimes never meet in a slot, and slots take little more than they must", () => {
    const uniform = random(3);
    let [taken, least] = [0, 0];
    for (let trial = 0; trial < 200; trial++) {
      const program = builder();
      const count = 1 + Math.floor(8 * uniform());
      const lives = Array.from({ length: count }, (_, i) => {
        const bytes = 4 * Math.ceil(1000 * uniform());
        const buffer = program.temporary(`W${i}`, bytes);
        const first = Math.floor(10 * uniform());
        return { buffer, name: `W${i}`, bytes, first, last: first + Math.floor(4 * uniform()) };
      });
      for (let index = 0; index < 14; index++) {
        const used = lives.filter(({ first, last }) => first === index || last === index).map(({ buffer }) => buffer);
        step(program, [], [...used, program.tensor(`OUT${index}`, "output", 4)].slice(0, 8));
      }
      const { buffers, slots } = program.finish();
      const placed = lives.map((life) => ({ ...life, slot: buffers.find((buffer) => buffer.name === life.name)!.slot! }));
      for (const a of placed) {
        expect(slots[a.slot]!, `seed 3, trial ${trial}`).toBeGreaterThanOrEqual(a.bytes);
        for (const b of placed) {
          if (a !== b && a.slot === b.slot) expect(a.last < b.first || b.last < a.first, `seed 3, trial ${trial}: ${a.name}, ${b.name}`).toBe(true);
        }
      }
      // However slots are shared, the k-th largest is no smaller than the k-th largest of the buffers alive at any time.
      const alive = Array.from({ length: 14 }, (_, i) => lives.filter(({ first, last }) => first <= i && i <= last).map(({ bytes }) => bytes));
      const ranked = alive.map((bytes) => bytes.sort((a, b) => b - a));
      for (let k = 0; k < count; k++) least += Math.max(...ranked.map((bytes) => bytes[k] ?? 0));
      taken += slots.reduce((a, b) => a + b);
    }
    expect(taken / least).toBeGreaterThanOrEqual(1);
    expect(taken / least).toBeLessThan(1.01);
  });
});

describe("a grid that holds too few workgroups", () => {
  const capacity = 4 ** 3;

  test.each([1, capacity, capacity + 1, 2 * capacity, 10 * capacity - 1, 1000])("%i of them are done, each once", (groups) => {
    const limits = limitsWith({ maxComputeWorkgroupsPerDimension: 4 });
    const program = builder(limits);
    const bytes = 4 * 64 * groups;
    const [input, output] = [program.tensor("in", "input", bytes), program.tensor("OUT", "output", bytes)];
    const uses = { in: { buffer: input, reads: bytes }, OUT: { buffer: output, writes: bytes } };
    program.dispatch({ kernel: kernelOf(["in", "OUT"], 64, ["count"]), groups, params: { count: 64 * groups }, uses, flops: 64 * groups });
    const { dispatches, cost } = program.finish();
    expect(dispatches.length).toBe(Math.ceil(groups / capacity));
    let next = 0;
    for (const { params, workgroups } of dispatches) {
      const [endGroup, firstGroup, count] = params;
      expect([firstGroup, count]).toEqual([next, 64 * groups]);
      next = endGroup!;
      const [x, y, z] = workgroups;
      expect(Math.max(x, y, z)).toBeLessThanOrEqual(4);
      expect(x * y * z).toBeGreaterThanOrEqual(endGroup! - firstGroup!);
    }
    expect(next).toBe(groups);
    expect(cost).toMatchObject({ bytesMoved: 2 * bytes, bytesMinimum: 2 * bytes, flops: 64 * groups });
  });
});

describe("work that would take long", () => {
  const speed = { flopsPerSecond: 4e9, bytesPerSecond: 1e9, workgroupShare: 0.1, paces: { test: 8 } };
  /** How many dispatches there are, of 1e9 operations each, or 8e9 at the pace of the kernel. */
  const planned = (flops: number, mostFlops?: number) => {
    const program = builder(limitsWith({ speed }));
    const uses = { OUT: { buffer: program.tensor("OUT", "output", 4), writes: 4 } };
    program.dispatch({ kernel: kernelOf(["OUT"]), groups: 1000, params: {}, uses, flops, ...(mostFlops !== undefined && { mostFlops }) });
    const { dispatches, isLong } = program.finish();
    return [dispatches.length, isLong];
  };

  test("is cut by the pace of its kernel, and by what it is for some data where that is far more", () => {
    expect(planned(1e9)).toEqual([1, false]);
    expect(planned(1e10)).toEqual([2, true]);
    expect(planned(0, 1e10)).toEqual([10, true]);
    expect(planned(0, 1e15)).toEqual([256, true]);
  });
});

describe("tables", () => {
  test("with the same contents are one buffer, and count once a dispatch", () => {
    const program = builder();
    const first = program.table([{ kind: "twiddles", radices: [4, 4] }]);
    const again = program.table([{ kind: "twiddles", radices: [4, 4] }]);
    const other = program.table([{ kind: "twiddles", radices: [16] }]);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
    const uses = { tables: { buffer: first }, OUT: { buffer: program.tensor("OUT", "output", 4), writes: 4 } };
    program.dispatch({ kernel: kernelOf(["tables", "OUT"]), groups: 1000, params: {}, uses, flops: 0 });
    const { cost, dispatches } = program.finish();
    expect(dispatches[0]!.bytesRead).toBe(12 * 8);
    expect(cost).toEqual({ dispatches: 1, bytesMoved: 12 * 8 + 4, bytesMinimum: 4, flops: 0, workspaceBytes: 0 });
  });
});

describe("limits", () => {
  test.each([
    ["maxBufferSize", limitsWith({ maxBufferSize: 396 }), /maxBufferSize is 396/],
    ["maxStorageBufferBindingSize", limitsWith({ maxStorageBufferBindingSize: 396 }), /maxStorageBufferBindingSize is 396/],
    ["maxComputeInvocationsPerWorkgroup", limitsWith({ maxComputeInvocationsPerWorkgroup: 63 }), /maxComputeInvocationsPerWorkgroup is 63/],
    ["maxStorageBuffersPerShaderStage", limitsWith({ maxStorageBuffersPerShaderStage: 1 }), /maxStorageBuffersPerShaderStage is 1/],
    ["workspaceBytes", limitsWith({ workspaceBytes: 399 }), /workspaceBytes is 399/],
  ])("%s is refused by name", (_name, limits, message) => {
    const build = () => {
      const program = builder(limits);
      step(program, [program.tensor("in", "input", 400)], [program.temporary("W", 400)]);
      return program.finish();
    };
    expect(build).toThrow(expect.objectContaining({ name: "FastRpbError", code: "limit", message: expect.stringMatching(message) }));
    expect(build).toThrow(expect.objectContaining({ message: expect.stringMatching(/^runtime\.test: .* takes (400|64|2) /) }));
  });

  test("just enough is enough", () => {
    const program = builder(
      limitsWith({
        maxBufferSize: 400,
        maxStorageBufferBindingSize: 400,
        maxComputeInvocationsPerWorkgroup: 64,
        maxComputeWorkgroupSizeX: 64,
        maxStorageBuffersPerShaderStage: 2,
        workspaceBytes: 400,
      }),
    );
    step(program, [program.tensor("in", "input", 400)], [program.temporary("W", 400)]);
    expect(program.finish().cost.workspaceBytes).toBe(400);
  });

  test("the guaranteed limits are those of the WebGPU specification", () => {
    expect(DEFAULT_LIMITS).toEqual({
      maxBufferSize: 256 * 2 ** 20,
      maxStorageBufferBindingSize: 128 * 2 ** 20,
      maxStorageBuffersPerShaderStage: 8,
      maxComputeWorkgroupStorageSize: 16 * 1024,
      maxComputeInvocationsPerWorkgroup: 256,
      maxComputeWorkgroupSizeX: 256,
      maxComputeWorkgroupsPerDimension: 65535,
      minStorageBufferOffsetAlignment: 256,
      minUniformBufferOffsetAlignment: 256,
    });
  });
});

describe("parameters", () => {
  test("stand in the kernel's order, negative ones modulo 2³²", () => {
    const program = builder();
    const uses = { OUT: { buffer: program.tensor("OUT", "output", 4) } };
    const kernel = kernelOf(["OUT"], 64, ["count", "base"]);
    program.dispatch({ kernel, groups: 3, params: { base: -5, count: 4e9 }, uses, flops: 0 });
    expect(kernel.params).toEqual(["endGroup", "firstGroup", "count", "base"]);
    expect(program.finish().dispatches[0]!.params).toEqual([3, 0, 4e9, 2 ** 32 - 5]);
  });

  test("that are missing, and bindings that are, are a defect of the plan", () => {
    const program = builder();
    const uses = { OUT: { buffer: program.tensor("OUT", "output", 4) } };
    expect(() => program.dispatch({ kernel: kernelOf(["OUT"], 1, ["count"]), groups: 1, params: {}, uses, flops: 0 })).toThrow(TypeError);
    expect(() => program.dispatch({ kernel: kernelOf(["OUT", "b"], 1), groups: 1, params: {}, uses, flops: 0 })).toThrow(TypeError);
    const foreign = { OUT: { buffer: builder().tensor("OUT", "output", 4) } };
    expect(() => program.dispatch({ kernel: kernelOf(["OUT"], 1), groups: 1, params: {}, uses: foreign, flops: 0 })).toThrow(TypeError);
    expect(() => program.tensor("OUT", "input", 4)).toThrow(TypeError);
  });
});
