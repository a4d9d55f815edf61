/** The FastRPB product against its definition, against the float64 CPU, and its properties. */
import { toeplitzReference } from "../../src/testing/reference.ts";
import type { Runtime, ToeplitzOptions, ToeplitzPlan } from "../../src/index.ts";
import { type ToeplitzSpec, toeplitzSpec, weightsShape } from "../../src/testing/specs.ts";
import { type CaseContext, check, checkClose, normals, relativeL2, scoped, type Suite, together } from "./case.ts";

const BOUND = 3e-7;

interface Inputs {
  readonly v: Float32Array;
  readonly weights: Float32Array;
}

function shapeOf({ batch, heads, length, channels }: ToeplitzSpec): readonly number[] {
  return [batch, heads, length, channels];
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function randomInputs(spec: ToeplitzSpec): Inputs & { readonly what: string } {
  const seed = spec.length + spec.channels;
  const { batch, heads, length, grid, channels, causal } = spec;
  const what = `${batch} × ${heads} × ${grid?.join("×") ?? length} × ${channels}${causal ? ", causal" : ""}, seed ${seed}`;
  return { v: normals(seed, count(shapeOf(spec))), weights: normals(seed + 1, count(weightsShape(spec))), what };
}

/** A product into a tensor of NaN, from weights and from their spectrum, which have to agree. */
async function onGpu(
  runtime: Runtime,
  options: ToeplitzOptions,
  { v, weights }: Inputs,
  checkPlan?: (plan: ToeplitzPlan) => void,
): Promise<Float32Array> {
  const spec = toeplitzSpec(options);
  const shape = shapeOf(spec);
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.toeplitz(options));
    const w = scope.tensor(weights, weightsShape(spec));
    const x = scope.tensor(v, shape);
    const direct = await plan.run(x, w, { out: scope.unwritten(shape) }).data();
    const spectrum = scope.keep(plan.prepare(w));
    const prepared = await plan.run(x, spectrum, { out: scope.unwritten(shape) }).data();
    const what = JSON.stringify(options);
    check(
      direct.every((value, i) => Object.is(value, prepared[i])),
      `${what}: weights and their spectrum give different results`,
    );
    checkPlan?.(plan);
    return direct;
  });
}

async function onCpu(context: CaseContext, options: ToeplitzOptions, { v, weights }: Inputs): Promise<Float32Array> {
  const runtime = await context.cpu;
  const spec = toeplitzSpec(options);
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.toeplitz(options));
    return plan.run(scope.tensor(v, shapeOf(spec)), scope.tensor(weights, weightsShape(spec))).data();
  });
}

interface CompareOptions {
  /** The shared one by default; where it is known how many dispatches there are, that with the limits that every device has. */
  readonly runtime?: Runtime;
  readonly dispatches?: number;
}

async function compare(context: CaseContext, options: ToeplitzOptions, { runtime, dispatches }: CompareOptions = {}): Promise<void> {
  const spec = toeplitzSpec(options);
  const { what, ...inputs } = randomInputs(spec);
  const shared = dispatches === undefined ? context.runtime : context.guaranteed;
  const actual = await onGpu(runtime ?? (await shared), options, inputs, (plan) => context.checkDispatches(plan, dispatches, what));
  checkClose(actual, await onCpu(context, options, inputs), BOUND, `${what}, against the CPU`);
  // The O(N²) definition, where it takes less than a few seconds.
  if (inputs.v.length * spec.length <= 5e8) {
    checkClose(actual, toeplitzReference(spec, inputs.v, inputs.weights), BOUND, `${what}, against the definition`);
  }
}

/** A device of the case's own whose workgroups are small, so that little is fused and kernels compile fast. */
async function onSmallDevice(context: CaseContext, workgroupBytes: number, products: readonly ToeplitzOptions[], dispatches: number): Promise<void> {
  const runtime = await context.open({ limits: { maxComputeWorkgroupStorageSize: workgroupBytes } });
  try {
    await together(products, (options) => compare(context, options, { runtime, dispatches }));
  } finally {
    runtime.dispose();
  }
}

const LENGTHS = [1, 2, 3, 16, 784, 1000, 1024, 4096] as const;
const WIDTHS = [
  [1, 1, 1],
  [8, 3, 7],
  [1, 3, 32],
  [8, 1, 64],
  [1, 1, 128],
] as const;

export const toeplitzSuite: Suite = {
  name: "toeplitz",
  cases: [
    ...LENGTHS.map((length, i) => ({
      name: `length ${length}`,
      sample: length === 16,
      run: async (context: CaseContext) => {
        // Every width with every length would take long; two of five each, in turn, meet all of them.
        const widths = length <= 16 ? WIDTHS : [WIDTHS[i % 5]!, WIDTHS[(i + 2) % 5]!];
        await together(widths, ([heads, batch, channels]) => compare(context, { heads, batch, length, channels }));
      },
    })),
    {
      name: "lengths around the period's factors, primes among them",
      run: async (context) => {
        await together([11, 13, 97, 121, 251, 1009], (length) => compare(context, { heads: 2, length, channels: 3 }));
      },
    },
    {
      name: "three passes: length 10000 with odd channels, batch 3",
      run: (context) => compare(context, { heads: 2, batch: 3, length: 10000, channels: 5 }),
    },
    { name: "three passes: length 65536, 8 heads", run: (context) => compare(context, { heads: 8, length: 65536, channels: 4 }) },
    { name: "three passes: length 2^20", run: (context) => compare(context, { heads: 1, length: 2 ** 20, channels: 2 }) },
    { name: "three passes: 945000, all odd radices", slow: true, run: (context) => compare(context, { heads: 1, length: 945000, channels: 1 }) },
    { name: "three passes: a prime length near 2^20", run: (context) => compare(context, { heads: 1, length: 1048573, channels: 1 }) },
    {
      name: "three passes: few channels, many heads",
      run: async (context) => {
        const products = [
          { heads: 12, length: 5000, channels: 1 },
          { heads: 5, batch: 2, length: 5000, channels: 2 },
          { heads: 7, length: 5000, channels: 4 },
          { heads: 3, length: 5000, channels: 5 },
        ];
        await onSmallDevice(context, 16384, products, 3);
      },
    },
    {
      name: "three passes of short sequences and small grids",
      run: async (context) => {
        const products: ToeplitzOptions[] = [
          { heads: 3, batch: 2, length: 1000, channels: 7 },
          { heads: 2, length: 251, channels: 2, causal: true },
          { heads: 2, batch: 2, grid: [14, 14], channels: 1 },
          { heads: 3, grid: [11, 53], channels: 5 },
          { heads: 1, grid: [60, 17], channels: 9 },
          { heads: 2, grid: [2, 61], channels: 4 },
        ];
        await onSmallDevice(context, 256, products, 3);
      },
    },
    {
      name: "causal, fused and in three passes",
      run: async (context) => {
        await together([1, 2, 100, 1000, 4096, 5000, 20000], (length, i) => {
          return compare(context, { heads: 1 + (i % 2), length, channels: 1 + (i % 3), causal: true });
        });
      },
    },
    {
      name: "causal weights after the diagonal count as zero, even where they are none",
      run: async (context) => {
        const options = { heads: 2, length: 100, channels: 2, causal: true };
        const { v, weights } = randomInputs(toeplitzSpec(options));
        const holes = weights.map((weight, i) => (i % 199 >= 100 ? NaN : weight));
        const [clean, spoiled] = [
          await onGpu(await context.runtime, options, { v, weights }),
          await onGpu(await context.runtime, options, { v, weights: holes }),
        ];
        check(
          spoiled.every((value, i) => value === clean[i]),
          "weights of later tokens take part",
        );
      },
    },
    {
      name: "grids of one row, one column, one token",
      run: async (context) => {
        await together([[1, 1] as const, [1, 100] as const, [100, 1] as const], (grid) => {
          return compare(context, { heads: 2, batch: 2, grid, channels: 3 }, { dispatches: 1 });
        });
      },
    },
    ...(
      [
        [[3, 5], { heads: 3, batch: 2, channels: 5 }],
        [[14, 14], { heads: 3, channels: 64 }],
        [[28, 28], { heads: 2, channels: 1 }],
        [[64, 64], { heads: 2, batch: 2, channels: 2 }],
        [[60, 61], { heads: 1, channels: 3 }],
        [[100, 37], { heads: 1, channels: 2 }],
      ] as const
    ).map(([grid, rest]) => ({
      name: `grid ${grid.join("×")}, fused`,
      run: (context: CaseContext) => compare(context, { grid, ...rest }, { dispatches: 1 }),
    })),
    {
      name: "grid 63×65 in three passes",
      sample: true,
      run: (context) => onSmallDevice(context, 16384, [{ heads: 1, grid: [63, 65], channels: 3 }], 3),
    },
    {
      name: "grid 128×128 in three passes",
      run: (context) => onSmallDevice(context, 16384, [{ heads: 2, grid: [128, 128], channels: 2 }], 3),
    },
    {
      name: "an identity, a shift, a matrix of ones",
      run: async (context) => {
        const runtime = await context.runtime;
        for (const length of [5, 1000, 12000]) {
          const product = { heads: 1, length, channels: 2 };
          const v = normals(length, 2 * length);
          const weights = (offset: number) => new Float32Array(2 * length - 1).map((_, i) => (i === length - 1 + offset ? 1 : 0));
          checkClose(await onGpu(runtime, product, { v, weights: weights(0) }), v, BOUND, `identity of length ${length}`);
          // W_ij = 1 where j = i + 2: out_i = v_{i+2}.
          const later = new Float32Array(2 * length);
          later.set(v.subarray(4));
          checkClose(await onGpu(runtime, product, { v, weights: weights(2) }), later, BOUND, `shift of length ${length}`);
          const sums = [0, 1].map((channel) => v.reduce((sum, value, i) => (i % 2 === channel ? sum + value : sum), 0));
          const total = new Float32Array(2 * length).map((_, i) => sums[i % 2]!);
          const ones = await onGpu(runtime, product, { v, weights: new Float32Array(2 * length - 1).fill(1) });
          const scale = Math.sqrt(length * length * 2) / Math.hypot(...total); // the sum cancels: measure against ‖W‖‖v‖
          check(relativeL2(ones, total) < BOUND * Math.max(1, scale), `ones of length ${length}: ${relativeL2(ones, total)}`);
        }
      },
    },
    {
      name: "a grid shifted by a row and back by a column",
      run: async (context) => {
        const [height, width, channels] = [14, 14, 1];
        const v = normals(5, height * width);
        const weights = new Float32Array((2 * height - 1) * (2 * width - 1));
        weights[(height - 1 + 1) * (2 * width - 1) + width - 1 - 1] = 1; // y_j − y_i = 1, x_j − x_i = −1
        const at = (y: number, x: number) => (y < height && x >= 0 ? v[y * width + x]! : 0);
        const expected = v.map((_, n) => at(Math.floor(n / width) + 1, (n % width) - 1));
        const shifted = await onGpu(await context.runtime, { heads: 1, grid: [height, width], channels }, { v, weights });
        checkClose(shifted, expected, BOUND, "shift");
      },
    },
    {
      name: "groups: bindings of 1 MiB and 1 MiB of workspace",
      run: async (context) => {
        const small = await context.open({
          limits: { maxStorageBufferBindingSize: 2 ** 20, maxComputeWorkgroupStorageSize: 4096 },
          workspaceBytes: 2 ** 20,
        });
        try {
          const products: ToeplitzOptions[] = [
            { heads: 3, batch: 2, length: 10000, channels: 7 },
            { heads: 5, batch: 2, length: 1000, channels: 33 },
            { heads: 2, batch: 3, length: 16384, channels: 12 },
            { heads: 4, batch: 2, grid: [90, 110], channels: 3 },
            { heads: 3, grid: [50, 40], channels: 70 },
          ];
          await together(products, async (options) => {
            await scoped(small, async (scope) => {
              const plan = scope.keep(await small.toeplitz(options));
              check(plan.cost.workspaceBytes <= 2 ** 20, `workspace ${plan.cost.workspaceBytes}`);
              check(plan.cost.dispatches > 3 || plan.cost.workspaceBytes === 0, "expected several groups");
            });
            await compare(context, options, { runtime: small });
          });
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
