import { checkAxes } from "../../core/axes.ts";
import { checkElements, checkEnum, checkOptions, checkShape, elementCount } from "../../core/check.ts";
import { refuse } from "../../core/errors.ts";

/** Which values of a convolution are wanted: {@link ConvolveOptions}. */
export type ConvolveMode = "circular" | "full" | "same" | "valid" | "causal";

/** Options of the convolution of a tensor with a kernel, along one axis or two. */
export interface ConvolveOptions {
  /** Shape of `x`. */
  shape: readonly number[];
  /**
   * Shape of the kernel: its sizes along `axes`, after leading axes of its own, if any. Those are the last of x's axes before `axes`;
   * along x's other axes the kernel is repeated. `[K]` is one kernel for all rows, `[C, K]` one for each channel of `x: [B, C, N]`.
   */
  kernel: readonly number[];
  /** One axis, or two neighbouring ones in ascending order; negative ones count from the end. Default: the last, `[-1]`. */
  axes?: readonly number[];
  /**
   * Which values of y_n = Σ_k h_k x_{n−k} are wanted. `"circular"`: indices modulo x's size. The others pad with zeros: `"full"` has
   * N + K − 1 values, `"same"` the N in its middle (as scipy has it), `"valid"` those N − K + 1 without padding, `"causal"` the first N. Default `"full"`.
   */
  mode?: ConvolveMode;
  /** Type of x, the kernel and the result. Default `"f32"`. */
  dtype?: "f32" | "complex64";
}

/** Sizes of a kernel along one of its axes. */
export interface KernelAxis {
  /** Size K of the kernel. */
  readonly kernel: number;
  /** Period in which nothing that is wanted wraps around, at least; for `"circular"` the period of x, and no other. */
  readonly period: number;
}

/** Sizes of a convolution along one of its axes. */
export interface ConvolveAxis extends KernelAxis {
  /** Size N of x. */
  readonly length: number;
  /** Index of the first wanted value in the full result; 0 for `"circular"`. */
  readonly offset: number;
  /** Number of wanted values. */
  readonly output: number;
}

/** The convolution of x [repeats, kernels, …axes, inner] with kernels [kernels, …axes]: `x`, `spectrum` → `out`. */
export interface ConvolveSpec {
  readonly operation: "convolve";
  readonly dtype: "f32" | "complex64";
  readonly mode: ConvolveMode;
  readonly shape: readonly number[];
  readonly kernelShape: readonly number[];
  readonly outputShape: readonly number[];
  readonly repeats: number;
  readonly kernels: number;
  readonly axes: readonly ConvolveAxis[];
  readonly inner: number;
}

/** The transforms of kernels, `kernel` → `spectrum`: all that a spectrum depends on. */
export interface KernelSpectrumSpec {
  readonly operation: "kernelSpectrum";
  readonly dtype: "f32" | "complex64";
  readonly circular: boolean;
  readonly kernels: number;
  readonly axes: readonly KernelAxis[];
}

/** Checks the options of a convolution. @throws FastRpbError code `"value"` */
export function convolveSpec(options: ConvolveOptions): ConvolveSpec {
  const caller = "runtime.convolve";
  checkOptions(caller, "options", options, ["shape", "kernel", "axes", "mode", "dtype"]);
  const shape = checkShape(caller, "options.shape", options.shape);
  const kernelShape = checkShape(caller, "options.kernel", options.kernel);
  const axes = checkAxes(caller, options.axes ?? [-1], shape.length, 2);
  const first = axes[0]!;
  if (axes.some((axis, i) => axis !== first + i)) {
    throw refuse("value", caller, "options.axes", "one axis, or two neighbours in ascending order", options.axes);
  }
  const mode = checkEnum(caller, "options.mode", options.mode ?? "full", ["circular", "full", "same", "valid", "causal"]);
  const dtype = checkEnum(caller, "options.dtype", options.dtype ?? "f32", ["f32", "complex64"]);
  const leading = kernelShape.length - axes.length;
  const own = shape.slice(Math.max(0, first - Math.max(0, leading)), first);
  if (leading < 0 || leading > first || own.some((size, i) => size !== kernelShape[i])) {
    const sizes = axes.map((_, i) => `K${axes.length > 1 ? i : ""}`).join(", ");
    throw refuse(
      "value",
      caller,
      "options.kernel",
      `[${sizes}], after at most ${first} leading sizes equal to the last of [${shape.slice(0, first).join(", ")}]`,
      kernelShape,
    );
  }
  const layouts = axes.map((axis, i) => convolveAxis(caller, mode, shape[axis]!, kernelShape[leading + i]!));
  const outputShape = Object.freeze(shape.map((size, axis) => layouts[axis - first]?.output ?? size));
  checkElements(caller, "the result", outputShape);
  return Object.freeze({
    operation: "convolve",
    dtype,
    mode,
    shape,
    kernelShape,
    outputShape,
    repeats: elementCount(shape.slice(0, first - leading)),
    kernels: elementCount(own),
    axes: Object.freeze(layouts),
    inner: elementCount(shape.slice(first + axes.length)),
  });
}

/** The transforms of the kernels of a convolution. */
export function kernelSpectrumSpec(spec: ConvolveSpec): KernelSpectrumSpec {
  const { dtype, mode, kernels } = spec;
  const axes = Object.freeze(spec.axes.map(({ kernel, period }) => Object.freeze({ kernel, period })));
  return Object.freeze({ operation: "kernelSpectrum", dtype, circular: mode === "circular", kernels, axes });
}

function convolveAxis(caller: string, mode: ConvolveMode, length: number, kernel: number): ConvolveAxis {
  const full = length + kernel - 1;
  if ((mode === "circular" || mode === "valid") && kernel > length) {
    throw refuse("value", caller, "options.kernel", `at most ${length} points in mode "${mode}"`, kernel);
  }
  const [offset, output] = {
    circular: [0, length],
    full: [0, full],
    same: [Math.floor((kernel - 1) / 2), length],
    valid: [kernel - 1, length - kernel + 1],
    causal: [0, length],
  }[mode] as [number, number];
  // Values beyond the period wrap onto its beginning; that must not reach the first wanted one.
  const period = mode === "circular" ? length : Math.max(length, kernel, offset + output, full - offset);
  return Object.freeze({ length, kernel, offset, output, period });
}
