/** Runs a case and says what is wrong with it. */
import { createRuntime, FastRpbError, type Runtime } from "../../src/index.ts";
import type { Arrays, FuzzCase, Options, Subject } from "./case.ts";
import type { DataKind } from "./data.ts";
import { type Machine, numbersOfTensor, type OpenSubject } from "./machine.ts";
import { decode, drawData, firstTrespass, firstUnwritten, layOut } from "./memory.ts";
import type { OpenPlan } from "./operation.ts";
import { OPERATION } from "./operations/index.ts";

/** `"error"`: something was thrown; `"unwritten"`: a number of a result was left as it was; `"input"`, `"outside"`: memory that nobody may write. */
export type FailureKind = "error" | "unwritten" | "input" | "outside" | "not finite" | "wrong";

export interface Failure {
  readonly kind: FailureKind;
  readonly message: string;
}

export type Verdict = { readonly failure: Failure } | { readonly refused: string } | { readonly ratios: Readonly<Record<string, number>> };

/** The same operation in float64. */
export interface Reference {
  evaluate(data: Arrays, lengths: readonly number[] | undefined): Promise<Arrays>;
  dispose(): void;
}

let cpuRuntime: Promise<Runtime> | undefined;

export async function openReference({ operation, options }: Subject): Promise<Reference> {
  const runtime = await (cpuRuntime ??= createRuntime({ backend: "cpu" }));
  const { storage: _, ...f32 } = options as Options & { readonly storage?: unknown };
  const { inputs, outputs } = OPERATION[operation].tensors(f32);
  const plan: OpenPlan = await OPERATION[operation].open(runtime, f32);
  return {
    async evaluate(data, lengths) {
      if (plan.perform) return plan.perform(data, lengths);
      const tensors = Object.fromEntries(
        Object.entries({ ...inputs, ...outputs }).map(([name, { shape, dtype }]) => {
          const count = shape.reduce((product, size) => product * size, dtype === "complex64" ? 2 : 1);
          const numbers = data[name] ?? new Float32Array(count).fill(NaN);
          return [name, dtype === "u32" ? runtime.tensor(Uint32Array.from(numbers), shape, dtype) : runtime.tensor(numbers, shape, dtype as "f32")];
        }),
      );
      try {
        for (const held of plan.run({ tensors, lengths })) held.dispose();
        const read = await Promise.all(Object.keys(outputs).map(async (name) => [name, await numbersOfTensor(tensors[name]!)] as const));
        return Object.fromEntries(read);
      } finally {
        for (const tensor of Object.values(tensors)) tensor.dispose();
      }
    },
    dispose: () => plan.dispose(),
  };
}

/** A refusal by name is no failure: small devices are told so, and shapes that do not go together. */
export function refusalOf(error: unknown): string | undefined {
  return error instanceof FastRpbError && (error.code === "limit" || error.code === "value") ? error.message : undefined;
}

export async function checkCase(opened: OpenSubject, reference: Reference, fuzzCase: FuzzCase): Promise<Verdict> {
  const data = drawData(fuzzCase);
  const { lengths } = fuzzCase;
  const expected = await reference.evaluate(data, lengths);
  const memory = layOut(fuzzCase, data, opened.alignment);
  let observed;
  try {
    observed = await opened.run(fuzzCase, memory);
  } catch (error) {
    const refused = refusalOf(error);
    if (refused !== undefined && !refused.includes("WebGPU refused the work")) return { refused };
    return fail("error", error instanceof Error ? `${error.message}\n${error.stack}` : String(error));
  }
  const trespass = firstTrespass(memory, observed.buffers);
  if (trespass) return { failure: trespass };
  for (const name of memory.outputs) {
    const place = memory.places[name]!;
    const index = fuzzCase.inPlace ? undefined : firstUnwritten(observed.buffers, place);
    if (index !== undefined) return fail("unwritten", `${name}[${index}] was not written`);
    const [read, stored] = [observed.outputs[name]!, decode(observed.buffers, place)];
    const apart = read.findIndex((x, i) => !Object.is(x, stored[i]));
    if (apart >= 0) return fail("wrong", `${name}[${apart}] is ${stored[apart]}, but tensor.data() gave ${read[apart]}`);
  }
  const kinds = fuzzCase.data ?? ({} as Readonly<Record<string, DataKind>>);
  const { operation, options } = fuzzCase;
  const bounds = await OPERATION[operation].bounds({
    options,
    data,
    kinds,
    lengths,
    expected,
    reference: (other) => reference.evaluate(other, lengths),
  });
  const ratios: Record<string, number> = {};
  for (const name of memory.outputs) {
    const [actual, exact, bound] = [observed.outputs[name]!, expected[name]!, bounds[name]!];
    const strange = exact.findIndex((x) => !Number.isFinite(x));
    if (strange >= 0) return fail("error", `the exact ${name}[${strange}] is ${exact[strange]}: such data should not be drawn`);
    const infinite = actual.findIndex((x) => !Number.isFinite(x));
    if (infinite >= 0) return fail("not finite", `${name}[${infinite}] is ${actual[infinite]} instead of ${exact[infinite]}`);
    let [sum, size, worst, at] = [0, 0, 0, 0];
    for (let i = 0; i < exact.length; i++) {
      const error = Math.abs(actual[i]! - exact[i]!);
      sum += error ** 2;
      size += exact[i]! ** 2;
      if (error > worst) [worst, at] = [error, i];
    }
    const error = Math.sqrt(sum);
    ratios[name] = error === 0 ? 0 : error / bound;
    if (!(error <= bound)) {
      const norm = Math.sqrt(size);
      return fail(
        "wrong",
        `${name} is off by ${error} in the norm, ${(error / norm).toExponential(2)} of it; allowed are ${bound}, ${(bound / norm).toExponential(2)} of it. Worst: ${name}[${at}] is ${actual[at]} instead of ${exact[at]}`,
      );
    }
  }
  return { ratios };
}

function fail(kind: FailureKind, message: string): { readonly failure: Failure } {
  return { failure: { kind, message } };
}

/** Opens what a case needs, runs it, and closes all of it. */
export async function checkAlone(machine: Machine, fuzzCase: FuzzCase): Promise<Verdict> {
  let opened: OpenSubject | undefined;
  let reference: Reference | undefined;
  try {
    try {
      opened = await machine.open(fuzzCase);
    } catch (error) {
      const refused = refusalOf(error);
      return refused === undefined ? fail("error", String(error)) : { refused };
    }
    reference = await openReference(fuzzCase);
    return await checkCase(opened, reference, fuzzCase);
  } finally {
    opened?.dispose();
    reference?.dispose();
  }
}
