import type { Executable, Step, Storage } from "../core/backend.ts";
import { checkOptions, elementCount } from "../core/check.ts";
import { FastRpbError } from "../core/errors.ts";
import type { OperationSpec } from "../operations/specs.ts";
import { BYTES_PER_ELEMENT, checkApart, checkTensor, type DType, Tensor } from "../core/tensor.ts";
import type { PlanContext, Preparation } from "./plan.ts";

/** Names of a plan's gradients. */
type Named<T> = Readonly<Record<string, T>>;

/** What a gradient is made of. */
export interface GradientRequest {
  /** Inputs of the operation, by name. */
  readonly inputs: Named<Storage>;
  /** Weights that have to become a spectrum first. */
  readonly prepare?: Step | undefined;
  /** Of each gradient. */
  readonly outputs: Named<{
    readonly shape: readonly number[];
    readonly dtype: DType;
    /** What the caller calls it; `options.out.<name>` when left out. */
    readonly argument?: string;
  }>;
  /** Where the caller wants them. */
  readonly out: Named<Tensor | undefined> | undefined;
  /** Storages that live for this run only. */
  readonly scratch?: readonly Storage[];
}

/** The gradient of a plan: compiled when it is first asked for, because most plans never are. */
export class GradientPart {
  readonly #context: PlanContext;
  readonly #spec: OperationSpec;
  #executable: Executable | undefined;
  #disposed = false;

  constructor(context: PlanContext, spec: OperationSpec) {
    this.#context = context;
    this.#spec = spec;
  }

  /** Compiles ahead, without blocking. @throws FastRpbError codes `"limit"`, `"unavailable"`, `"lost"`, `"disposed"` */
  async compile(caller: string): Promise<Preparation> {
    const executable = this.#executable ?? (await this.#context.backend.compile(caller, this.#spec));
    if (this.#disposed) {
      if (!this.#context.owner.disposed) executable.dispose();
      throw new FastRpbError("disposed", `${caller}: the plan or its runtime was disposed.`);
    }
    // Two may have been under way.
    if (this.#executable && this.#executable !== executable) executable.dispose();
    this.#executable ??= executable;
    const { dispatches, cost } = this.#executable;
    return { dispatches, cost };
  }

  /** Checks `out`, runs, and gives the gradients in the order of `outputs`. */
  run(caller: string, request: GradientRequest): Record<string, Tensor> {
    const { owner, backend } = this.#context;
    const given = request.out ?? {};
    const scratch = [...(request.scratch ?? [])];
    const made: Tensor[] = [];
    try {
      checkOptions(caller, "options.out", given, Object.keys(request.outputs));
      const bindings: Record<string, Storage> = { ...request.inputs };
      const results: Record<string, Tensor> = {};
      for (const [name, { shape, dtype, argument = `options.out.${name}` }] of Object.entries(request.outputs)) {
        const wanted = given[name];
        if (wanted !== undefined) {
          const storage = checkTensor(caller, argument, wanted, { owner, shape, dtype });
          checkApart(caller, storage, bindings);
          if (request.prepare) checkApart(caller, storage, request.prepare.bindings);
        }
        const tensor = wanted ?? new Tensor(owner, backend.allocate(elementCount(shape) * BYTES_PER_ELEMENT[dtype], name), shape, dtype);
        if (!wanted) made.push(tensor);
        results[name] = tensor;
        bindings[name] = Tensor.storageOf(tensor);
      }
      const executable = (this.#executable ??= backend.compileNow(caller, this.#spec));
      const steps: Step[] = [];
      if (request.prepare) {
        const spectrum = backend.allocate(request.prepare.executable.bytes["spectrum"]!, `${caller} spectrum`);
        scratch.push(spectrum);
        bindings["spectrum"] = spectrum;
        steps.push({ executable: request.prepare.executable, bindings: { ...request.prepare.bindings, spectrum } });
      }
      backend.run([...steps, { executable, bindings }]);
      return results;
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    } finally {
      for (const storage of scratch) storage.release();
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.#executable?.dispose();
  }
}
