import type { Executable, Step, Storage } from "../core/backend.ts";
import { FastRpbError } from "../core/errors.ts";
import { BYTES_PER_ELEMENT, type DType, Tensor } from "../core/tensor.ts";
import { findNonFinite } from "../operations/find-non-finite/operation.ts";
import { ALL_FINITE, findNonFiniteSpec } from "../operations/find-non-finite/spec.ts";
import { type Task, task } from "../operations/operation.ts";

/** What a check takes of a runtime. */
interface CheckContext {
  readonly backend: { upload(data: Uint32Array, label: string): Storage };
  compileNow(caller: string, task: Task): Executable;
}

/** One question: whether a tensor holds nothing but finite numbers. */
interface Question {
  readonly name: string;
  readonly isOutput: boolean;
  readonly tensor: Tensor;
  readonly found: Storage;
  readonly step: Step;
}

/** Looks through what one run reads and what it gives, in the same submit. */
export class FiniteCheck {
  readonly #context: CheckContext;
  readonly #executables: Map<string, Executable>;
  readonly #questions: Question[] = [];

  /** @param executables those that are there, by the size of the tensor; new ones are added */
  constructor(context: CheckContext, executables: Map<string, Executable>) {
    this.#context = context;
    this.#executables = executables;
  }

  /** The steps with others around them. */
  around(
    caller: string,
    steps: readonly Step[],
    inputs: Readonly<Record<string, unknown>>,
    outputs: Readonly<Record<string, Tensor>>,
  ): readonly Step[] {
    for (const [name, value] of Object.entries(inputs)) if (value instanceof Tensor) this.#ask(caller, name, value, false);
    const before = this.#questions.map(({ step }) => step);
    for (const [name, output] of Object.entries(outputs)) this.#ask(caller, name === "out" ? "the result" : name, output, true);
    return [...before, ...steps, ...this.#questions.slice(before.length).map(({ step }) => step)];
  }

  /** Once the steps are submitted: what is found is told by whoever reads a result. */
  submitted(caller: string, outputs: Readonly<Record<string, Tensor>>): void {
    const found = report(caller, this.#questions);
    for (const output of Object.values(outputs)) Tensor.storageOf(output).taint(found);
  }

  /** Where they could not be submitted. */
  dropped(): void {
    for (const { found } of this.#questions) found.release();
  }

  #ask(caller: string, name: string, tensor: Tensor, isOutput: boolean): void {
    const storage = Tensor.storageOf(tensor);
    const { dtype } = tensor;
    const numbers = storage.byteLength / (dtype === "f16" ? BYTES_PER_ELEMENT.f16 : BYTES_PER_ELEMENT.f32);
    const key = `${dtype === "f16"} ${numbers}`;
    const spec = findNonFiniteSpec(numbers, dtype === "f16" ? "f16" : "f32");
    const executable = this.#executables.get(key) ?? this.#context.compileNow(caller, task(findNonFinite, spec));
    this.#executables.set(key, executable);
    const found = this.#context.backend.upload(Uint32Array.of(ALL_FINITE), `${caller} check`);
    this.#questions.push({ name, isOutput, tensor, found, step: { executable, bindings: { source: storage, found } } });
  }
}

/** The first finding, in the order of the questions; never rejects. */
async function report(caller: string, questions: readonly Question[]): Promise<FastRpbError | undefined> {
  try {
    const indices = await Promise.all(
      questions.map(async ({ found }) => {
        const index = new Uint32Array(1);
        await found.read(index);
        return index[0]!;
      }),
    );
    const first = indices.findIndex((index) => index !== ALL_FINITE);
    if (first < 0) return undefined;
    const { name, isOutput, tensor } = questions[first]!;
    const only = isOutput ? ", although all inputs are" : "";
    return new FastRpbError("value", `${caller}: ${name} is not finite at [${coordinates(tensor.shape, tensor.dtype, indices[first]!)}]${only}.`);
  } catch (error) {
    return error instanceof FastRpbError ? error : new FastRpbError("value", `${caller}: the check failed: ${String(error)}`, { cause: error });
  } finally {
    for (const { found } of questions) found.release();
  }
}

/** Where a stored number is in its tensor. */
function coordinates(shape: readonly number[], dtype: DType, index: number): string {
  let rest = dtype === "complex64" ? Math.floor(index / 2) : index;
  const place: number[] = [];
  for (const size of [...shape].reverse()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return place.join(", ");
}
