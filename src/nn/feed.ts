/** What callers give a model: numbers or tensors for its inputs. */
import type { Backend, Storage } from "../core/backend.ts";
import { checkOptions, elementCount } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import { checkTensor, Tensor, type TensorOwner } from "../core/tensor.ts";
import type { Task } from "../operations/operation.ts";

/** Numbers for an input: an array or a typed array, row-major, or a tensor of this runtime. */
export type Feed = Tensor | ArrayLike<number>;

/** Numbers for each input by name, and in training the targets. */
export type Batch = Readonly<Record<string, Feed>>;

function isWord(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32;
}

/** @throws FastRpbError code `"value"` for what is no number among them */
export function checkNumbers<Numbers extends ArrayLike<number>>(caller: string, argument: string, given: Numbers): Numbers {
  const wrong = Array.prototype.findIndex.call(given, (value: unknown) => typeof value !== "number");
  if (wrong >= 0) throw refuse("value", caller, `${argument}[${wrong}]`, "a number", given[wrong]);
  return given;
}

interface FeedShape {
  readonly shape: readonly number[];
  readonly dtype: "f32" | "u32";
}

/**
 * Memory for the inputs of a model, written anew at each call.
 */
export class Feeder {
  readonly #backend: Backend<Task>;
  readonly #owner: TensorOwner;
  readonly #inputs: ReadonlyMap<string, FeedShape & { readonly name: string }>;
  /** Of each of several batches that go one after the other. */
  readonly #own: Map<string, Storage>[] = [];

  /** @param inputs by the names that callers use; `name` is that of the value */
  constructor(backend: Backend<Task>, owner: TensorOwner, inputs: ReadonlyMap<string, FeedShape & { readonly name: string }>) {
    this.#backend = backend;
    this.#owner = owner;
    this.#inputs = inputs;
  }

  /**
   * Checks all, and then writes it.
   *
   * @param batches how many batches one after the other are in each array
   * @returns storages by the names of values, for each batch
   * @throws FastRpbError codes `"value"`, `"shape"`, `"disposed"`
   */
  feed(caller: string, given: Batch, batches = 1): readonly Readonly<Record<string, Storage>>[] {
    checkOptions(caller, "batch", given, [...this.#inputs.keys()]);
    const checked = [...this.#inputs].map(([key, input]) => [input, this.#checked(caller, `batch.${key}`, given[key], input, batches)] as const);
    return Array.from({ length: batches }, (_, i) =>
      Object.fromEntries(checked.map(([input, data]) => [input.name, data instanceof Tensor ? Tensor.storageOf(data) : this.#write(i, input, data)])),
    );
  }

  release(): void {
    for (const storages of this.#own) for (const storage of storages.values()) if (!storage.lost) storage.release();
    this.#own.length = 0;
  }

  #checked(
    caller: string,
    argument: string,
    given: Feed | undefined,
    { shape, dtype }: FeedShape,
    batches: number,
  ): Tensor | Float32Array | Uint32Array {
    const size = elementCount(shape) * batches;
    if (given instanceof Tensor && batches === 1) {
      checkTensor(caller, argument, given, { owner: this.#owner, shape, dtype });
      return given;
    }
    const whole = [shape[0]! * batches, ...shape.slice(1)];
    const expected = `${size} numbers for shape [${whole.join(", ")}]${batches === 1 ? ", or a tensor" : ""}`;
    if (typeof given !== "object" || given === null || given instanceof Tensor || given.length !== size) {
      throw refuse(
        "shape",
        caller,
        argument,
        expected,
        typeof given === "object" && given !== null && "length" in given ? `${String(given.length)} numbers` : given,
      );
    }
    if (dtype === "f32") return given instanceof Float32Array ? given : Float32Array.from(checkNumbers(caller, argument, given));
    // Negative ones wrap around: they are beyond every class, and do not count.
    if (given instanceof Uint32Array) return given;
    const wrong = Array.prototype.findIndex.call(given, (value: unknown) => !isWord(value));
    if (wrong >= 0) throw refuse("value", caller, `${argument}[${wrong}]`, "an integer from −2³¹ to 2³² − 1", given[wrong]);
    return Uint32Array.from(given);
  }

  #write(index: number, { name, shape }: FeedShape & { readonly name: string }, data: Float32Array | Uint32Array): Storage {
    const own = (this.#own[index] ??= new Map<string, Storage>());
    const size = elementCount(shape);
    const part = data.subarray(index * size, (index + 1) * size);
    const known = own.get(name);
    if (known && !known.lost) {
      this.#backend.write(known, part);
      return known;
    }
    const storage = this.#backend.upload(part, name);
    own.set(name, storage);
    return storage;
  }
}
