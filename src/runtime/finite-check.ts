import type { Backend, Executable, Step, Storage } from "../core/backend.ts";
import { FastRpbError } from "../core/errors.ts";
import { ALL_FINITE, findNonFiniteSpec } from "../operations/specs.ts";
import { BYTES_PER_ELEMENT, type DType, Tensor } from "../core/tensor.ts";

/** One question: whether a tensor holds nothing but finite numbers. */
interface Question {
  readonly name: string;
  readonly tensor: Tensor;
  readonly found: Storage;
  readonly step: Step;
}

/** Looks through what one run reads and what it gives, in the same submit. */
export class FiniteCheck {
  readonly #backend: Backend;
  readonly #executables: Map<string, Executable>;
  readonly #questions: Question[] = [];

  /** @param executables those that are there, by the size of the tensor; new ones are added */
  constructor(backend: Backend, executables: Map<string, Executable>) {
    this.#backend = backend;
    this.#executables = executables;
  }

  /** The steps with others around them. */
  around(caller: string, steps: readonly Step[], inputs: Readonly<Record<string, unknown>>, output: Tensor): readonly Step[] {
    for (const [name, value] of Object.entries(inputs)) if (value instanceof Tensor) this.#ask(caller, name, value);
    const before = this.#questions.map(({ step }) => step);
    this.#ask(caller, "the result", output);
    return [...before, ...steps, this.#questions.at(-1)!.step];
  }

  /** Once the steps are submitted: what is found is told by whoever reads the result. */
  submitted(caller: string, output: Tensor): void {
    Tensor.storageOf(output).taint(report(caller, this.#questions));
  }

  /** Where they could not be submitted. */
  dropped(): void {
    for (const { found } of this.#questions) found.release();
  }

  #ask(caller: string, name: string, tensor: Tensor): void {
    const storage = Tensor.storageOf(tensor);
    const { dtype } = tensor;
    const numbers = storage.byteLength / (dtype === "f16" ? BYTES_PER_ELEMENT.f16 : BYTES_PER_ELEMENT.f32);
    const key = `${dtype === "f16"} ${numbers}`;
    const executable = this.#executables.get(key) ?? this.#backend.compileNow(caller, findNonFiniteSpec(numbers, dtype === "f16" ? "f16" : "f32"));
    this.#executables.set(key, executable);
    const found = this.#backend.upload(Uint32Array.of(ALL_FINITE), `${caller} check`);
    this.#questions.push({ name, tensor, found, step: { executable, bindings: { source: storage, found } } });
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
    const { name, tensor } = questions[first]!;
    const only = first === questions.length - 1 ? ", although all inputs are" : "";
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
