import { float64Array } from "../../math/memory.ts";
import { createRealFft } from "../../math/real-fft.ts";
import { type AxisLayout, axisLayout } from "../../core/axes.ts";
import { elementCount } from "../../core/check.ts";
import { createLineTransform } from "../../math/lines.ts";
import { fftFlops } from "../../math/flops.ts";
import type { FftOf } from "../../math/fft.ts";
import type { CpuComputation, Floats } from "../operation.ts";
import type { FftSpec } from "./spec.ts";

/** Transforms along one to three axes, in float64. */
export function fftCpu(spec: FftSpec, fftOf: FftOf): CpuComputation {
  const transform = createTransform(spec, fftOf);
  return {
    flops: flops(spec),
    run(memoryOf) {
      const out = memoryOf("out").floats;
      transform(spec.inPlace ? out : memoryOf("x").floats, out);
    },
  };
}

/**
 * The transform itself, in float64 but for what it stores. A test that a result rounded to float32 would blur gives it a Float64Array.
 * `x` and `out` may be the same for `"c2c"`.
 */
export function createTransform(spec: FftSpec, fftOf: FftOf): (x: Floats, out: Floats) => void {
  const { kind, shape, inputShape, outputShape, axes, direction, scale, pairFactor } = spec;
  // What lies before the first axis to transform goes through one slab after the other.
  const first = Math.min(...axes);
  const slabs = elementCount(shape.slice(0, first));
  const complexShape = (kind === "r2c" ? outputShape : inputShape).slice(first);
  const complexAxes = kind === "c2c" ? axes : axes.slice(0, -1);
  const transforms = complexAxes.map((axis) => createLineTransform(axisLayout(complexShape, axis - first), fftOf(shape[axis]!)));
  const halved = axes.at(-1)!;
  const real = kind === "c2c" ? undefined : createRealLines(shape[halved]!, axisLayout(complexShape, halved - first), fftOf, pairFactor);
  // A slab that is one line may have a transform that reads and writes float32.
  const round = kind === "c2c" && complexShape.length === 1 ? fftOf(shape[halved]!).round : undefined;
  let work: Float64Array | undefined;
  return (x, out) => {
    const inputFloats = x.length / slabs;
    const outputFloats = out.length / slabs;
    for (let slab = 0; slab < slabs; slab++) {
      const source = part(x, slab * inputFloats, inputFloats);
      const target = part(out, slab * outputFloats, outputFloats);
      if (round && source instanceof Float32Array && target instanceof Float32Array) {
        round(source, target, direction, scale);
        continue;
      }
      // Kept from run to run: a new array would take longer than a short transform.
      work ??= float64Array("cpu fft", 2 * elementCount(complexShape));
      if (kind === "r2c") real!.forward(source, work);
      else copy(source, work);
      for (const transform of transforms) transform(work, direction);
      if (kind === "c2r") real!.inverse(work, target, scale);
      else copyScaled(work, target, scale);
    }
  };
}

function part(floats: Floats, start: number, length: number): Floats {
  return length === floats.length ? floats : floats.subarray(start, start + length);
}

/** Faster than `set` where the types differ. */
function copy(source: Floats, target: Float64Array): void {
  for (let i = 0; i < source.length; i++) target[i] = source[i]!;
}

function copyScaled(source: Float64Array, target: Floats, scale: number): void {
  for (let i = 0; i < source.length; i++) target[i] = scale * source[i]!;
}

interface RealLines {
  forward(source: Floats, work: Float64Array): void;
  inverse(work: Float64Array, target: Floats, scale: number): void;
}

/**
 * Transforms between real lines of `length` and complex ones of half of it, ⌊length/2⌋ + 1 points, which lie as `half` says. Points that
 * stand for two have a factor there.
 */
function createRealLines(length: number, { outer, length: points, inner }: AxisLayout, fftOf: FftOf, pairFactor: number): RealLines {
  const fft = createRealFft(length, fftOf);
  const line = float64Array("cpu fft", 2 * points);
  const factor = (k: number) => (k > 0 && 2 * k < length ? pairFactor : 1);
  return {
    forward(source, work) {
      for (let block = 0; block < outer; block++) {
        for (let column = 0; column < inner; column++) {
          const [from, to] = [block * length * inner + column, 2 * (block * points * inner + column)];
          for (let n = 0; n < length; n++) line[n] = source[from + n * inner]!;
          fft.forward(line);
          for (let k = 0; k < points; k++) {
            work[to + 2 * k * inner] = factor(k) * line[2 * k]!;
            work[to + 2 * k * inner + 1] = factor(k) * line[2 * k + 1]!;
          }
        }
      }
    },
    inverse(work, target, scale) {
      for (let block = 0; block < outer; block++) {
        for (let column = 0; column < inner; column++) {
          const [from, to] = [2 * (block * points * inner + column), block * length * inner + column];
          for (let k = 0; k < points; k++) {
            line[2 * k] = factor(k) * work[from + 2 * k * inner]!;
            line[2 * k + 1] = factor(k) * work[from + 2 * k * inner + 1]!;
          }
          fft.inverse(line);
          for (let n = 0; n < length; n++) target[to + n * inner] = scale * line[n]!;
        }
      }
    },
  };
}

function flops({ kind, shape, axes }: FftSpec): number {
  const lines = axes.reduce((sum, axis) => sum + (elementCount(shape) / shape[axis]!) * fftFlops(shape[axis]!), 0);
  return kind === "c2c" ? lines : lines / 2;
}
