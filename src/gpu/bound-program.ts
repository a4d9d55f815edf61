import type { Storage } from "../core/backend.ts";
import type { Program } from "../program/program.ts";
import type { Pipeline } from "./pipelines.ts";
import type { BufferPool } from "./pool.ts";

/** What one binding of a dispatch is in a run: a buffer of the program's own, a slot of workspace, or a tensor. */
export type Resource = (bound: BoundProgram) => GPUBufferBinding;

/** What all runs of a program have in common. */
export interface Recipe {
  readonly device: GPUDevice;
  readonly program: Program;
  readonly pipelines: readonly Pipeline[];
  /** Of each dispatch. */
  readonly resources: readonly (readonly Resource[])[];
}

/** A program with tensors and workspace that a run had: its bind groups, made as dispatches need them, are kept for the next such run. */
export class BoundProgram {
  readonly tensors: readonly Storage[];
  readonly slots: readonly GPUBuffer[];
  /** Whether the device has run all of it, and found nothing to refuse. */
  accepted = false;
  readonly #recipe: Recipe;
  readonly #groups: (GPUBindGroup | undefined)[] = [];
  /** What {@link isOurs} was last decided by. */
  #lendings = -1;
  #isOurs = false;

  /** @param tensors in the order that the resources count by */
  constructor(recipe: Recipe, tensors: readonly Storage[], slots: readonly GPUBuffer[]) {
    this.#recipe = recipe;
    this.tensors = tensors;
    this.slots = slots;
  }

  /** Whether nobody but us can have destroyed one of its buffers. */
  isOurs(pool: BufferPool): boolean {
    if (this.#lendings !== pool.lendings) {
      this.#lendings = pool.lendings;
      this.#isOurs = !this.tensors.some(({ buffer }) => pool.isLent(buffer!)) && !this.slots.some((slot) => pool.isLent(slot));
    }
    return this.#isOurs;
  }

  record(pass: GPUComputePassEncoder, index: number): void {
    pass.setPipeline(this.#recipe.pipelines[index]!.pipeline);
    this.#dispatch(pass, index);
  }

  /** Every dispatch, in order. */
  recordAll(pass: GPUComputePassEncoder): void {
    const { pipelines } = this.#recipe;
    for (let index = 0; index < pipelines.length; index++) {
      // A dispatch that was cut is many with one pipeline.
      if (pipelines[index] === pipelines[index - 1]) this.#dispatch(pass, index);
      else this.record(pass, index);
    }
  }

  #dispatch(pass: GPUComputePassEncoder, index: number): void {
    const [x, y, z] = this.#recipe.program.dispatches[index]!.workgroups;
    pass.setBindGroup(0, (this.#groups[index] ??= this.#group(index)));
    pass.dispatchWorkgroups(x, y, z);
  }

  #group(index: number): GPUBindGroup {
    const { device, program, pipelines, resources } = this.#recipe;
    return device.createBindGroup({
      label: program.dispatches[index]!.label,
      layout: pipelines[index]!.layout,
      entries: resources[index]!.map((resource, binding) => ({ binding, resource: resource(this) })),
    });
  }
}
