/** What holds for every program of the planner, whatever it computes. */
import { ELEMENT_BYTES } from "../../shaders/wgsl/kernel.ts";
import { planProgram } from "./operations.ts";
import { planProgram as planTask, type Task } from "../operations/operation.ts";
import type { Program, ProgramDispatch } from "../program/program.ts";
import { FastRpbError } from "../core/errors.ts";
import type { PlannerLimits } from "../core/limits.ts";
import type { AnySpec } from "./specs.ts";

/** The program, or `undefined` where the device is too small. Any other error is passed on. */
export function tryPlan(spec: AnySpec, limits: PlannerLimits): Program | undefined {
  try {
    return planProgram("test", spec, limits);
  } catch (error) {
    if (error instanceof FastRpbError && error.code === "limit") return undefined;
    throw new Error(`${JSON.stringify(spec)}: ${String(error)}`, { cause: error });
  }
}

/** What is wrong with the program of a task on a device, which may be too small for it. Any other error is passed on. */
export function planComplaints(one: Task, limits: PlannerLimits): string[] {
  try {
    return programComplaints(planTask("test", one, limits), limits);
  } catch (error) {
    if (error instanceof FastRpbError && error.code === "limit") return [];
    throw error;
  }
}

export function total<T>(items: readonly T[], value: (item: T) => number): number {
  let result = 0;
  for (const item of items) result += value(item);
  return result;
}

/** Ranges of one buffer, merged. */
export class Ranges {
  #ranges: (readonly [begin: number, end: number])[] = [];

  add(begin: number, end: number): void {
    this.#ranges.push([begin, end]);
    this.#ranges.sort((a, b) => a[0] - b[0]);
    const merged: [number, number][] = [];
    for (const [from, to] of this.#ranges) {
      const last = merged.at(-1);
      if (last && from <= last[1]) last[1] = Math.max(last[1], to);
      else merged.push([from, to]);
    }
    this.#ranges = merged;
  }

  covers(begin: number, end: number): boolean {
    return this.#ranges.some(([from, to]) => from <= begin && end <= to);
  }
}

/** A number that the kernel of a dispatch was generated from: "shape.columns" is `columns` of the `shape` in its constants. */
export function constantOf({ kernel }: ProgramDispatch, path: string): number {
  let value: unknown = kernel.constants;
  for (const name of path.split(".")) value = (value as Readonly<Record<string, unknown>>)[name];
  if (typeof value !== "number") throw new TypeError(`${kernel.id}: no number ${path} in its constants`);
  return value;
}

export function thawed(value: unknown, path = "program"): string[] {
  if (typeof value !== "object" || value === null) return [];
  const here = Object.isFrozen(value) ? [] : [path];
  return [...here, ...Object.entries(value).flatMap(([key, inner]) => thawed(inner, `${path}.${key}`))];
}

/** The dispatches, those together that share the work of one that was cut. */
export function dispatchGroups({ dispatches }: Program): readonly (readonly ProgramDispatch[])[] {
  const groups: ProgramDispatch[][] = [];
  for (const dispatch of dispatches) {
    const [, firstGroup, ...params] = dispatch.params;
    const before = groups.at(-1)?.at(-1);
    if (firstGroup === 0) groups.push([dispatch]);
    else if (!before || before.kernel !== dispatch.kernel || before.params[0] !== firstGroup || `${before.params.slice(2)}` !== `${params}`) {
      throw new Error(`${dispatch.label}: groups from ${firstGroup} on follow others`);
    } else groups.at(-1)!.push(dispatch);
  }
  return groups;
}

/** The dispatches as they were before work that takes long was cut: each does all workgroups of its kernel, from the first on. */
export function wholeDispatches(program: Program): readonly ProgramDispatch[] {
  return dispatchGroups(program).map((group) => {
    const last = group.at(-1)!;
    const bindings = last.bindings.map((binding, b) => {
      const table = program.buffers.some(({ name, role }) => name === binding.buffer && role === "table");
      const [bytesRead, bytesWritten] = [total(group, (d) => d.bindings[b]!.bytesRead), total(group, (d) => d.bindings[b]!.bytesWritten)];
      return { ...binding, bytesRead: table ? binding.bytesRead : bytesRead, bytesWritten };
    });
    const [endGroup, , ...params] = last.params as [number, number, ...number[]];
    return { ...last, bindings, params: [endGroup, 0, ...params], flops: total(group, (d) => d.flops) };
  });
}

/** Bytes that a program has to read of an input at least: half of the spectrum's rows of a long sequence are images of the rest. */
export function leastReads({ dispatches }: Program, { name, bytes }: { readonly name: string; readonly bytes: number }): number {
  const halved = name === "spectrum" && dispatches.some(({ kernel }) => kernel.id === "toeplitz/rows");
  return halved ? bytes / 2 : bytes;
}

/** Everything that is wrong with a program on a device, but for what depends on its operation. */
export function programComplaints(program: Program, limits: PlannerLimits): string[] {
  const found: string[] = [];
  const check = (holds: boolean, what: () => string) => {
    if (!holds) found.push(what());
  };
  const buffers = new Map(program.buffers.map((buffer) => [buffer.name, buffer]));
  check(buffers.size === program.buffers.length, () => "two buffers of one name");
  const place = (name: string) => {
    const { role, slot } = buffers.get(name)!;
    return role === "workspace" ? `slot ${slot}` : name;
  };

  for (const buffer of program.buffers) {
    check(buffer.bytes > 0 && buffer.bytes % 4 === 0 && buffer.bytes <= limits.maxBufferSize, () => `${buffer.name} has ${buffer.bytes} bytes`);
    check((buffer.role === "workspace") === (buffer.slot !== undefined), () => `slot of ${buffer.name}`);
    if (buffer.slot !== undefined) check(program.slots[buffer.slot]! >= buffer.bytes, () => `${buffer.name} is larger than its slot`);
    check((buffer.role === "table") === (buffer.parts !== undefined), () => `parts of ${buffer.name}`);
    check(
      program.dispatches.some((dispatch) => dispatch.bindings.some((binding) => binding.buffer === buffer.name)),
      () => `${buffer.name} is never used`,
    );
  }

  // Dispatches
  for (const [index, dispatch] of program.dispatches.entries()) {
    const { kernel, workgroups, workgroupSize, params } = dispatch;
    const at = `dispatch ${index}, ${dispatch.label}`;
    const lanes = workgroupSize[0];
    check(workgroupSize[1] === 1 && workgroupSize[2] === 1, () => `${at}: workgroup size ${workgroupSize}`);
    check(lanes >= 1 && lanes <= limits.maxComputeInvocationsPerWorkgroup && lanes <= limits.maxComputeWorkgroupSizeX, () => `${at}: ${lanes} lanes`);
    check(`${workgroupSize}` === `${kernel.workgroupSize}`, () => `${at}: the kernel has ${kernel.workgroupSize} lanes`);
    check(
      workgroups.every((n) => Number.isInteger(n) && n >= 1 && n <= limits.maxComputeWorkgroupsPerDimension),
      () => `${at}: grid ${workgroups}`,
    );
    check(
      params.length === kernel.params.length && kernel.params[0] === "endGroup" && kernel.params[1] === "firstGroup",
      () => `${at}: ${params.length} parameters`,
    );
    check(
      params.every((value) => Number.isInteger(value) && value >= 0 && value < 2 ** 32),
      () => `${at}: parameters ${params}`,
    );
    const groups = params[0]! - params[1]!;
    check(groups >= 1 && workgroups[0] * workgroups[1] * workgroups[2] >= groups, () => `${at}: grid ${workgroups} for ${groups} groups`);
    check(dispatch.estimatedSeconds > 0 && dispatch.estimatedSeconds <= 0.25, () => `${at}: ${dispatch.estimatedSeconds} s`);
    check(kernel.workgroupBytes <= limits.maxComputeWorkgroupStorageSize, () => `${at}: ${kernel.workgroupBytes} bytes of workgroup memory`);
    check(dispatch.bindings.length <= limits.maxStorageBuffersPerShaderStage, () => `${at}: ${dispatch.bindings.length} bindings`);
    check(dispatch.bindings.length === kernel.bindings.length, () => `${at}: bindings do not match the kernel's`);
    for (const [i, binding] of dispatch.bindings.entries()) {
      const { name, access, element, rarely = false } = kernel.bindings[i]!;
      const where = `${at}: ${binding.name} = ${binding.buffer} ${binding.offset} + ${binding.size}`;
      const buffer = buffers.get(binding.buffer);
      check(name === binding.name, () => `${where} where the kernel has ${name}`);
      check(buffer !== undefined, () => `${where}: no such buffer`);
      if (!buffer) continue;
      check(binding.offset >= 0 && binding.offset % limits.minStorageBufferOffsetAlignment === 0, () => `${where}: misaligned`);
      check(binding.offset % ELEMENT_BYTES[element] === 0, () => `${where}: not a multiple of its element`);
      check(binding.size >= ELEMENT_BYTES[element] && binding.size % 4 === 0, () => `${where}: size`);
      check(binding.offset + binding.size <= buffer.bytes, () => `${where}: beyond ${buffer.bytes}`);
      check(binding.size <= limits.maxStorageBufferBindingSize, () => `${where}: larger than a binding may be`);
      check(access === "read_write" || binding.bytesWritten === 0, () => `${where}: written, but bound for reading`);
      check(access === "read" || rarely || binding.bytesWritten > 0, () => `${where}: bound for writing, but not written`);
      check(access === "read_write" || rarely || binding.bytesRead > 0, () => `${where}: bound for reading, but not read`);
      check(binding.bytesWritten <= binding.size, () => `${where}: ${binding.bytesWritten} bytes written`);
      check(access === "read" || (buffer.role !== "input" && buffer.role !== "table"), () => `${where}: writes to the ${buffer.role}`);
      // WebGPU: a buffer that is written is not read by another binding of the dispatch, and ranges of it that are written do not overlap.
      for (const [j, other] of dispatch.bindings.entries()) {
        if (j <= i || place(other.buffer) !== place(binding.buffer)) continue;
        const isApart = binding.offset + binding.size <= other.offset || other.offset + other.size <= binding.offset;
        const accesses = [access, kernel.bindings[j]!.access];
        const isAllowed = accesses.every((each) => each === "read") || (accesses.every((each) => each === "read_write") && isApart);
        check(isAllowed, () => `${where}: shares memory with ${other.name}, and one of them is written`);
      }
    }
    check(dispatch.bytesRead === total(dispatch.bindings, (b) => b.bytesRead), () => `${at}: bytes read`);
    check(dispatch.bytesWritten === total(dispatch.bindings, (b) => b.bytesWritten), () => `${at}: bytes written`);
    check(Number.isFinite(dispatch.flops) && dispatch.flops >= 0, () => `${at}: ${dispatch.flops} flops`);
  }

  // Order and lifetimes of the workspace
  const written = new Map<string, Ranges>();
  for (const [index, dispatch] of program.dispatches.entries()) {
    for (const binding of dispatch.bindings) {
      const role = buffers.get(binding.buffer)?.role;
      if (binding.bytesRead > 0 && (role === "workspace" || role === "output")) {
        const ready = written.get(binding.buffer)?.covers(binding.offset, binding.offset + binding.size) === true;
        check(ready, () => `dispatch ${index} reads ${binding.buffer} before all of it is written`);
      }
    }
    for (const binding of dispatch.bindings) {
      if (binding.bytesWritten === 0) continue;
      const ranges = written.get(binding.buffer) ?? new Ranges();
      ranges.add(binding.offset, binding.offset + binding.size);
      written.set(binding.buffer, ranges);
    }
  }
  const lives = program.buffers
    .filter(({ role }) => role === "workspace")
    .map(({ name, slot }) => {
      const uses = program.dispatches.flatMap((dispatch, i) => (dispatch.bindings.some((b) => b.buffer === name) ? [i] : []));
      return { name, slot, first: Math.min(...uses), last: Math.max(...uses) };
    });
  for (const [i, a] of lives.entries()) {
    for (const b of lives.slice(i + 1)) {
      if (a.slot === b.slot) check(a.last < b.first || b.last < a.first, () => `${a.name} and ${b.name} live at once in slot ${a.slot}`);
    }
  }

  const { cost } = program;
  check(cost.dispatches === program.dispatches.length, () => "number of dispatches");
  check(cost.bytesMoved === total(program.dispatches, (d) => d.bytesRead + d.bytesWritten), () => "bytes moved");
  check(cost.flops === total(program.dispatches, (d) => d.flops), () => "flops");
  check(cost.workspaceBytes === total(program.slots, (bytes) => bytes), () => "workspace");
  check(cost.workspaceBytes <= limits.workspaceBytes, () => `${cost.workspaceBytes} bytes of workspace`);
  return found;
}
