import { accumulateKernel } from "../../../shaders/nn/accumulate.ts";
import { activateKernel } from "../../../shaders/nn/activate.ts";
import { combineArraysKernel } from "../../../shaders/nn/combine-arrays.ts";
import { copyKernel } from "../../../shaders/nn/copy.ts";
import type { ElementsSpec } from "../../../shaders/nn/elements.ts";
import { ELEMENT_BYTES, type Kernel } from "../../../shaders/wgsl/kernel.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { forSlices } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import type { Handles } from "../operation.ts";
import {
  type AccumulateSpec,
  type ActivationGradientSpec,
  type ActivationSpec,
  type AddSpec,
  type CopySpec,
  type MultiplySpec,
  slopeSource,
} from "./spec.ts";

/** Operations of an element of an activation, about. */
const ACTIVATION_FLOPS = { relu: 1, gelu: 45, "gelu-tanh": 30 } as const;

interface Arrays {
  readonly size: number;
  readonly vectors: boolean;
  readonly kernelOf: (spec: ElementsSpec) => Kernel;
  readonly read: Readonly<Record<string, Handle>>;
  readonly out: Handle;
  /** Also read what `out` holds. */
  readonly accumulate?: boolean;
  /** What is bound as a whole, for `count` elements of a dispatch. */
  readonly more?: (count: number) => Readonly<Record<string, BindingUse>>;
  readonly params?: Readonly<Record<string, number>>;
  readonly flops: number;
}

/** Adds a kernel that goes through arrays side by side, in slices of what a binding holds. */
function planArrays(program: ProgramBuilder, { size, vectors, kernelOf, read, out, accumulate = false, more, params, flops }: Arrays): void {
  const unit = vectors ? ELEMENT_BYTES.vec4f : FLOAT_BYTES;
  const kernel = kernelOf({ lanes: elementwiseLanes(program.limits), vectors });
  forSlices(program, "an element", (size * FLOAT_BYTES) / unit, [unit], (first, count, [slice]) => {
    const bytes = count * unit;
    program.dispatch({
      kernel,
      elements: count,
      params: { first, ...params },
      uses: {
        ...Object.fromEntries(Object.entries(read).map(([name, buffer]) => [name, { buffer, slice, reads: bytes }])),
        out: { buffer: out, slice, reads: accumulate ? bytes : 0, writes: bytes },
        ...more?.(bytes),
      },
      flops: (bytes / FLOAT_BYTES) * flops,
    });
  });
}

/** Adds the sum or the product of `x` and `y` into `out`. */
export function planCombine(program: ProgramBuilder, spec: AddSpec | MultiplySpec, { x, y, out }: NamedHandles<"x" | "y" | "out">): void {
  const { size, period } = spec;
  const repeats = period < size;
  const vectors = size % 4 === 0 && period % 4 === 0;
  const kind = spec.operation === "add" ? "sum" : "product";
  planArrays(program, {
    size,
    vectors,
    kernelOf: (elements) => combineArraysKernel({ ...elements, kind, repeats }),
    read: repeats ? { x } : { x, y },
    out,
    ...(repeats && { more: (bytes) => ({ y: { buffer: y, reads: bytes } }) }),
    params: { period: vectors ? period / 4 : period },
    flops: 1,
  });
}

/** Adds the activation of `x`, into `out`. */
export function planActivation(program: ProgramBuilder, { size, kind }: ActivationSpec, { x, out }: NamedHandles<"x" | "out">): void {
  const kernelOf = (elements: ElementsSpec) => activateKernel({ ...elements, kind, gradient: false });
  planArrays(program, { size, vectors: size % 4 === 0, kernelOf, read: { x }, out, flops: ACTIVATION_FLOPS[kind] });
}

/** Adds the gradient of an activation, into `dX`. */
export function planActivationGradient(program: ProgramBuilder, spec: ActivationGradientSpec, tensors: Handles): void {
  const { size, kind } = spec;
  const read = { x: tensors[slopeSource(spec)]!, dOut: tensors["dOut"]! };
  const kernelOf = (elements: ElementsSpec) => activateKernel({ ...elements, kind, gradient: true });
  planArrays(program, { size, vectors: size % 4 === 0, kernelOf, read, out: tensors["dX"]!, flops: ACTIVATION_FLOPS[kind] + 1 });
}

/** Adds `x` to what `out` holds. */
export function planAccumulate(program: ProgramBuilder, { size }: AccumulateSpec, { x, out }: NamedHandles<"x" | "out">): void {
  planArrays(program, { size, vectors: size % 4 === 0, kernelOf: accumulateKernel, read: { x }, out, accumulate: true, flops: 1 });
}

/** Copies `x` to `out`. */
export function planCopy(program: ProgramBuilder, { size }: CopySpec, { x, out }: NamedHandles<"x" | "out">): void {
  planArrays(program, { size, vectors: size % 4 === 0, kernelOf: copyKernel, read: { x }, out, flops: 0 });
}
