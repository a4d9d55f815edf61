/** The FastRPB product against its definition, against the float64 CPU, and its properties. */
import { toeplitzReference } from "../../src/cpu/reference.ts";
import { type CaseContext, check, checkClose, normals, relativeL2, scoped, type Suite, together } from "./case.ts";

const BOUND = 3e-7;

interface Product {
  readonly batch?: number;
  readonly heads: number;
  readonly length: number;
  readonly channels: number;
}

function size(product: Product): { shape: readonly number[]; values: number; weights: number } {
  const { batch = 1, heads, length, channels } = product;
  return { shape: [batch, heads, length, channels], values: batch * heads * length * channels, weights: heads * (2 * length - 1) };
}

async function onGpu(context: CaseContext, product: Product, v: Float32Array, weights: Float32Array): Promise<Float32Array> {
  const runtime = await context.runtime;
  const { shape } = size(product);
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.toeplitz(product));
    const w = scope.tensor(weights, [product.heads, 2 * product.length - 1]);
    const x = scope.tensor(v, shape);
    const direct = await plan.run(x, w, { out: scope.unwritten(shape) }).data();
    const spectrum = scope.keep(plan.prepare(w));
    const prepared = await plan.run(x, spectrum, { out: scope.unwritten(shape) }).data();
    check(
      direct.every((value, i) => Object.is(value, prepared[i])),
      `${JSON.stringify(product)}: weights and their spectrum give different results`,
    );
    return direct;
  });
}

async function onCpu(context: CaseContext, product: Product, v: Float32Array, weights: Float32Array): Promise<Float32Array> {
  const runtime = await context.cpu;
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.toeplitz(product));
    return plan.run(scope.tensor(v, size(product).shape), scope.tensor(weights, [product.heads, 2 * product.length - 1])).data();
  });
}

async function compare(context: CaseContext, product: Product): Promise<void> {
  const seed = product.length + product.channels;
  const { values, weights } = size(product);
  const [v, w] = [normals(seed, values), normals(seed + 1, weights)];
  const actual = await onGpu(context, product, v, w);
  checkClose(actual, await onCpu(context, product, v, w), BOUND, `${JSON.stringify(product)}, seed ${seed}, against the CPU`);
  // The O(N²) definition, where it takes less than a few seconds.
  if (values * product.length <= 5e8) {
    const expected = toeplitzReference({ batch: 1, ...product }, v, w);
    checkClose(actual, expected, BOUND, `${JSON.stringify(product)}, seed ${seed}, against the definition`);
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
    { name: "three passes: a prime length near 2^20", run: (context) => compare(context, { heads: 1, length: 1048573, channels: 1 }) },
    {
      name: "an identity, a shift, a matrix of ones",
      run: async (context) => {
        for (const length of [5, 1000, 12000]) {
          const product = { heads: 1, length, channels: 2 };
          const v = normals(length, 2 * length);
          const weights = (offset: number) => new Float32Array(2 * length - 1).map((_, i) => (i === length - 1 + offset ? 1 : 0));
          checkClose(await onGpu(context, product, v, weights(0)), v, BOUND, `identity of length ${length}`);
          // W_ij = 1 where j = i + 2: out_i = v_{i+2}.
          const later = new Float32Array(2 * length);
          later.set(v.subarray(4));
          checkClose(await onGpu(context, product, v, weights(2)), later, BOUND, `shift of length ${length}`);
          const sums = [0, 1].map((channel) => v.reduce((sum, value, i) => (i % 2 === channel ? sum + value : sum), 0));
          const total = new Float32Array(2 * length).map((_, i) => sums[i % 2]!);
          const ones = await onGpu(context, product, v, new Float32Array(2 * length - 1).fill(1));
          const scale = Math.sqrt(length * length * 2) / Math.hypot(...total); // the sum cancels: measure against ‖W‖‖v‖
          check(relativeL2(ones, total) < BOUND * Math.max(1, scale), `ones of length ${length}: ${relativeL2(ones, total)}`);
        }
      },
    },
    {
      name: "groups: bindings of 1 MiB and 1 MiB of workspace",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 20 }, workspaceBytes: 2 ** 20 });
        try {
          for (const product of [
            { heads: 3, batch: 2, length: 10000, channels: 7 },
            { heads: 5, batch: 2, length: 1000, channels: 33 },
            { heads: 2, batch: 3, length: 16384, channels: 12 },
          ]) {
            const { shape, values, weights } = size(product);
            const [v, w] = [normals(3, values), normals(4, weights)];
            const actual = await scoped(small, async (scope) => {
              const plan = scope.keep(await small.toeplitz(product));
              check(plan.cost.workspaceBytes <= 2 ** 20, `workspace ${plan.cost.workspaceBytes}`);
              check(plan.cost.dispatches > 1, "expected several groups");
              return plan
                .run(scope.tensor(v, shape), scope.tensor(w, [product.heads, 2 * product.length - 1]), { out: scope.unwritten(shape) })
                .data();
            });
            checkClose(actual, await onCpu(context, product, v, w), BOUND, JSON.stringify(product));
          }
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
