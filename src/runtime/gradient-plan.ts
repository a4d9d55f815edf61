import { checkOptions } from "../core/check.ts";
import { Tensor, type DType } from "../core/tensor.ts";
import type { Task } from "../operations/operation.ts";
import { type CallRequest, type CheckedRunOptions, Plan, type PlanCall, type PlanContext, type Preparation } from "./plan.ts";

/** What a plan knows of its gradient. */
export interface GradientSource<Arguments extends unknown[], Result> {
  readonly context: PlanContext;
  /** Of the class of the plan. */
  readonly name: string;
  readonly task: Task;
  call(request: CallRequest<Arguments, Result>): PlanCall;
}

/**
 * The gradient of a plan, which runs as plans do. It is compiled when it is first asked for, because most plans never are; it goes with its plan.
 */
export class GradientPlan<Arguments extends unknown[], Result> extends Plan<Arguments, Result> {
  protected override readonly arity = 1;
  readonly #source: GradientSource<Arguments, Result>;

  /** @internal */
  constructor(source: GradientSource<Arguments, Result>) {
    super(source.context, `${source.name}.gradient`, source.task);
    this.#source = source;
  }

  /** @internal `backward` of the plan. */
  backward(caller: string, args: [...Arguments, CheckedRunOptions<Result> | undefined]): Result {
    return this.execute(caller, args);
  }

  /** @internal `compileBackward` of the plan. */
  compileAhead(caller: string): Promise<Preparation> {
    return this.compile(caller);
  }

  protected override tensors([inputs]: Arguments): Readonly<Record<string, unknown>> {
    return inputs instanceof Tensor ? { dOut: inputs } : (inputs as Readonly<Record<string, unknown>>);
  }

  protected override call(request: CallRequest<Arguments, Result>): PlanCall {
    return this.#source.call(request);
  }

  protected override result(outputs: Readonly<Record<string, Tensor>>): Result {
    return (outputs["out"] ?? outputs) as Result;
  }
}

/** Several results of a call by name, float32, where the caller wants them. @throws FastRpbError code `"value"` for a name that there is not */
export function namedOutputs(
  caller: string,
  shapes: Readonly<Record<string, readonly number[]>>,
  out: Partial<Readonly<Record<string, Tensor>>> = {},
): PlanCall["outputs"] {
  checkOptions(caller, "options.out", out, Object.keys(shapes));
  const dtype: DType = "f32";
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, { shape, dtype, argument: `options.out.${name}`, wanted: out[name] }]),
  );
}
