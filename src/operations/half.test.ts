/** Plans of FFTs whose tensors hold float16. */
import { describe, expect, test } from "vitest";
import { ELEMENT_BYTES } from "../../shaders/wgsl/kernel.ts";
import { elementCount } from "../core/check.ts";
import { DEFAULT_LIMITS, type PlannerLimits } from "../core/limits.ts";
import { type FftOptions, fftSpec, inPlaceSpec } from "../testing/specs.ts";
import { LIMIT_SETS, limitsWith } from "../testing/planning.ts";
import { planProgram } from "../testing/operations.ts";
import type { Program } from "../program/program.ts";
import { bindableUnits, sliceBytes } from "../program/ranges.ts";
import { sum } from "../program/units.ts";

const plan = (options: FftOptions, storage: "f32" | "f16", limits: PlannerLimits = limitsWith()) =>
  planProgram("test", fftSpec({ ...options, storage }), limits);

const bytesOf = (program: Program, name: string) => program.buffers.find((buffer) => buffer.name === name)!.bytes;

/** Bytes that all dispatches together read from, or write to, a buffer. */
function moved(program: Program, name: string, way: "bytesRead" | "bytesWritten"): number {
  return sum(program.dispatches, (dispatch) => sum(dispatch.bindings, (binding) => (binding.buffer === name ? binding[way] : 0)));
}

const KINDS = ["c2c", "r2c", "c2r"] as const;
const SHAPES: readonly FftOptions[] = [
  { shape: [1] },
  { shape: [2] },
  { shape: [3, 7] },
  { shape: [5, 1000] },
  { shape: [3, 1001] },
  { shape: [2, 16384] },
  { shape: [2, 15015] },
  { shape: [3, 1009] },
  { shape: [1, 10007] },
  { shape: [6, 30, 5], axes: [1] },
  { shape: [16384, 3], axes: [0] },
  { shape: [15, 9, 5], axes: [0] },
];
const MANY_AXES: readonly FftOptions[] = [
  { shape: [3, 16, 16], axes: [1, 2] },
  { shape: [3, 500, 1001], axes: [1, 2] },
  { shape: [2, 100, 9, 201], axes: [3, 1] },
  { shape: [33, 65, 21], axes: [0, 1, 2] },
  { shape: [7, 16384], axes: [0, 1] },
];

describe.each(KINDS)("%s", (kind) => {
  test("along one axis: the same dispatches and workspace, half of the bytes in the tensors", () => {
    for (const options of SHAPES) {
      const [whole, half] = [plan({ ...options, kind }, "f32"), plan({ ...options, kind }, "f16")];
      for (const name of ["x", "out"]) expect(2 * bytesOf(half, name)).toBe(bytesOf(whole, name));
      expect(half.dispatches.length).toBe(whole.dispatches.length);
      expect(half.slots).toEqual(whole.slots);
      expect(2 * half.cost.bytesMinimum).toBe(whole.cost.bytesMinimum);
      expect(half.cost.flops).toBe(whole.cost.flops);
      const ends = (program: Program) => moved(program, "x", "bytesRead") + moved(program, "out", "bytesWritten");
      expect(2 * ends(half)).toBe(ends(whole));
      expect(half.cost.bytesMoved).toBe(whole.cost.bytesMoved - ends(half));
    }
  });

  test("along several axes: nothing is rounded between them, the result is written once", () => {
    for (const options of MANY_AXES) {
      const program = plan({ ...options, kind }, "f16");
      expect(moved(program, "x", "bytesWritten")).toBe(0);
      expect(moved(program, "out", "bytesRead")).toBe(0);
      expect(moved(program, "out", "bytesWritten")).toBe(bytesOf(program, "out"));
      expect(program.cost.bytesMinimum).toBe(bytesOf(program, "x") + bytesOf(program, "out"));
    }
  });

  test("bindings are whole words that start at an element, within the limits", () => {
    const odd = [6_002, 40_002].map((bytes) => limitsWith({ maxStorageBufferBindingSize: bytes, minStorageBufferOffsetAlignment: 32 }));
    let sliced = 0;
    for (const limits of [...Object.values(LIMIT_SETS), ...odd]) {
      for (const options of [...SHAPES, ...MANY_AXES, { shape: [1001, 77] }, { shape: [333, 9, 7], axes: [1] }]) {
        let program: Program;
        try {
          program = plan({ ...options, kind }, "f16", limits);
        } catch (error) {
          expect(error).toMatchObject({ code: "limit" });
          continue;
        }
        for (const { kernel, bindings } of program.dispatches) {
          const elements = kernel.bindings.map(({ element }) => element);
          for (const [i, { buffer, offset, size }] of bindings.entries()) {
            const element = elements[i]!;
            const end = Math.ceil(bytesOf(program, buffer) / 4) * 4;
            expect(offset % limits.minStorageBufferOffsetAlignment).toBe(0);
            expect(size % 4).toBe(0);
            expect(size).toBeLessThanOrEqual(limits.maxStorageBufferBindingSize);
            expect(offset + size).toBeLessThanOrEqual(end);
            expect(ELEMENT_BYTES[element]).toBe(buffer !== "x" && buffer !== "out" ? 8 : element === "f16" ? 2 : 4);
            if (offset > 0) sliced++;
          }
        }
      }
    }
    expect(sliced).toBeGreaterThan(20);
  });
});

describe("in place", () => {
  test("tensors are read and written once, whatever lies between", () => {
    for (const options of [...SHAPES, ...MANY_AXES]) {
      const program = planProgram("test", inPlaceSpec(fftSpec({ ...options, storage: "f16" })), limitsWith());
      expect(program.buffers.some(({ name }) => name === "x")).toBe(false);
      expect(moved(program, "out", "bytesRead")).toBe(bytesOf(program, "out"));
      expect(moved(program, "out", "bytesWritten")).toBe(bytesOf(program, "out"));
      expect(bytesOf(program, "out")).toBe(4 * elementCount(options.shape));
    }
  });
});

describe("the workspace between axes", () => {
  const options = { shape: [20, 500, 300], axes: [1, 2] } as const;
  const slab = 8 * 500 * 300;

  test("is as small as workspaceBytes asks: transforms go in groups", () => {
    expect(plan(options, "f16").cost.workspaceBytes).toBe(20 * slab);
    for (const [workspaceBytes, count] of [
      [20 * slab - 8, 19],
      [3 * slab + 100, 3],
      [slab, 1],
    ] as const) {
      const program = plan(options, "f16", limitsWith({ workspaceBytes }));
      expect(program.cost.workspaceBytes).toBe(count * slab);
      expect(program.dispatches.length).toBe(2 * Math.ceil(20 / count));
      expect(moved(program, "out", "bytesWritten")).toBe(bytesOf(program, "out"));
    }
  });

  test("holds one transform at least, or the plan is refused by name", () => {
    expect(() => plan(options, "f16", limitsWith({ workspaceBytes: slab - 1 }))).toThrow(expect.objectContaining({ code: "limit" }));
    expect(() => plan(options, "f16", limitsWith({ workspaceBytes: slab - 1 }))).toThrow(/workspaceBytes/);
    expect(plan(options, "f32", limitsWith({ workspaceBytes: 1 })).cost.workspaceBytes).toBe(0);
  });

  test("leaves room for that of the passes", () => {
    const workspaceBytes = 3 * 8 * 32768 * 4;
    const program = plan({ shape: [9, 32768, 4], axes: [1, 2] }, "f16", limitsWith({ workspaceBytes }));
    expect(program.cost.workspaceBytes).toBeLessThanOrEqual(workspaceBytes);
    expect(moved(program, "out", "bytesWritten")).toBe(bytesOf(program, "out"));
  });
});

describe("ranges of buffers with an odd count of float16", () => {
  test("slices are filled up to whole words", () => {
    const limits = limitsWith({ minStorageBufferOffsetAlignment: 32 });
    expect(sliceBytes(limits, 66, 198)).toEqual({ offset: 64, size: 136 });
    expect(sliceBytes(limits, 64, 200)).toEqual({ offset: 64, size: 136 });
  });

  test("and still fit into a binding", () => {
    for (const maxStorageBufferBindingSize of [998, 999, 1000, 1001, 1002, 1003]) {
      for (const unit of [2, 6, 14, 98, 250]) {
        const limits = limitsWith({ maxStorageBufferBindingSize, minStorageBufferOffsetAlignment: 32 });
        const count = bindableUnits(limits, unit, 10_000);
        for (let first = 0; first < 100; first++) {
          expect(sliceBytes(limits, first * unit, (first + count) * unit).size).toBeLessThanOrEqual(maxStorageBufferBindingSize);
        }
      }
    }
    expect(bindableUnits({ ...limitsWith(), maxStorageBufferBindingSize: DEFAULT_LIMITS.maxStorageBufferBindingSize }, 2, 3)).toBe(3);
  });
});
