/** Gradients of the Toeplitz product, against its definition. */
import type { Runtime, ToeplitzOptions } from "../../src/index.ts";
import { toeplitzSpec, type ToeplitzSpec, weightsShape } from "../../src/spec/operations.ts";
import { type CaseContext, checkClose, normals, scoped, type Suite, together } from "./case.ts";

const BOUND = 3e-6;

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

/** By the double sum over all pairs of tokens. */
function definition(spec: ToeplitzSpec, { v, weights, dOut }: Data): { dv: Float64Array; dWeights: Float64Array } {
  const [height, width] = spec.grid ?? [1, spec.length];
  const wide = 2 * width - 1;
  const dv = new Float64Array(v.length);
  const dWeights = new Float64Array(weights.length);
  for (let slice = 0; slice < spec.batch * spec.heads; slice++) {
    const middle = (slice % spec.heads) * (2 * height - 1) * wide + (height - 1) * wide + width - 1;
    for (let i = 0; i < spec.length; i++) {
      for (let j = 0; j < (spec.causal ? i + 1 : spec.length); j++) {
        const at = middle + (Math.floor(j / width) - Math.floor(i / width)) * wide + (j % width) - (i % width);
        for (let c = 0; c < spec.channels; c++) {
          const g = dOut[(slice * spec.length + i) * spec.channels + c]!;
          const from = (slice * spec.length + j) * spec.channels + c;
          dv[from]! += weights[at]! * g;
          dWeights[at]! += v[from]! * g;
        }
      }
    }
  }
  return { dv, dWeights };
}

async function compare(context: CaseContext, options: ToeplitzOptions, seed: number, runtime?: Runtime): Promise<void> {
  const spec = toeplitzSpec(options);
  const data = draw(spec, seed);
  const expected = spec.length <= 400 ? definition(spec, data) : await backward(await context.cpu, options, data);
  const actual = await backward(runtime ?? (await context.runtime), options, data);
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  checkClose(actual.dv, expected.dv, BOUND, `dv of ${what}`);
  checkClose(actual.dWeights, expected.dWeights, BOUND, `dWeights of ${what}`);
}

const SMALL: readonly ToeplitzOptions[] = [
  { heads: 2, length: 1, channels: 1 },
  { heads: 1, length: 2, channels: 3, causal: true },
  { heads: 2, batch: 3, length: 50, channels: 4 },
  { heads: 3, batch: 2, length: 97, channels: 7, causal: true },
  { heads: 2, batch: 2, grid: [5, 9], channels: 3 },
  { heads: 2, grid: [1, 12], channels: 2 },
  { heads: 1, grid: [12, 1], channels: 2 },
];

export const toeplitzGradientSuite: Suite = {
  name: "toeplitz gradient",
  cases: [
    {
      name: "against the double sum: sequences, causal ones, grids",
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
      name: "long ones, and in groups of heads and channels",
      run: async (context) => {
        await compare(context, { heads: 1, length: 9000, channels: 4 }, 20);
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 18 }, workspaceBytes: 2 ** 20 });
        try {
          await compare(context, { heads: 3, batch: 2, length: 1001, channels: 7 }, 21, small);
          await compare(context, { heads: 2, batch: 2, grid: [30, 40], channels: 6 }, 22, small);
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
