import type { Executable } from "../core/backend.ts";
import { sameShape } from "../core/check.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import { type ComplexMultiplyOptions, complexMultiplySpec, type ComplexMultiplySpec } from "../operations/specs.ts";
import { checkTensor, checkUsable, type Tensor } from "../core/tensor.ts";
import {
  type AsyncRunOptions,
  type CheckedRunOptions,
  Plan,
  type PlanContext,
  type PlanInputs,
  type PlanMaker,
  type Profile,
  type RunOptions,
} from "./plan.ts";

/** {@link Runtime.complexMultiply} */
export async function makeComplexMultiply(maker: PlanMaker, options: ComplexMultiplyOptions): Promise<ComplexMultiplyPlan> {
  const spec = complexMultiplySpec(options);
  const [executable, repeating] = await maker.compile("runtime.complexMultiply", { specs: [spec, complexMultiplySpec(options, true)] });
  return new ComplexMultiplyPlan(maker.context, spec, executable!, repeating!);
}

/** A complex pointwise product of a fixed shape; see {@link Runtime.complexMultiply}. */
export class ComplexMultiplyPlan extends Plan<[a: Tensor, b: Tensor]> {
  readonly #spec: ComplexMultiplySpec;
  readonly #repeating: Executable;

  /** @internal */
  constructor(context: PlanContext, spec: ComplexMultiplySpec, executable: Executable, repeating: Executable) {
    super(context, "ComplexMultiplyPlan", executable);
    this.#spec = spec;
    this.#repeating = repeating;
  }

  /**
   * `scale · a · b`, or with the conjugate of `b`. Both complex64; `a` has the plan's shape, `b` has it or loses leading axes, along
   * which it is repeated.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(a: Tensor, b: Tensor, options?: CheckedRunOptions): Tensor {
    return this.execute([a, b], options);
  }

  /**
   * The same for long runs: by submits of a fraction of a second each, so that the page stays responsive, with progress, and with an end by
   * `options.signal`. The result is there when the promise resolves.
   *
   * @throws FastRpbError as {@link run}, and `"aborted"`: `options.out` is then half written
   */
  runAsync(a: Tensor, b: Tensor, options?: AsyncRunOptions): Promise<Tensor> {
    return this.executeSliced([a, b], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, a: Tensor, b: Tensor, options?: RunOptions): Tensor {
    return this.record(encoder, [a, b], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(a: Tensor, b: Tensor, options?: RunOptions): Promise<Profile> {
    return this.measure([a, b], options);
  }

  protected override tensors([a, b]: [Tensor, Tensor]): Readonly<Record<string, unknown>> {
    return { a, b };
  }

  protected override inputs(caller: string, [a, b]: [Tensor, Tensor]): PlanInputs {
    const { owner } = this.context;
    const { shape } = this.#spec;
    const first = checkTensor(caller, "a", a, { owner, shape, dtype: "complex64" });
    checkUsable(caller, "b", b, owner);
    const rank = Math.min(b.shape.length, shape.length);
    if (b.shape.length > shape.length) {
      throw refuse("shape", { caller, argument: "b", expected: `a tensor of at most ${shape.length} axes`, got: b.shape });
    }
    const second = checkTensor(caller, "b", b, { owner, shape: shape.slice(shape.length - rank), dtype: "complex64" });
    const inputs = { a: first, b: second };
    if (sameShape(b.shape, shape)) return { inputs, shape, dtype: "complex64" };
    const largest = this.context.backend.limits.maxStorageBufferBindingSize;
    if (second.byteLength > largest) {
      throw new FastRpbError(
        "limit",
        `${caller}: b is repeated, so all its ${second.byteLength} bytes are bound at once, but maxStorageBufferBindingSize is ${largest}.`,
      );
    }
    return { inputs, shape, dtype: "complex64", executable: this.#repeating };
  }

  protected override disposeParts(): void {
    this.#repeating.dispose();
  }
}
