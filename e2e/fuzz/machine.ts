/** Where cases run: a GPU, or in the fuzzer's own tests, something that makes mistakes on purpose. */
import { createRuntime, type Runtime, type Tensor } from "../../src/index.ts";
import { MAP_MODE_READ, READBACK_USAGE, STORAGE_USAGE } from "../../src/gpu/usage.ts";
import { wholeWords } from "../../src/core/limits.ts";
import type { Arrays, FuzzCase, Subject } from "./case.ts";
import { runtimeLimits } from "./limits.ts";
import { decode, drawData, encode, type Memory, type Place } from "./memory.ts";
import type { OpenPlan } from "./operation.ts";
import { OPERATION } from "./operations/index.ts";

export interface Observation {
  /** All of the memory after the run. */
  readonly buffers: readonly Uint8Array[];
  /** The results, as their tensors read. */
  readonly outputs: Arrays;
}

/** A plan that is ready to run. */
export interface OpenSubject {
  /** Of offsets into buffers. */
  readonly alignment: number;
  run(fuzzCase: FuzzCase, memory: Memory): Promise<Observation>;
  dispose(): void;
}

export interface Machine {
  readonly name: string;
  /** Whether it stores float16. */
  readonly half: boolean;
  open(subject: Subject): Promise<OpenSubject>;
  dispose(): void;
}

/** A device collects what it has compiled; after so many plans there is a new one. */
const PLANS_PER_DEVICE = 64;
/** Buffers up to here are filled with NaN before they come to be a plan's workspace. */
const LARGEST_SPOILT = 2 ** 20;

export function machineName({ adapterInfo }: Runtime): string {
  return [adapterInfo?.vendor, adapterInfo?.architecture, adapterInfo?.description].filter(Boolean).join(" ");
}

export async function gpuMachine(gpu: GPU): Promise<Machine> {
  let owner = await createRuntime({ backend: "webgpu", gpu });
  let uses = 0;
  let plans = 0;
  const retired = new Map<Runtime, number>();
  const counts = new Map<Runtime, number>();
  const release = (runtime: Runtime) => {
    const left = counts.get(runtime)! - 1;
    counts.set(runtime, left);
    if (left === 0 && retired.has(runtime)) runtime.dispose();
  };
  const { device } = owner;
  return {
    name: machineName(owner),
    half: device!.features.has("shader-f16"),
    async open(subject) {
      if (++plans % PLANS_PER_DEVICE === 0) {
        retired.set(owner, ++uses);
        if (!counts.get(owner)) owner.dispose();
        owner = await createRuntime({ backend: "webgpu", gpu });
      }
      const current = owner;
      counts.set(current, (counts.get(current) ?? 0) + 1);
      let runtime: Runtime | undefined;
      try {
        runtime = await createRuntime({ backend: "webgpu", device: current.device!, ...runtimeLimits(subject.limits) });
        const plan = await OPERATION[subject.operation].open(runtime, subject.options);
        spoil(runtime);
        return openSubject(runtime, plan, () => release(current));
      } catch (error) {
        runtime?.dispose();
        release(current);
        throw error;
      }
    },
    dispose: () => owner.dispose(),
  };
}

/** The memory after a run, where the results are known as numbers. */
export function placed(memory: Memory, results: Arrays): Observation {
  const buffers = memory.buffers.map((image) => image.slice());
  for (const name of memory.outputs) {
    const { buffer, offset, plan } = memory.places[name]!;
    buffers[buffer]!.set(encode(plan, results[name]), offset);
  }
  return { buffers, outputs: Object.fromEntries(memory.outputs.map((name) => [name, decode(buffers, memory.places[name]!)])) };
}

/** Idle buffers of each size, full of NaN: what a plan finds in its workspace. */
function spoil(runtime: Runtime): void {
  const tensors: Tensor[] = [];
  let bytes = 0;
  for (let size = 256; size <= LARGEST_SPOILT; size += 2 ** Math.floor(Math.log2(size)) / 8) {
    bytes += size;
    if (bytes > runtime.limits.workspaceBytes) break;
    tensors.push(runtime.tensor(new Float32Array(size / 4).fill(NaN), [size / 4]));
  }
  for (const tensor of tensors) tensor.dispose();
}

function openSubject(runtime: Runtime, plan: OpenPlan, release: () => void): OpenSubject {
  return {
    alignment: runtime.limits.minStorageBufferOffsetAlignment,
    run: (fuzzCase, memory) => runCase(runtime, plan, fuzzCase, memory),
    dispose() {
      plan.dispose();
      runtime.dispose();
      release();
    },
  };
}

async function runCase(runtime: Runtime, plan: OpenPlan, fuzzCase: FuzzCase, memory: Memory): Promise<Observation> {
  if (plan.perform) return placed(memory, await plan.perform(drawData(fuzzCase), fuzzCase.lengths));
  const device = runtime.device!;
  const foreign: GPUBuffer[] = [];
  const held: { dispose(): void }[] = [];
  // What the library does is reported by its tensors; this is for the caller's own encoder.
  device.pushErrorScope("validation");
  let observed: Promise<Uint8Array[]>;
  let problem: Promise<GPUError | null>;
  const tensors: Record<string, Tensor> = {};
  try {
    try {
      const buffers = memory.buffers.map((image, i) => {
        if (Object.values(memory.places).some((place) => place.buffer === i && place.own)) return undefined;
        const buffer = device.createBuffer({ size: image.length, usage: STORAGE_USAGE });
        device.queue.writeBuffer(buffer, 0, image as Uint8Array<ArrayBuffer>);
        foreign.push(buffer);
        return buffer;
      });
      const made = new Map<Place, Tensor>();
      for (const [name, place] of Object.entries(memory.places)) {
        let tensor = made.get(place);
        if (!tensor) {
          tensor = makeTensor(runtime, place, buffers[place.buffer], memory.buffers[place.buffer]!);
          held.push(tensor);
          made.set(place, tensor);
        }
        tensors[name] = tensor;
      }
      const encoder = fuzzCase.encode ? device.createCommandEncoder() : undefined;
      held.push(...plan.run({ tensors, encoder, prepared: fuzzCase.prepared, lengths: fuzzCase.lengths }));
      if (encoder) device.queue.submit([encoder.finish()]);
      observed = readBack(
        device,
        memory.buffers.map((image, i) => {
          const [name, place] = Object.entries(memory.places).find(([, place]) => place.buffer === i)!;
          const buffer = place.own ? tensors[name]!.buffer! : buffers[i]!;
          return { buffer, offset: place.own ? tensors[name]!.byteOffset : 0, bytes: image.length };
        }),
      );
    } finally {
      problem = device.popErrorScope();
    }
    const outputs = await Promise.all(memory.outputs.map(async (name) => [name, await numbersOfTensor(tensors[name]!)] as const));
    const error = await problem;
    if (error) throw new Error(`WebGPU: ${error.message}`);
    return { buffers: await observed, outputs: Object.fromEntries(outputs) };
  } finally {
    for (const { dispose } of held.map((item) => ({ dispose: () => item.dispose() }))) dispose();
    for (const buffer of foreign) buffer.destroy();
  }
}

function makeTensor(runtime: Runtime, place: Place, buffer: GPUBuffer | undefined, image: Uint8Array): Tensor {
  const { shape, dtype } = place.plan;
  if (buffer) return runtime.wrap(buffer, shape, { dtype, offset: place.offset });
  const payload = image.slice().buffer;
  if (dtype === "u32") return runtime.tensor(new Uint32Array(payload), shape, dtype);
  return dtype === "f16" ? runtime.tensor(new Uint16Array(payload), shape, dtype) : runtime.tensor(new Float32Array(payload), shape, dtype);
}

/** Numbers of a tensor, of integers too. */
export async function numbersOfTensor(tensor: Tensor): Promise<Float32Array> {
  return tensor.dtype === "u32" ? Float32Array.from(await tensor.data(new Uint32Array(tensor.size))) : tensor.data();
}

/** Ranges of buffers, in one copy. */
async function readBack(device: GPUDevice, ranges: readonly { readonly buffer: GPUBuffer; readonly offset: number; readonly bytes: number }[]) {
  const starts: number[] = [];
  let size = 0;
  for (const { bytes } of ranges) {
    starts.push(size);
    size += wholeWords(bytes);
  }
  const staging = device.createBuffer({ size, usage: READBACK_USAGE });
  const encoder = device.createCommandEncoder();
  for (const [i, { buffer, offset, bytes }] of ranges.entries()) encoder.copyBufferToBuffer(buffer, offset, staging, starts[i]!, wholeWords(bytes));
  device.queue.submit([encoder.finish()]);
  try {
    await staging.mapAsync(MAP_MODE_READ);
    const all = new Uint8Array(staging.getMappedRange());
    return ranges.map(({ bytes }, i) => all.slice(starts[i]!, starts[i]! + bytes));
  } finally {
    staging.destroy();
  }
}
