import { checkClose, normals, scoped, type Suite } from "./case.ts";

export const complexMultiplySuite: Suite = {
  name: "complex multiply",
  cases: [
    {
      name: "shapes, broadcast, conjugate, scale",
      run: async (context) => {
        const runtime = await context.runtime;
        for (const [shape, broadcast] of [[[1], [1]], [[3, 129], [129]], [[2, 5, 7], [5, 7]], [[4, 1000], [4, 1000]], [[300, 300], [300]]] as const) {
          for (const conjugate of [false, true]) {
            for (const scale of [1, -0.25]) {
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
                const out = plan.run(scope.tensor(a, shape, "complex64"), scope.tensor(b, broadcast, "complex64"), {
                  out: scope.unwritten(shape, "complex64"),
                });
                checkClose(await out.data(), expected, 2 * 2 ** -24, `[${shape.join()}] × [${broadcast.join()}], conjugate ${conjugate}, scale ${scale}`);
              });
            }
          }
        }
      },
    },
  ],
};
