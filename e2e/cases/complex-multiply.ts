import type { Runtime } from "../../src/index.ts";
import { checkClose, checkRefused, normals, scoped, type Suite } from "./case.ts";

interface Product {
  readonly shape: readonly number[];
  readonly broadcast: readonly number[];
  readonly conjugate: boolean;
  readonly scale: number;
}

async function compare(runtime: Runtime, { shape, broadcast, conjugate, scale }: Product): Promise<void> {
  const count = (sizes: readonly number[]) => sizes.reduce((product, size) => product * size, 1);
  const a = normals(count(shape), 2 * count(shape));
  const b = normals(count(shape) + 1, 2 * count(broadcast));
  const expected = new Float64Array(a.length);
  for (let i = 0; i < a.length; i += 2) {
    const [re, im] = [b[i % b.length]!, (conjugate ? -1 : 1) * b[(i % b.length) + 1]!];
    expected[i] = scale * (a[i]! * re - a[i + 1]! * im);
    expected[i + 1] = scale * (a[i]! * im + a[i + 1]! * re);
  }
  await scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.complexMultiply({ shape, conjugate, scale }));
    const out = plan.run(scope.tensor(a, shape, "complex64"), scope.tensor(b, broadcast, "complex64"), { out: scope.unwritten(shape, "complex64") });
    checkClose(await out.data(), expected, 2 * 2 ** -24, JSON.stringify({ shape, broadcast, conjugate, scale }));
  });
}

export const complexMultiplySuite: Suite = {
  name: "complex multiply",
  cases: [
    {
      name: "shapes, broadcast, conjugate, scale",
      sample: true,
      run: async (context) => {
        const shapes = [
          [[1], [1]],
          [[3, 129], [129]],
          [
            [2, 5, 7],
            [5, 7],
          ],
          [
            [4, 1000],
            [4, 1000],
          ],
          [[300, 300], [300]],
        ] as const;
        for (const [shape, broadcast] of shapes) {
          for (const conjugate of [false, true]) {
            for (const scale of [1, -0.25]) await compare(await context.runtime, { shape, broadcast, conjugate, scale });
          }
        }
      },
    },
    {
      name: "in parts: bindings of 64 KiB",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 16 } });
        try {
          for (const broadcast of [[30, 1001], [1001]]) await compare(small, { shape: [30, 1001], broadcast, conjugate: false, scale: 1 });
          const large = [2, 15, 1001];
          await checkRefused(
            () => compare(small, { shape: large, broadcast: large.slice(1), conjugate: false, scale: 1 }),
            "limit",
            "b is repeated",
            "65536",
          );
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
