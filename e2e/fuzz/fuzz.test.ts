/** The fuzzer finds what it is for: machines that make one mistake each, and one that makes none. Without a GPU. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type FuzzCase, type OperationName, OPERATIONS, type Subject } from "./case.ts";
import { checkAlone, type FailureKind, openReference } from "./check.ts";
import { BLOCK, drawCase, drawSubject, operationOf } from "./draw.ts";
import { fuzz } from "./fuzz.ts";
import { type Machine, placed } from "./machine.ts";
import { decode, drawData, layOut, type Memory } from "./memory.ts";
import { OPERATION } from "./operations/index.ts";
import { shrink } from "./shrink.ts";

type Fault = (fuzzCase: FuzzCase, buffers: readonly Uint8Array[], memory: Memory) => void;

/** A machine that computes in float64 on the CPU, and spoils memory afterwards. */
function machine(fault: Fault = () => {}): Machine {
  return {
    name: "test",
    half: false,
    async open(subject: Subject) {
      const reference = await openReference(subject);
      return {
        alignment: 256,
        async run(fuzzCase, memory) {
          const results = await reference.evaluate(drawData(fuzzCase), fuzzCase.lengths);
          const { buffers } = placed(memory, results);
          fault(fuzzCase, buffers, memory);
          const outputs = Object.fromEntries(memory.outputs.map((name) => [name, decode(buffers, memory.places[name]!)]));
          return { buffers, outputs };
        },
        dispose: () => reference.dispose(),
      };
    },
    dispose: () => {},
  };
}

/** Numbers of the first result, in place. */
function changeResult(memory: Memory, buffers: readonly Uint8Array[], change: (numbers: Float32Array) => void): void {
  const place = memory.places[memory.outputs[0]!]!;
  const numbers = decode(buffers, place);
  change(numbers);
  buffers[place.buffer]!.set(new Uint8Array(numbers.buffer), place.offset);
}

/** Lengths from here on come out wrong: the smallest case that fails has this one. */
const FIRST_WRONG = 6;

function sizeOf({ options }: FuzzCase): number {
  return (options["shape"] as readonly number[]).reduce((product, size) => product * size, 1);
}

const wrongElement: Fault = (fuzzCase, buffers, memory) => {
  if (sizeOf(fuzzCase) < FIRST_WRONG) return;
  changeResult(memory, buffers, (numbers) => (numbers[3] = numbers[3]! * 1.01 + 1e-30));
};

const unwritten: Fault = (fuzzCase, buffers, memory) => {
  if (sizeOf(fuzzCase) < FIRST_WRONG) return;
  const place = memory.places[memory.outputs[0]!]!;
  const at = place.offset + place.bytes - 4;
  buffers[place.buffer]!.set(memory.buffers[place.buffer]!.subarray(at, at + 4), at);
};

const outside =
  (distance: (place: { readonly offset: number; readonly bytes: number }) => number): Fault =>
  (_, buffers, memory) => {
    const place = memory.places[memory.outputs[0]!]!;
    const at = distance(place);
    if (place.own || at < 0 || at >= buffers[place.buffer]!.length) return;
    buffers[place.buffer]![at]! ^= 1;
  };

const changedInput: Fault = (fuzzCase, buffers, memory) => {
  if (fuzzCase.inPlace) return;
  const { buffer, offset, bytes } = Object.values(memory.places)[0]!;
  buffers[buffer]![offset + bytes - 1]! ^= 0x80;
};

beforeAll(() => void vi.spyOn(console, "log").mockImplementation(() => {}));
afterAll(() => vi.restoreAllMocks());

describe("mistakes are found and made small", () => {
  const faults: readonly [string, FailureKind, Fault, (shrunk: FuzzCase) => void][] = [
    ["one element off by 1 %", "wrong", wrongElement, (shrunk) => expect(sizeOf(shrunk)).toBeLessThanOrEqual(FIRST_WRONG + 1)],
    ["one element not written", "unwritten", unwritten, (shrunk) => expect(sizeOf(shrunk)).toBe(FIRST_WRONG)],
    ["the byte before a result", "outside", outside(({ offset }) => offset - 1), (shrunk) => expect(shrunk.layout).toEqual({ out: "wrap" })],
    ["the byte behind a result", "outside", outside(({ offset, bytes }) => offset + bytes), (shrunk) => expect(sizeOf(shrunk)).toBe(1)],
    ["an input", "input", changedInput, (shrunk) => expect(shrunk.layout).toBeUndefined()],
  ];

  test.each(faults)("%s", async (_, kind, fault, expectSmall) => {
    const report = await fuzz(machine(fault), { seed: 1, cases: 500, only: ["fft"], perPlan: 10 });
    expect(report.found).toHaveLength(1);
    const { failure, original, shrunk } = report.found[0]!;
    expect(failure.kind).toBe(kind);
    expectSmall(shrunk);
    expect(shrunk.limits).toBe("default");
    expect(shrunk.data).toBeUndefined();
    expect(JSON.stringify(shrunk).length).toBeLessThanOrEqual(JSON.stringify(original).length);
    // The line that is printed holds the case as JSON: the same failure comes of it, and none on a machine without that mistake.
    const again = JSON.parse(JSON.stringify(shrunk)) as FuzzCase;
    expect(await checkAlone(machine(fault), again)).toEqual({ failure });
    expect(await checkAlone(machine(), again)).toHaveProperty("ratios");
  });

  test("what is thrown is a failure, unless a limit or a value is refused by name", async () => {
    const thrower = machine(() => {
      throw new TypeError("no such thing");
    });
    const report = await fuzz(thrower, { seed: 2, cases: 10, only: ["complexMultiply"] });
    expect(report.found[0]?.failure.kind).toBe("error");
    expect(report.found[0]?.failure.message).toContain("no such thing");
  });

  test("a failure of another kind is no smaller form of the first", async () => {
    const first = drawCase(drawSubject(1, 0, false), 1, 0);
    const shrunk = await shrink(first, { kind: "unwritten", message: "" }, async () => ({ failure: { kind: "wrong", message: "" } }));
    expect(shrunk.fuzzCase).toEqual(first);
  });
});

describe("draws", () => {
  test("the same seed and number give the same case, others do not", () => {
    const draw = (seed: number, number: number) => drawCase(drawSubject(seed, Math.floor(number / BLOCK), false), seed, number);
    expect(draw(5, 300)).toEqual(draw(5, 300));
    expect(draw(5, 300)).not.toEqual(draw(5, 301));
    expect(draw(5, 300)).not.toEqual(draw(6, 300));
    expect(drawData(draw(5, 300))).toEqual(drawData(draw(5, 300)));
  });

  test("every operation comes, with small sizes, and data whose results are numbers", async () => {
    const seen = new Set<OperationName>();
    const kinds = new Set<string>();
    for (let block = 0; block < 60; block++) {
      const subject = drawSubject(11, block, false);
      expect(subject.operation).toBe(operationOf(block));
      seen.add(subject.operation);
      const fuzzCase = drawCase(subject, 11, block * BLOCK);
      for (const kind of Object.values(fuzzCase.data ?? {})) kinds.add(kind);
      const { inputs, outputs } = OPERATION[subject.operation].tensors(subject.options);
      for (const { shape } of Object.values({ ...inputs, ...outputs })) {
        expect(
          shape.reduce((product, size) => product * size, 1),
          JSON.stringify(subject),
        ).toBeLessThanOrEqual(40_000);
      }
      const verdict = await checkAlone(machine(), fuzzCase);
      expect(verdict, JSON.stringify(fuzzCase)).toHaveProperty("ratios");
    }
    expect([...seen].sort()).toEqual([...OPERATIONS].sort());
    expect(kinds.size).toBeGreaterThanOrEqual(6);
  });

  test("results start as NaN, guards are there, and tensors are aligned", () => {
    const subject: Subject = { operation: "complexMultiply", options: { shape: [5, 3], repeated: 1 }, limits: "default" };
    const fuzzCase: FuzzCase = { ...subject, seed: 3, layout: { a: "shared", b: "shared", out: "wrap" } };
    const memory = layOut(fuzzCase, drawData(fuzzCase), 256);
    expect(memory.buffers).toHaveLength(2);
    const { a, b, out } = memory.places;
    expect(a!.buffer).toBe(b!.buffer);
    for (const place of [a!, b!, out!]) {
      expect(place.offset % 256).toBe(0);
      expect(place.offset).toBeGreaterThanOrEqual(64);
      expect(memory.buffers[place.buffer]!.length).toBeGreaterThanOrEqual(place.offset + place.bytes + 64);
    }
    expect(b!.offset).toBeGreaterThanOrEqual(a!.offset + a!.bytes + 64);
    expect(decode(memory.buffers, out!).every(Number.isNaN)).toBe(true);
  });
});
