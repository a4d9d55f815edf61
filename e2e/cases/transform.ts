/** FFTs on a runtime, their definition in float64, and the measure of their error. */
import type { FftOptions, Runtime } from "../../src/index.ts";
import { createFft } from "../../src/math/fft.ts";
import { axisLayout } from "../../src/core/axes.ts";
import { elementCount } from "../../src/core/check.ts";
import { type Direction, type FftSpec, fftSpec } from "../../src/testing/specs.ts";
import { isSmooth } from "../../src/math/smooth.ts";
import { check, normals, relativeL2, scoped } from "./case.ts";
import { reassociates } from "./reassociation.ts";

export interface Transform extends FftOptions {
  /** The result replaces the input. */
  readonly inPlace?: boolean;
}

/** Half a unit in the last place of 1. */
export const U = 2 ** -24;

/** c = relL2 / (u √log₂N): the bounds of the README, for powers of two, for other 7-smooth lengths, and for all others. */
export const BOUNDS = { "power of two": 0.65, "7-smooth": 0.7, other: 1.35 } as const;
export type LengthClass = keyof typeof BOUNDS;

/** N, over all axes. */
export function pointsOf({ shape, axes }: FftSpec): number {
  return elementCount(axes.map((axis) => shape[axis]!));
}

export function classOf(points: number): LengthClass {
  if (Number.isInteger(Math.log2(points))) return "power of two";
  return isSmooth(points) ? "7-smooth" : "other";
}

/** Of a transform of N points: u √log₂N. */
export function unitOf(points: number): number {
  return U * Math.sqrt(Math.log2(Math.max(2, points)));
}

/** What 7-smooth lengths have instead where the compiler reassociates sums: rotations between odd radices then round at full size twice. */
const REASSOCIATED_BOUND = 0.77;

function boundOf(spec: FftSpec, reassociated: boolean): number {
  const points = pointsOf(spec);
  const lengthClass = classOf(points);
  const c = reassociated && lengthClass === "7-smooth" ? REASSOCIATED_BOUND : BOUNDS[lengthClass];
  const transform = c * unitOf(points);
  // A factor that is no power of two, and its product, round once more: without fused multiply-add that shows in a transform of 3 points.
  return Number.isInteger(Math.log2(spec.scale)) ? transform : Math.hypot(transform, U);
}

/** Transforms along one axis, in place. `data`: interleaved. */
function transformAxis(data: Float64Array, shape: readonly number[], axis: number, direction: Direction): void {
  const { outer, length, inner } = axisLayout(shape, axis);
  if (length === 1) return;
  const fft = createFft(length);
  const column = new Float64Array(2 * length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const first = 2 * (o * length * inner + i);
      for (let n = 0, at = first; n < length; n++, at += 2 * inner) {
        column[2 * n] = data[at]!;
        column[2 * n + 1] = data[at + 1]!;
      }
      fft.transform(column, direction);
      for (let n = 0, at = first; n < length; n++, at += 2 * inner) {
        data[at] = column[2 * n]!;
        data[at + 1] = column[2 * n + 1]!;
      }
    }
  }
}

/** `target` of [outer, to, inner], from `source` of [outer, from, inner]: point k is point `pick(k)`, or the conjugate of point −`pick(k)`. */
function pickAlong(source: Float64Array, shape: readonly number[], axis: number, to: number, pick: (k: number) => number): Float64Array {
  const { outer, length, inner } = axisLayout(shape, axis);
  const target = new Float64Array(2 * outer * to * inner);
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < to; k++) {
      const from = pick(k);
      for (let i = 0; i < inner; i++) {
        const [at, of] = [2 * ((o * to + k) * inner + i), 2 * ((o * length + Math.abs(from)) * inner + i)];
        target[at] = source[of]!;
        target[at + 1] = from < 0 ? -source[of + 1]! : source[of + 1]!;
      }
    }
  }
  return target;
}

/** Real numbers as complex ones. */
function withZeros(data: Float32Array): Float64Array {
  return Float64Array.from({ length: 2 * data.length }, (_, i) => (i % 2 === 0 ? data[i / 2]! : 0));
}

/** The transform in float64, not rounded: the last rounding of an oracle would be half of a short transform's own error. */
export function oracle(spec: FftSpec, data: Float32Array): Float64Array {
  const { kind, shape, axes, direction, scale, inputShape } = spec;
  const last = axes.at(-1)!;
  const length = shape[last]!;
  let values: Float64Array = kind === "r2c" ? withZeros(data) : Float64Array.from(data);
  for (const axis of axes.slice(0, -1)) transformAxis(values, inputShape, axis, direction);
  // The other half of a Hermitian line; the imaginary parts of what is its own mirror image end in the imaginary part of the result.
  if (kind === "c2r") values = pickAlong(values, inputShape, last, length, (k) => (2 * k > length ? k - length : k));
  transformAxis(values, shape, last, direction);
  if (kind === "r2c") values = pickAlong(values, shape, last, Math.floor(length / 2) + 1, (k) => k);
  if (kind === "c2r") values = values.filter((_, i) => i % 2 === 0);
  return values.map((value) => scale * value);
}

/** Numbers in the input of a transform. */
export function inputFloats(spec: FftSpec): number {
  return elementCount(spec.inputShape) * (spec.kind === "r2c" ? 1 : 2);
}

/** The transform on a runtime; the output starts as NaN. */
export async function transformed(runtime: Runtime, transform: Transform, data: Float32Array): Promise<Float32Array> {
  const { inPlace = false, ...options } = transform;
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.fft(options));
    const x = scope.tensor(data, plan.inputShape, options.kind === "r2c" ? "f32" : "complex64");
    const out = inPlace ? x : scope.unwritten(plan.outputShape, options.kind === "c2r" ? "f32" : "complex64");
    return plan.run(x, { out }).data();
  });
}

export interface Accuracy {
  readonly points: number;
  /** relL2 / (u √log₂N) */
  readonly c: number;
  readonly message: string;
}

/** Runs a transform of normal numbers and checks its error. */
export async function checkTransform(runtime: Runtime, transform: Transform, seed: number): Promise<Accuracy> {
  const { inPlace: _, ...options } = transform;
  const spec = fftSpec(options);
  const data = normals(seed, inputFloats(spec));
  const error = relativeL2(await transformed(runtime, transform, data), oracle(spec, data));
  const points = pointsOf(spec);
  const c = error / unitOf(points);
  const message = `fft ${JSON.stringify(transform)}, seed ${seed}: relative error ${error}, c = ${c.toFixed(3)}`;
  const bound = boundOf(spec, await reassociates(runtime.device!));
  check(error <= bound, `${message} (${classOf(points)}: at most ${bound})`); // NaN fails too
  return { points, c, message };
}
