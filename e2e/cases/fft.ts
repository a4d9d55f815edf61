/** FFTs against the float64 CPU, and the properties that define them. */
import { createFft } from "../../src/cpu/fft.ts";
import { type FftSpec, fftSpec } from "../../src/spec/operations.ts";
import { isSmooth } from "../../src/spec/smooth.ts";
import { random } from "../../src/testing/random.ts";
import { type Case, type CaseContext, check, checkClose, normals, relativeL2, scoped, type Suite, together } from "./case.ts";

/** c = relL2 / (u √log₂N), u = 2⁻²⁴: the bounds of the README, for powers of two and for other 7-smooth lengths. */
const POWER_OF_TWO_BOUND = 0.65;
const SMOOTH_BOUND = 0.7;
/** Points per check, so that the norm is an average also for short transforms. */
const POINTS = 65536;

interface Transform {
  readonly shape: readonly number[];
  readonly axes?: readonly number[];
  readonly direction?: "forward" | "inverse";
  readonly norm?: "backward" | "ortho" | "forward";
}

const U = 2 ** -24;

function bound({ length, scale }: FftSpec): number {
  const c = Number.isInteger(Math.log2(length)) ? POWER_OF_TWO_BOUND : SMOOTH_BOUND;
  const transform = c * U * Math.sqrt(Math.log2(Math.max(2, length)));
  // A factor that is no power of two, and its product, round once more: without fused multiply-add that shows in a transform of 3 points.
  return Number.isInteger(Math.log2(scale)) ? transform : Math.hypot(transform, U);
}

async function compare(context: CaseContext, transform: Transform, seed: number): Promise<void> {
  const data = normals(seed, 2 * transform.shape.reduce((product, size) => product * size, 1));
  const actual = await transformed(context, transform, data);
  const spec = fftSpec(transform);
  checkClose(actual, oracle(spec, data), bound(spec), `fft ${JSON.stringify(transform)}, seed ${seed}`);
}

/** The transform in float64, not rounded: the last rounding of an oracle would be half of a short transform's own error. */
function oracle(spec: FftSpec, data: Float32Array): Float64Array {
  const { outer, length, inner, direction, scale } = spec;
  const fft = createFft(length);
  const result = new Float64Array(data.length);
  const column = new Float64Array(2 * length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const at = (n: number) => 2 * ((o * length + n) * inner + i);
      for (let n = 0; n < length; n++) column.set(data.subarray(at(n), at(n) + 2), 2 * n);
      fft.transform(column, direction);
      for (let n = 0; n < length; n++) {
        result[at(n)] = scale * column[2 * n]!;
        result[at(n) + 1] = scale * column[2 * n + 1]!;
      }
    }
  }
  return result;
}

/** 7-smooth lengths up to 2^20: all radices alone and together, and some drawn at random. */
function smoothLengths(): number[] {
  const fixed = [3, 5, 6, 7, 9, 10, 12, 14, 15, 21, 25, 27, 35, 49, 60, 100, 105, 125, 210, 243, 343, 784, 1000, 2187, 2401, 3125, 3600, 4000];
  const long = [5000, 6561, 10000, 59049, 78125, 117649, 823543, 1000000];
  const draw = random(20);
  const drawn: number[] = [];
  while (drawn.length < 6) {
    let candidate = Math.floor(4096 + draw() * (2 ** 20 - 4096));
    while (!isSmooth(candidate)) candidate++;
    if (candidate <= 2 ** 20) drawn.push(candidate);
  }
  return [...fixed, ...long, ...drawn];
}

function accuracyCase(name: string, lengths: readonly number[]): Case {
  return {
    name,
    run: async (context) => {
      await together(lengths, (length) => compare(context, { shape: [Math.max(1, Math.floor(POINTS / length)), length] }, length));
    },
  };
}

const powers = Array.from({ length: 21 }, (_, i) => 2 ** i);
const smooth = smoothLengths();

/** Complex numbers as interleaved floats. */
async function transformed(context: CaseContext, transform: Transform, data: Float32Array): Promise<Float32Array> {
  const runtime = await context.runtime;
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.fft(transform));
    return plan.run(scope.tensor(data, transform.shape, "complex64"), { out: scope.unwritten(transform.shape, "complex64") }).data();
  });
}

function norm(values: ArrayLike<number>): number {
  return Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0));
}

export const fftSuite: Suite = {
  name: "fft",
  cases: [
    accuracyCase("accuracy, 2^0 to 2^13", powers.slice(0, 14)),
    accuracyCase("accuracy, 2^14 to 2^20", powers.slice(14)),
    accuracyCase(
      "accuracy, 7-smooth lengths in one pass",
      smooth.filter((n) => n <= 4096),
    ),
    accuracyCase(
      "accuracy, 7-smooth lengths in two passes",
      smooth.filter((n) => n > 4096),
    ),
    {
      name: "direction and norm, in one pass and in two",
      run: async (context) => {
        const transforms = [1, 2, 3, 12, 1024, 1000, 16384, 15000].flatMap((length) =>
          (["forward", "inverse"] as const).flatMap((direction) =>
            (["backward", "ortho", "forward"] as const).map((norm): Transform => ({
              shape: [Math.ceil(POINTS / 2 / length), length],
              direction,
              norm,
            })),
          ),
        );
        await together(transforms, (transform) => compare(context, transform, transform.shape[1]!));
      },
    },
    {
      name: "any axis, any number of axes",
      run: async (context) => {
        const axes = [
          [[1], 0],
          [[3600], 0],
          [[7, 30, 50], 0],
          [[30, 8, 50], 1],
          [[20, 3, 40, 5], 2],
          [[16384, 3], 0],
          [[2, 10000, 5], 1],
        ] as const;
        await together(axes, async ([shape, axis]) => {
          await together(["forward", "inverse"] as const, (direction) => compare(context, { shape, axes: [axis], direction }, axis + 1));
        });
        await compare(context, { shape: [3, 1600], axes: [-2] }, 99);
      },
    },
    {
      name: "an impulse becomes a wave, a constant an impulse",
      run: async (context) => {
        const length = 784;
        const impulse = new Float32Array(2 * length);
        impulse[2] = 1;
        const wave = Float64Array.from({ length: 2 * length }, (_, i) => {
          const angle = (-2 * Math.PI * Math.floor(i / 2)) / length;
          return i % 2 === 0 ? Math.cos(angle) : Math.sin(angle);
        });
        checkClose(await transformed(context, { shape: [length] }, impulse), wave, 1e-7, "impulse at 1");
        const constant = new Float32Array(2 * length).map((_, i) => (i % 2 === 0 ? 1 : 0));
        const expected = new Float32Array(2 * length);
        expected[0] = length;
        checkClose(await transformed(context, { shape: [length] }, constant), expected, 1e-7, "constant");
      },
    },
    {
      name: "linearity, shift, Parseval, round trip",
      run: async (context) => {
        const length = 3000;
        const seed = 31;
        const [a, b] = [normals(seed, 2 * length), normals(seed + 1, 2 * length)];
        const forward = (x: Float32Array) => transformed(context, { shape: [length] }, x);
        const [fa, fb, mixed] = [await forward(a), await forward(b), await forward(a.map((value, i) => 2 * value - 3 * b[i]!))];
        checkClose(
          mixed,
          fa.map((value, i) => 2 * value - 3 * fb[i]!),
          5e-7,
          `linearity, seed ${seed}`,
        );
        check(Math.abs(norm(fa) / norm(a) / Math.sqrt(length) - 1) < 1e-6, `Parseval, seed ${seed}`);
        const shift = 7;
        const shifted = new Float32Array(2 * length).map((_, i) => a[(i + 2 * length - 2 * shift) % (2 * length)]!);
        const turned = Float64Array.from({ length: 2 * length }, (_, i) => {
          const k = Math.floor(i / 2);
          const [c, s] = [Math.cos((2 * Math.PI * k * shift) / length), -Math.sin((2 * Math.PI * k * shift) / length)];
          return i % 2 === 0 ? c * fa[2 * k]! - s * fa[2 * k + 1]! : s * fa[2 * k]! + c * fa[2 * k + 1]!;
        });
        checkClose(await forward(shifted), turned, 5e-7, `shift, seed ${seed}`);
        const back = await transformed(context, { shape: [length], direction: "inverse" }, fa);
        check(relativeL2(back, a) < 5e-7, `round trip, seed ${seed}: ${relativeL2(back, a)}`);
      },
    },
  ],
};
