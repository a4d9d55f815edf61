import { checkAxes } from "../../core/axes.ts";
import { checkElements, checkEnum, checkOptions, checkShape, elementCount } from "../../core/check.ts";
import { refuse } from "../../core/errors.ts";
import type { DType } from "../../core/tensor.ts";

/** Complex, real to complex, complex to real: {@link FftOptions}. */
export type FftKind = "c2c" | "r2c" | "c2r";
/** Sign of the exponent: −, or + for the inverse. */
export type Direction = "forward" | "inverse";
/** The transforms that have the factor 1/N, or its root: {@link FftOptions}. */
export type FftNorm = "backward" | "ortho" | "forward";
/** How numbers of the input and the result are stored: {@link FftOptions}. */
export type FftStorage = "f32" | "f16";

/** Options of an FFT. */
export interface FftOptions {
  /** Logical shape, that of the real side; any number of axes of any sizes. */
  shape: readonly number[];
  /** One to three axes to transform; negative ones count from the end. Default: the last. */
  axes?: readonly number[];
  /**
   * `"c2c"` (default), or a transform of real data: `"r2c"` (numpy's `rfft`, `rfftn`) and `"c2r"` (`irfft`, `irfftn`). Their complex side
   * holds only ⌊n/2⌋ + 1 of the n points along the last of `axes`; the others follow by symmetry. `"c2r"` takes points that are their own
   * mirror image as real.
   */
  kind?: FftKind;
  /** Sign of the exponent: `"forward"` has exp(−2πi kn/N). Default `"forward"`; `"inverse"`, and nothing else, for `"c2r"`. */
  direction?: Direction;
  /** Where the factor 1/N goes, as in numpy: on the inverse (`"backward"`), its root on both, or on the forward transform. */
  norm?: FftNorm;
  /**
   * What the input and the result hold: `"f32"` (default), or half of the bytes, `"f16"`, on a device with `shader-f16`. Complex numbers in
   * f16 are an axis of 2 more, (re, im), at the end. The transform itself is done in f32 all the way and rounded to f16 once, in the
   * result. That ends at 65504, which transforms without a factor reach easily, and loses digits below 6e-5: use `norm` `"ortho"` or `"forward"`.
   */
  storage?: FftStorage;
}

/** An FFT: `x` → `out`, or `out` in place. */
export interface FftSpec {
  readonly operation: "fft";
  readonly kind: FftKind;
  /** Logical shape. */
  readonly shape: readonly number[];
  /** Shape of the input in numbers, real or complex, whatever the storage. */
  readonly inputShape: readonly number[];
  /** Shape of the result in numbers, real or complex, whatever the storage. */
  readonly outputShape: readonly number[];
  /** Axes to transform, none repeated. The last one is the halved one of `"r2c"` and `"c2r"`. */
  readonly axes: readonly number[];
  readonly direction: Direction;
  /** Factor on every output. */
  readonly scale: number;
  readonly storage: FftStorage;
  /** The result replaces the input. Only for `"c2c"`. */
  readonly inPlace: boolean;
  /** Factor on the bins that stand for two, as `"c2r"` reads or `"r2c"` stores them: 1, but in a gradient. */
  readonly pairFactor: number;
}

/** More axes than a volume has: nobody asked yet. */
const MOST_AXES = 3;

/** Checks the options of an FFT. @throws FastRpbError code `"value"` */
export function fftSpec(options: FftOptions): FftSpec {
  const caller = "runtime.fft";
  checkOptions(caller, "options", options, ["shape", "axes", "kind", "direction", "norm", "storage"]);
  const shape = checkShape(caller, "options.shape", options.shape);
  const kind = checkEnum(caller, "options.kind", options.kind ?? "c2c", ["c2c", "r2c", "c2r"]);
  const natural = kind === "c2r" ? "inverse" : "forward";
  const direction = checkEnum(caller, "options.direction", options.direction ?? natural, ["forward", "inverse"]);
  if (kind !== "c2c" && direction !== natural) {
    throw refuse("value", caller, "options.direction", `"${natural}", because kind is "${kind}"`, direction);
  }
  const norm = checkEnum(caller, "options.norm", options.norm ?? "backward", ["backward", "ortho", "forward"]);
  const storage = checkEnum(caller, "options.storage", options.storage ?? "f32", ["f32", "f16"]);
  const axes = checkAxes(caller, options.axes ?? [-1], shape.length, MOST_AXES);
  const half = Object.freeze(shape.map((size, axis) => (axis === axes.at(-1) ? Math.floor(size / 2) + 1 : size)));
  checkElements(caller, "options.shape, halved", half);
  if (storage === "f16" && kind === "c2c") checkElements(caller, "options.shape, in pairs", [...shape, 2]);
  return Object.freeze({
    operation: "fft",
    kind,
    shape,
    inputShape: kind === "c2r" ? half : shape,
    outputShape: kind === "r2c" ? half : shape,
    axes,
    direction,
    scale: normFactor(norm, direction, elementCount(axes.map((axis) => shape[axis]!))),
    storage,
    inPlace: false,
    pairFactor: 1,
  });
}

/** Shape and dtype of the tensor at one end of a transform. */
export function fftTensor(spec: FftSpec, end: "input" | "output"): { readonly shape: readonly number[]; readonly dtype: DType } {
  const shape = end === "input" ? spec.inputShape : spec.outputShape;
  const real = spec.kind === (end === "input" ? "r2c" : "c2r");
  if (spec.storage === "f32") return { shape, dtype: real ? "f32" : "complex64" };
  return { shape: real ? shape : Object.freeze([...shape, 2]), dtype: "f16" };
}

/** A complex transform with its result in the place of its input. */
export function inPlaceSpec(spec: FftSpec): FftSpec {
  return Object.freeze({ ...spec, inPlace: true });
}

/**
 * The transform that takes the gradients of a real loss by the results, in `x`, to those by the inputs, in `out`, where a complex number is two
 * real ones: the transposed one, with the opposite direction and the same scale. That of `"c2r"` has a factor of 2 on the bins that stand for
 * two; that of `"r2c"`, whose bins count once, a factor of 1/2.
 */
export function fftGradientSpec(spec: FftSpec): FftSpec {
  const [kind, factor] = ({ c2c: ["c2c", 1], r2c: ["c2r", 1 / 2], c2r: ["r2c", 2] } as const)[spec.kind];
  const direction = spec.direction === "forward" ? "inverse" : "forward";
  return Object.freeze({
    ...spec,
    kind,
    direction,
    inputShape: spec.outputShape,
    outputShape: spec.inputShape,
    inPlace: false,
    pairFactor: factor * spec.pairFactor,
  });
}

function normFactor(norm: FftNorm, direction: Direction, points: number): number {
  if (norm === "ortho") return 1 / Math.sqrt(points);
  const scaled = norm === "forward" ? "forward" : "inverse";
  return direction === scaled ? 1 / points : 1;
}
