/** The memory of a run, byte by byte: tensors, and between those in a buffer of the caller's, guards. */
import { decodeHalf } from "../../src/core/half.ts";
import { wholeWords } from "../../src/core/limits.ts";
import { random } from "../../src/testing/random.ts";
import { type Arrays, type FuzzCase, numbersOf, type TensorPlan } from "./case.ts";
import { encodeHalf, fill, fillIndices } from "./data.ts";
import { OPERATION } from "./operations/index.ts";

export interface Place {
  /** Index among the buffers. */
  readonly buffer: number;
  readonly offset: number;
  readonly bytes: number;
  readonly plan: TensorPlan;
  /** A tensor of the runtime's; otherwise a wrapped buffer. */
  readonly own: boolean;
}

export interface Memory {
  readonly buffers: readonly Uint8Array[];
  readonly places: Readonly<Record<string, Place>>;
  /** Names of the results. */
  readonly outputs: readonly string[];
}

/** What results hold before a run: NaNs that no operation makes. */
const UNWRITTEN = 0x7fc0dead;
const UNWRITTEN_HALF = 0x7ead;
/** Behind a tensor at the least. */
const GUARD_BYTES = 64;

/** The numbers that go in, as exactly as they are stored. */
export function drawData(fuzzCase: FuzzCase): Arrays {
  const operation = OPERATION[fuzzCase.operation];
  const { inputs } = operation.tensors(fuzzCase.options);
  const data: Record<string, Float32Array> = {};
  for (const [i, [name, plan]] of Object.entries(inputs).entries()) {
    const kind = fuzzCase.data?.[name] ?? "normal";
    const numbers = (plan.dtype === "u32" ? fillIndices : fill)(kind, plan.kinds![kind]!, fuzzCase.seed + 7919 * i, numbersOf(plan));
    if (plan.dtype === "f16") decodeHalf(encodeHalf(numbers), numbers);
    data[name] = numbers;
  }
  if (fuzzCase.poison) operation.poison?.(data, fuzzCase);
  return data;
}

/** The memory before the run. */
export function layOut(fuzzCase: FuzzCase, data: Arrays, alignment: number): Memory {
  const { inputs, outputs } = OPERATION[fuzzCase.operation].tensors(fuzzCase.options);
  const draw = random(fuzzCase.seed ^ 0x3c3c3c3c);
  const contents = new Map<number, { place: Place; bytes: Uint8Array }[]>();
  const sizes: number[] = [];
  const places: Record<string, Place> = {};
  let shared: number | undefined;
  for (const [name, plan] of Object.entries({ ...inputs, ...outputs })) {
    if (fuzzCase.inPlace && name in outputs) {
      places[name] = places["x"]!;
      continue;
    }
    const bytes = encode(plan, data[name]);
    const layout = fuzzCase.layout?.[name];
    let buffer = layout === "shared" ? (shared ??= sizes.length) : sizes.length;
    if (layout === undefined) buffer = sizes.length;
    const end = sizes[buffer] ?? 0;
    // At the next place that is aligned, behind a guard that is never the same.
    const offset = layout === undefined ? 0 : alignment * (Math.ceil((end + GUARD_BYTES) / alignment) + Math.floor(2 * draw()));
    const place: Place = { buffer, offset, bytes: bytes.byteLength, plan, own: layout === undefined };
    sizes[buffer] = offset + wholeWords(bytes.byteLength);
    contents.set(buffer, [...(contents.get(buffer) ?? []), { place, bytes }]);
    places[name] = place;
  }
  const buffers = sizes.map((size, buffer) => {
    const own = contents.get(buffer)!.every(({ place }) => place.own);
    // A tensor of the runtime's is no more than its payload; a length of no round number has its end in the middle of something.
    const image = new Uint8Array(own ? contents.get(buffer)![0]!.bytes.byteLength : size + GUARD_BYTES + 4 * Math.floor(16 * draw()));
    if (!own) for (let i = 0; i < image.length; i++) image[i] = Math.floor(256 * draw());
    for (const { place, bytes } of contents.get(buffer)!) image.set(bytes, place.offset);
    return image;
  });
  return { buffers, places, outputs: Object.keys(outputs) };
}

/** The bytes of a tensor, or of one that nothing was written to yet. */
export function encode(plan: TensorPlan, numbers: Float32Array | undefined): Uint8Array {
  const count = numbersOf(plan);
  if (plan.dtype === "f16") {
    const bits = numbers ? encodeHalf(numbers) : new Uint16Array(count).fill(UNWRITTEN_HALF);
    return new Uint8Array(bits.buffer);
  }
  if (numbers) return new Uint8Array((plan.dtype === "u32" ? Uint32Array.from(numbers) : numbers.slice()).buffer);
  return new Uint8Array(new Uint32Array(count).fill(UNWRITTEN).buffer);
}

/** Numbers of a tensor. */
export function decode(buffers: readonly Uint8Array[], { buffer, offset, bytes, plan }: Place): Float32Array {
  const payload = buffers[buffer]!.slice(offset, offset + bytes);
  if (plan.dtype === "u32") return Float32Array.from(new Uint32Array(payload.buffer));
  if (plan.dtype !== "f16") return new Float32Array(payload.buffer);
  const numbers = new Float32Array(bytes / 2);
  decodeHalf(new Uint16Array(payload.buffer), numbers);
  return numbers;
}

/** The first number of a result that still has what was there before the run. */
export function firstUnwritten(buffers: readonly Uint8Array[], { buffer, offset, bytes, plan }: Place): number | undefined {
  const payload = buffers[buffer]!.slice(offset, offset + bytes).buffer;
  const index = plan.dtype === "f16" ? new Uint16Array(payload).indexOf(UNWRITTEN_HALF) : new Uint32Array(payload).indexOf(UNWRITTEN);
  return index < 0 ? undefined : index;
}

/** What changed outside of the results, in words. */
export function firstTrespass(
  memory: Memory,
  after: readonly Uint8Array[],
): { readonly kind: "input" | "outside"; readonly message: string } | undefined {
  const written = memory.outputs.map((name) => memory.places[name]!);
  for (const [b, before] of memory.buffers.entries()) {
    const now = after[b]!;
    if (now.length !== before.length) return { kind: "outside", message: `buffer ${b} has ${now.length} bytes instead of ${before.length}` };
    for (let i = 0; i < before.length; i++) {
      if (now[i] === before[i]) continue;
      const result = written.find(({ buffer, offset, bytes }) => buffer === b && i >= offset && i < offset + bytes);
      if (result) {
        i = result.offset + result.bytes - 1;
        continue;
      }
      const near = Object.entries(memory.places).map(([name, place]) => ({
        name,
        place,
        inside: place.buffer === b && i >= place.offset && i < place.offset + place.bytes,
      }));
      const changed = near.find(({ inside }) => inside);
      if (changed) return { kind: "input", message: `byte ${i - changed.place.offset} of the input ${changed.name} was changed` };
      const names = near
        .filter(({ place }) => place.buffer === b)
        .map(({ name, place }) => `${name} at ${place.offset} to ${place.offset + place.bytes}`);
      return { kind: "outside", message: `byte ${i} of a buffer was changed, outside of ${names.join(", ")}` };
    }
  }
  return undefined;
}
