/** Operations of models, of which no plan of the public API has one by itself: each in a graph with its gradients. */
import { graph, type GraphSpec, graphSpec } from "../../../src/graph/graph.ts";
import { capLimits, DEFAULT_LIMITS } from "../../../src/core/limits.ts";
import { Tensor } from "../../../src/core/tensor.ts";
import { type Task, task } from "../../../src/operations/operation.ts";
import { Runtime } from "../../../src/runtime/runtime.ts";
import type { Arrays, Options, TensorPlan } from "../case.ts";
import { norm } from "../data.ts";
import type { BoundContext, Operation } from "../operation.ts";
import { U } from "../operation.ts";
import { flushFloor } from "./floor.ts";

/** An operation, and what a case asks of it. */
export interface Family<Drawn extends object> extends Pick<Operation, "share"> {
  draw(...args: Parameters<Operation["draw"]>): Drawn;
  task(options: Drawn): Task;
  /** The result, and what else it writes that is compared. */
  readonly results: readonly string[];
  /** The inputs whose gradients are compared, too. */
  wanted(options: Drawn): readonly string[];
  /** Of an input, or of the gradient that comes in: kinds of data, and their sizes. Of indices, the size is their number. */
  kinds(name: string, options: Drawn): NonNullable<TensorPlan["kinds"]>;
  bounds(context: Omit<BoundContext, "options"> & { readonly options: Drawn }): ReturnType<Operation["bounds"]>;
}

// Of operations of models no layout depends on limits.
const LIMITS = capLimits("fuzz", DEFAULT_LIMITS, {}, 2 ** 28);

function specOf<Drawn extends object>(family: Family<Drawn>, options: Drawn): GraphSpec {
  const one = family.task(options);
  const { operation, spec } = one;
  const wanted = family.wanted(options);
  const { nodes, gradients } = wanted.length > 0 ? operation.backward!(spec, wanted) : { nodes: [], gradients: {} };
  const names = Object.keys(operation.tensors(spec, LIMITS));
  const made = new Set(nodes.flatMap(({ values }) => Object.values(values)));
  // A gradient that is passed on as it came is written by nobody.
  const written = wanted.map((name) => gradients[name]!).filter((name) => made.has(name) && !/^d(Out|Loss)$/.test(name));
  const results = [...family.results, ...new Set(written)];
  const forward = { task: one, values: Object.fromEntries(names.map((name) => [name, name])) };
  return graphSpec({ title: operation.name, nodes: [forward, ...nodes], results, narrow: results });
}

export function nodeOperation<Drawn extends object>(family: Family<Drawn>): Operation {
  return {
    share: family.share,
    draw: (draw, half) => family.draw(draw, half) as unknown as Options,
    tensors(options) {
      const drawn = options as unknown as Drawn;
      const all = Object.entries(graph.tensors(specOf(family, drawn), LIMITS)).map(([name, { role, shape, dtype }]) => {
        return { name, role, plan: { shape, dtype, ...(role === "input" && { kinds: family.kinds(name, drawn) }) } };
      });
      const ofRole = (wanted: "input" | "output") =>
        Object.fromEntries(all.filter(({ role }) => role === wanted).map(({ name, plan }) => [name, plan]));
      return { inputs: ofRole("input"), outputs: ofRole("output") };
    },
    flags: () => [],
    async open(runtime, options) {
      const context = Runtime.contextOf(runtime);
      const [executable] = await context.compile("fuzz", [task(graph, specOf(family, options as unknown as Drawn))]);
      return {
        run({ tensors }) {
          const bindings = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, Tensor.storageOf(tensor)]));
          context.backend.run([{ executable: executable!, bindings }]);
          return [];
        },
        dispose: () => executable!.dispose(),
      };
    },
    bounds: (context) => family.bounds({ ...context, options: context.options as unknown as Drawn }),
  };
}

/**
 * Bounds of results that are sums of products of inputs: of any numbers what each term of a sum may be off by, with as many roundings as there are
 * terms; of normal ones, whose errors add up at random, the bound of the other tests, with the spread of a few (4/√n).
 *
 * @param terms of the sums of a result
 */
export async function sumBounds(
  { data, kinds, expected, reference }: Omit<BoundContext, "options">,
  terms: (result: string) => number,
  floats: readonly string[],
): Promise<Readonly<Record<string, number>>> {
  const of = (change: (x: number) => number) =>
    reference(Object.fromEntries(Object.entries(data).map(([name, numbers]) => [name, floats.includes(name) ? numbers.map(change) : numbers])));
  const isNormal = floats.every((name) => kinds[name] === undefined || kinds[name] === "normal");
  const sizes = await of(Math.abs);
  const squares = isNormal ? await of((x) => x * x) : undefined;
  return Object.fromEntries(
    Object.entries(expected).map(([name, { length }]) => {
      const each = (terms(name) + 8) * U * norm(sizes[name]!);
      const together = squares ? usual(Math.sqrt(squares[name]!.reduce((sum, square) => sum + Math.abs(square), 0)), length) : Infinity;
      const floor = flushFloor(length, terms(name) + 2, 2, largestTwo(data, floats));
      return [name, Math.min(each, together) + floor];
    }),
  );
}

/** The bound of the other tests, 1e-6 of a norm, with the spread of a few numbers. */
export function usual(size: number, count: number): number {
  return 1e-6 * size * (1 + 4 / Math.sqrt(count));
}

/** Products have two factors at most, besides constants. */
function largestTwo(data: Arrays, floats: readonly string[]): readonly Float32Array[] {
  const most = (values: Float32Array | undefined) => values?.reduce((most, x) => Math.max(most, Math.abs(x)), 0) ?? 0;
  return floats
    .map((name) => data[name]!)
    .sort((a, b) => most(b) - most(a))
    .slice(0, 2);
}
