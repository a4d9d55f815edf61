import type { Executable } from "../core/backend.ts";
import { sameShape } from "../core/check.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import { checkTensor, checkUsable, type Tensor } from "../core/tensor.ts";
import { complexMultiply } from "../operations/complex-multiply/operation.ts";
import { type ComplexMultiplyOptions, complexMultiplySpec, type ComplexMultiplySpec } from "../operations/complex-multiply/spec.ts";
import { task } from "../operations/operation.ts";
import { type CallRequest, Plan, type PlanCall, type PlanContext, singleOutput } from "./plan.ts";

/** {@link Runtime.complexMultiply} */
export async function makeComplexMultiply(context: PlanContext, options: ComplexMultiplyOptions): Promise<ComplexMultiplyPlan> {
  const spec = complexMultiplySpec(options);
  const tasks = [task(complexMultiply, spec), task(complexMultiply, complexMultiplySpec(options, true))];
  const [executable, repeating] = await context.compile("runtime.complexMultiply", tasks);
  return new ComplexMultiplyPlan(context, spec, executable!, repeating!);
}

/**
 * A complex pointwise product of a fixed shape; see {@link Runtime.complexMultiply}. `run(a, b)` gives `scale · a · b`, or that with the conjugate of
 * `b`. Both are complex64; `a` has the plan's shape, `b` has it or loses leading axes, along which it is repeated.
 */
export class ComplexMultiplyPlan extends Plan<[a: Tensor, b: Tensor]> {
  protected override readonly arity = 2;
  readonly #spec: ComplexMultiplySpec;
  readonly #repeating: Executable;

  /** @internal */
  constructor(context: PlanContext, spec: ComplexMultiplySpec, executable: Executable, repeating: Executable) {
    super(context, "ComplexMultiplyPlan", task(complexMultiply, spec), executable);
    this.#spec = spec;
    this.#repeating = repeating;
  }

  protected override tensors([a, b]: [Tensor, Tensor]): Readonly<Record<string, unknown>> {
    return { a, b };
  }

  protected override call({ caller, args: [a, b], options }: CallRequest<[a: Tensor, b: Tensor], Tensor>): PlanCall {
    const { owner, backend } = this.context;
    const { shape } = this.#spec;
    const first = checkTensor(caller, "a", a, { owner, shape, dtype: "complex64" });
    checkUsable(caller, "b", b, owner);
    if (b.shape.length > shape.length) {
      throw refuse("shape", caller, "b", `a tensor of at most ${shape.length} axes`, b.shape);
    }
    const second = checkTensor(caller, "b", b, { owner, shape: shape.slice(shape.length - b.shape.length), dtype: "complex64" });
    const call = { inputs: { a: first, b: second }, outputs: singleOutput(shape, "complex64", options) };
    if (sameShape(b.shape, shape)) return call;
    const largest = backend.limits.maxStorageBufferBindingSize;
    if (second.byteLength > largest) {
      throw new FastRpbError(
        "limit",
        `${caller}: b is repeated, so all its ${second.byteLength} bytes are bound at once, but maxStorageBufferBindingSize is ${largest}.`,
      );
    }
    return { ...call, executable: this.#repeating };
  }

  protected override disposeOthers(): void {
    this.#repeating.dispose();
  }
}
