/** Gradients of the Toeplitz product, products with variable lengths, and spectra of exponentials: against definitions and against the float64 CPU. */
import { toeplitzGradientReference, toeplitzReference } from "../../src/testing/reference.ts";
import type { Runtime, ToeplitzOptions } from "../../src/index.ts";
import { planProgram } from "../../src/testing/operations.ts";
import type { PlannerLimits } from "../../src/core/limits.ts";
import {
  type AnySpec,
  type SpectrumSpec,
  spectrumSpec,
  toeplitzGradientSpec,
  toeplitzSpec,
  type ToeplitzSpec,
  weightsShape,
} from "../../src/testing/specs.ts";
import { limitsWith } from "../../src/testing/planning.ts";
import { type CaseContext, check, checkClose, checkRefused, normals, scoped, type Suite, together } from "./case.ts";
import { runProgram } from "./run-program.ts";

const BOUND = 1e-6;

interface Data {
  readonly v: Float32Array;
  readonly weights: Float32Array;
  readonly dOut: Float32Array;
}

function draw(spec: ToeplitzSpec, seed: number): Data {
  const rows = spec.batch * spec.heads * spec.length * spec.channels;
  const weights = weightsShape(spec).reduce((product, size) => product * size, 1);
  return { v: normals(seed, rows), weights: normals(seed + 1, weights), dOut: normals(seed + 2, rows) };
}

async function backward(runtime: Runtime, options: ToeplitzOptions, data: Data): Promise<{ dv: Float32Array; dWeights: Float32Array }> {
  const spec = toeplitzSpec(options);
  const shape = [spec.batch, spec.heads, spec.length, spec.channels];
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.toeplitz(options));
    await plan.compileBackward();
    const out = { dv: scope.unwritten(shape), dWeights: scope.unwritten(weightsShape(spec)) };
    const inputs = { v: scope.tensor(data.v, shape), weights: scope.tensor(data.weights, weightsShape(spec)), dOut: scope.tensor(data.dOut, shape) };
    plan.backward(inputs, { out });
    return { dv: await out.dv.data(), dWeights: await out.dWeights.data() };
  });
}

async function compare(context: CaseContext, options: ToeplitzOptions, seed: number, runtime?: Runtime): Promise<void> {
  const spec = toeplitzSpec(options);
  const data = draw(spec, seed);
  const expected = spec.length <= 400 ? toeplitzGradientReference(spec, data) : await backward(await context.cpu, options, data);
  const actual = await backward(runtime ?? (await context.runtime), options, data);
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  checkClose(actual.dv, expected.dv, BOUND, `dv of ${what}`);
  checkClose(actual.dWeights, expected.dWeights, BOUND, `dWeights of ${what}`);
  if (spec.causal) {
    const later = actual.dWeights.filter((_, i) => i % (2 * spec.length - 1) >= spec.length);
    check(
      later.every((value) => value === 0),
      `${what}: weights of later tokens have a gradient`,
    );
  }
}

/** An operation below the public API, with the spectrum of `weights` in the place of these. */
async function onDevice(
  context: CaseContext,
  spec: AnySpec,
  spectrum: SpectrumSpec,
  { weights, ...data }: Readonly<Record<string, Float32Array | Uint32Array>>,
  limits?: PlannerLimits,
): Promise<Readonly<Record<string, Float32Array>>> {
  const runtime = await context.runtime;
  const run = async (operation: AnySpec, inputs: Readonly<Record<string, Float32Array | Uint32Array>>) => {
    const results = await runProgram(runtime.device!, planProgram("test", operation, limits ?? runtime.limits), inputs);
    return Object.fromEntries(Object.entries(results).map(([name, bits]) => [name, new Float32Array(bits)]));
  };
  const prepared = await run(spectrum, { weights: weights! });
  // What is kept of the weights of a multiplicative bias stands behind the spectra.
  const { bytes } = planProgram("test", spec, limits ?? runtime.limits).buffers.find(({ name }) => name === "spectrum")!;
  return run(spec, { ...data, spectrum: prepared["spectrum"]!.subarray(0, bytes / Float32Array.BYTES_PER_ELEMENT) });
}

/** A product and its gradient with lengths from none to all; what lies beyond is NaN. */
async function compareLengths(context: CaseContext, options: ToeplitzOptions, seed: number, limits?: PlannerLimits): Promise<void> {
  const spec: ToeplitzSpec = { ...toeplitzSpec(options), variableLengths: true };
  const { batch, heads, length, channels } = spec;
  const lengths = Array.from({ length: batch }, (_, b) => [length, 0, 1, Math.ceil(length / 3)][b % 4]!);
  const data = draw(spec, seed);
  const beyond = (i: number) => Math.floor(i / channels) % length >= lengths[Math.floor(i / (heads * length * channels))]!;
  const holes = (rows: Float32Array) => rows.map((value, i) => (beyond(i) ? NaN : value));
  const given = { v: holes(data.v), weights: data.weights, lengths: Uint32Array.from(lengths) };
  const forward = await onDevice(context, spec, spectrumSpec(spec), given, limits);
  const gradient = await onDevice(context, toeplitzGradientSpec(spec), spectrumSpec(spec), { ...given, dOut: holes(data.dOut) }, limits);
  const what = `${JSON.stringify(options)}, lengths ${lengths}, seed ${seed}`;
  const expected = toeplitzGradientReference(spec, data, lengths);
  checkClose(forward["out"]!, toeplitzReference(spec, data.v, data.weights, lengths), BOUND, `out of ${what}`);
  checkClose(gradient["dv"]!, expected.dv, BOUND, `dv of ${what}`);
  checkClose(gradient["dWeights"]!, expected.dWeights, BOUND, `dWeights of ${what}`);
  for (const rows of [forward["out"]!, gradient["dv"]!]) {
    check(
      rows.every((value, i) => !beyond(i) || value === 0),
      `${what}: something is written beyond`,
    );
  }
}

/** A product with the spectrum of exponentials, of which some weights are −∞, and those that do not count are huge. */
async function compareExponentials(context: CaseContext, options: ToeplitzOptions, seed: number, limits?: PlannerLimits): Promise<void> {
  const spec = toeplitzSpec(options);
  const { v, weights } = draw(spec, seed);
  const size = weights.length / spec.heads;
  const counts = (i: number) => !spec.causal || i % size < spec.length;
  // Heads that are far apart: each has a maximum of its own.
  const drawn = weights.map((w, i) => (counts(i) ? (i % 7 === 3 ? -Infinity : 3 * w + 200 * Math.floor(i / size) - 300) : 1e30));
  const tops = Array.from({ length: spec.heads }, (_, h) => Math.max(...drawn.subarray(h * size, (h + 1) * size).filter((_w, i) => counts(i))));
  const exponentials = Float64Array.from(drawn, (w, i) => Math.exp(w - tops[Math.floor(i / size)]!));
  const { out } = await onDevice(context, spec, { ...spectrumSpec(spec), exponential: true }, { v, weights: drawn }, limits);
  const expected = toeplitzReference(spec, v, exponentials);
  checkClose(out!, expected, BOUND, `product with exponentials, ${JSON.stringify(options)}, seed ${seed}`);
}

const SMALL: readonly ToeplitzOptions[] = [
  { heads: 2, length: 1, channels: 1 },
  { heads: 2, batch: 3, length: 16, channels: 4 },
  { heads: 3, batch: 2, length: 31, channels: 7, causal: true },
  { heads: 2, batch: 2, grid: [5, 9], channels: 3 },
  { heads: 2, grid: [1, 12], channels: 2 },
];

/** Little fits into a workgroup, into a binding, or into the workspace. */
const passes = limitsWith({ maxComputeWorkgroupStorageSize: 256 });
const groups = limitsWith({ maxComputeWorkgroupStorageSize: 256, maxStorageBufferBindingSize: 2 ** 15, workspaceBytes: 2 ** 16 });

export const toeplitzGradientSuite: Suite = {
  name: "toeplitz gradient",
  cases: [
    {
      name: "against the double sum: sequences, causal ones, grids",
      sample: true,
      run: (context) => together(SMALL, (options, seed) => compare(context, options, seed)),
    },
    {
      name: "the CPU against the double sum",
      run: async (context) => {
        const cpu = await context.cpu;
        await together(SMALL, (options, seed) => compare(context, options, seed, cpu));
      },
    },
    {
      name: "in passes, and in groups of heads and channels",
      run: async (context) => {
        const limits = { maxStorageBufferBindingSize: 2 ** 18, maxComputeWorkgroupStorageSize: 256 };
        const small = await context.open({ limits, workspaceBytes: 2 ** 20 });
        try {
          await compare(context, { heads: 3, batch: 2, length: 1001, channels: 7 }, 21, small);
          await compare(context, { heads: 2, batch: 2, grid: [30, 40], channels: 6 }, 22, small);
        } finally {
          small.dispose();
        }
      },
    },
    {
      name: "20000 tokens, heads one by one in 2 MiB of workspace",
      run: async (context) => {
        const small = await context.open({ limits: { maxComputeWorkgroupStorageSize: 2048 }, workspaceBytes: 2 ** 21 });
        try {
          await compare(context, { heads: 2, batch: 2, length: 20000, channels: 3, causal: true }, 23, small);
        } finally {
          small.dispose();
        }
      },
    },
    {
      name: "variable lengths, fused, in passes and in groups",
      run: async (context) => {
        await compareLengths(context, { heads: 2, batch: 4, length: 30, channels: 3 }, 24);
        await compareLengths(context, { heads: 1, batch: 4, length: 100, channels: 2, causal: true }, 25, passes);
        await compareLengths(context, { heads: 3, batch: 4, length: 200, channels: 5 }, 26, groups);
      },
    },
    {
      name: "spectra of exponentials",
      sample: true,
      run: async (context) => {
        await compareExponentials(context, { heads: 3, length: 50, channels: 2 }, 27);
        await compareExponentials(context, { heads: 2, length: 33, channels: 1, causal: true }, 28);
        await compareExponentials(context, { heads: 2, grid: [4, 6], channels: 2 }, 29);
        await compareExponentials(context, { heads: 5, length: 200, channels: 1, causal: true }, 30, groups);
        await compareExponentials(context, { heads: 1, length: 1, channels: 1 }, 31);
      },
    },
    {
      name: "refusals name the argument, and nothing is left",
      run: async (context) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          await scoped(runtime, async (scope) => {
            const plan = scope.keep(await runtime.toeplitz({ heads: 2, length: 8, channels: 3 }));
            const other = scope.keep(await runtime.toeplitz({ heads: 2, length: 8, channels: 3, causal: true }));
            const tensor = (...shape: number[]) => scope.tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape);
            const [v, dOut, weights] = [tensor(1, 2, 8, 3), tensor(1, 2, 8, 3), tensor(2, 15)];
            const good = { v, dOut, weights };
            const foreign = scope.keep(other.prepare(weights));
            const before = runtime.memory();
            await checkRefused(() => plan.backward({ ...good, dOut: weights }), "shape", "ToeplitzPlan.backward", "inputs.dOut", "[1, 2, 8, 3]");
            await checkRefused(() => plan.backward({ ...good, v: weights }), "shape", "ToeplitzPlan.backward", "inputs.v");
            await checkRefused(() => plan.backward({ ...good, weights: v }), "shape", "ToeplitzPlan.backward", "inputs.weights", "[2, 15]");
            await checkRefused(() => plan.backward({ ...good, weights: foreign }), "shape", "ToeplitzPlan.backward", "inputs.weights", "causal");
            await checkRefused(() => plan.backward({ ...good, bias: weights } as typeof good), "value", "ToeplitzPlan.backward", "bias");
            await checkRefused(() => plan.backward(good, { out: { dv: weights } }), "shape", "options.out.dv", "[1, 2, 8, 3]");
            await checkRefused(() => plan.backward(good, { out: { dv: dOut } }), "value", "options.out", "memory apart from dOut");
            await checkRefused(() => plan.backward(good, { out: { dWeights: weights } }), "value", "options.out", "memory apart");
            const twice = tensor(1, 2, 8, 3);
            await checkRefused(() => plan.backward(good, { out: { dv: twice, dq: twice } as object }), "value", "options.out", "dq");
            twice.dispose();
            const after = runtime.memory();
            check(after.liveBytes === before.liveBytes, `${after.liveBytes - before.liveBytes} bytes left`);
          });
        }
      },
    },
  ],
};
