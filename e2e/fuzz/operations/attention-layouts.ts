/** Attention whose tensors have another order: the same data, bounds and poison as head by head. */
import { arranged, joined, parted } from "../../../src/testing/attention-layouts.ts";
import { type AttentionSpec, attentionSpec } from "../../../src/testing/specs.ts";
import type { AttentionOptions } from "../../../src/index.ts";
import type { Arrays, Options, TensorPlan } from "../case.ts";
import type { DataKind } from "../data.ts";
import type { Draw } from "../draw-numbers.ts";
import type { Operation } from "../operation.ts";

type Plans = Readonly<Record<string, TensorPlan>>;

/** Tensors of rows of heads; the others have one order only. */
const ROWS = /^(d?[qkv]|out|dOut)$/;
const PARTS = ["q", "k", "v"] as const;

function specOf(options: Options): AttentionSpec {
  return attentionSpec(options as unknown as AttentionOptions);
}

/** The operation, some of whose plans have a layout, given one that knows tensors head by head. */
export function inLayouts(operation: Operation): Operation {
  return {
    ...operation,
    draw: (draw, half) => withLayout(draw, operation.draw(draw, half)),
    tensors(options) {
      const { inputs, outputs } = operation.tensors(options);
      const spec = specOf(options);
      return { inputs: plansIn(spec, inputs), outputs: plansIn(spec, outputs) };
    },
    poison(data, fuzzCase) {
      const spec = specOf(fuzzCase.options);
      const plain = headByHead(spec, data);
      operation.poison!(plain, fuzzCase);
      for (const [name, numbers] of Object.entries(inOrder(spec, plain))) data[name]!.set(numbers);
    },
    async bounds({ data, expected, reference, kinds, ...context }) {
      const spec = specOf(context.options);
      const bounds = await operation.bounds({
        ...context,
        data: headByHead(spec, data),
        expected: headByHead(spec, expected),
        kinds: kinds["qkv"] ? { ...kinds, q: kinds["qkv"], k: kinds["qkv"], v: kinds["qkv"] } : kinds,
        reference: async (other) => headByHead(spec, await reference(inOrder(spec, other))),
      });
      if (spec.layout !== "packed" || !("dq" in bounds)) return bounds;
      return { ...bounds, dqkv: Math.hypot(...PARTS.map((name) => bounds[`d${name}`]!)) };
    },
  };
}

/** The options, of some with a layout, where they allow one. */
function withLayout(draw: Draw, options: Options): Options {
  if (!draw.chance(0.3)) return options;
  const other = { ...options, layout: draw.pick(["bnhd", "packed"]) };
  try {
    specOf(other);
    return other;
  } catch {
    return options;
  }
}

function plansIn(spec: AttentionSpec, plans: Plans): Plans {
  if (spec.layout === "bhnd") return plans;
  const turned = Object.entries(plans).map(([name, plan]): [string, TensorPlan] => {
    const [batch, heads, length, dim] = plan.shape;
    return [name, ROWS.test(name) ? { ...plan, shape: [batch!, length!, heads!, dim!] } : plan];
  });
  return spec.layout === "packed" ? packed(Object.fromEntries(turned), packPlans) : Object.fromEntries(turned);
}

/** A plan of all numbers of a token: of the kinds that queries, keys and values all take. */
function packPlans(parts: readonly TensorPlan[]): TensorPlan {
  const [{ shape, dtype, kinds }] = parts as [TensorPlan];
  const numbers = parts.reduce((sum, part) => sum + part.shape[2]! * part.shape[3]!, 0);
  const common = Object.entries(kinds ?? {}).filter(([kind]) => parts.every((part) => part.kinds?.[kind as DataKind] !== undefined));
  const sizes = common.map(([kind]) => [kind, smallestSize(parts, kind as DataKind)] as const);
  return { shape: [shape[0]!, shape[1]!, numbers], dtype, ...(kinds && { kinds: Object.fromEntries(sizes) }) };
}

/** Nearest to 1, of small and of large ones. */
function smallestSize(parts: readonly TensorPlan[], kind: DataKind): number {
  const sizes = parts.map((part) => part.kinds![kind]!);
  return sizes.reduce((best, size) => (Math.abs(Math.log(size)) < Math.abs(Math.log(best)) ? size : best));
}

/** With q, k, v, or their gradients, as one. */
function packed<T>(all: Readonly<Record<string, T>>, join: (parts: readonly T[]) => T): Record<string, T> {
  const { q, k, v, dq, dk, dv, ...others } = all;
  return { ...(q && k && v && { qkv: join([q, k, v]) }), ...(dq && dk && dv && { dqkv: join([dq, dk, dv]) }), ...others } as Record<string, T>;
}

/** Numbers in the order of the layout, from those head by head. */
function inOrder(spec: AttentionSpec, arrays: Arrays): Arrays {
  if (spec.layout === "bhnd") return arrays;
  const turned = Object.entries(arrays).map(([name, numbers]) => [name, ROWS.test(name) ? arranged(spec, name, numbers) : numbers] as const);
  const all = Object.fromEntries(turned);
  return spec.layout === "packed" ? packed(all, (parts) => joined(spec, parts)) : all;
}

/** The other way round. */
function headByHead(spec: AttentionSpec, arrays: Arrays): Arrays {
  if (spec.layout === "bhnd") return arrays;
  const { qkv, dqkv, ...others } = arrays;
  const named = (prefix: string, whole: Float32Array | undefined) =>
    whole ? Object.fromEntries(parted(spec, whole).map((part, i) => [prefix + PARTS[i]!, part])) : {};
  const all: Arrays = { ...named("", qkv), ...named("d", dqkv), ...others };
  return Object.fromEntries(Object.entries(all).map(([name, numbers]) => [name, ROWS.test(name) ? arranged(spec, name, numbers, true) : numbers]));
}
