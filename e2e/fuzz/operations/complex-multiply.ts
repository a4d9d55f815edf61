import type { ComplexMultiplyOptions } from "../../../src/index.ts";
import type { Options } from "../case.ts";
import { norm } from "../data.ts";
import { FACTOR_KINDS, type Operation, U } from "../operation.ts";
import { flushFloor } from "./floor.ts";

/** The shape, and how many leading axes the second operand lacks. */
type Drawn = ComplexMultiplyOptions & { readonly repeated: number };

function drawn(options: Options): Drawn {
  return options as unknown as Drawn;
}

export const complexMultiplyOperation: Operation = {
  share: 1,
  draw(draw) {
    const rank = draw.int(1, 4);
    const shape: number[] = [];
    for (let left = 10_000; shape.length < rank; left = Math.floor(left / shape.at(-1)!)) shape.push(draw.size(left));
    shape.reverse();
    return {
      shape,
      repeated: draw.chance(0.5) ? 0 : draw.int(0, rank - 1),
      ...(draw.chance(0.5) && { conjugate: true }),
      ...(draw.chance(0.5) && { scale: draw.pick([-1, 0.25, -1 / 3, 0, 1e3]) }),
    };
  },
  tensors(options) {
    const { shape, repeated } = drawn(options);
    return {
      inputs: {
        a: { shape, dtype: "complex64", kinds: FACTOR_KINDS },
        b: { shape: shape.slice(Math.min(repeated, shape.length - 1)), dtype: "complex64", kinds: FACTOR_KINDS },
      },
      outputs: { out: { shape, dtype: "complex64" } },
    };
  },
  flags: () => ["encode"],
  async open(runtime, options) {
    const { repeated: _, ...rest } = drawn(options);
    const plan = await runtime.complexMultiply(rest);
    return {
      run({ tensors, encoder }) {
        const { a, b, out } = tensors;
        if (encoder) plan.encode(encoder, a!, b!, { out: out! });
        else plan.run(a!, b!, { out: out! });
        return [];
      },
      dispose: () => plan.dispose(),
    };
  },
  // Two products, a sum and a factor round, and so does the float64 result.
  bounds: async ({ data, expected, options }) => ({
    out: 4 * U * norm(expected["out"]!) + flushFloor(expected["out"]!.length, 4, 1 + Math.abs(drawn(options).scale ?? 1), [data["a"]!, data["b"]!]),
  }),
};
