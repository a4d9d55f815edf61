import type { DecoderOptions, Tensor } from "../../../src/index.ts";
import { type AttentionSpec, attentionSpec } from "../../../src/testing/specs.ts";
import type { Arrays, Options, TensorPlan } from "../case.ts";
import type { Draw } from "../draw-numbers.ts";
import type { BoundContext, Operation } from "../operation.ts";
import { forwardBounds, inputsOf } from "./attention.ts";

/** Tokens of a run, which come in parts of so many each, again and again. `idle` tokens of the length are left over. */
interface DecodingOptions extends DecoderOptions {
  readonly parts: readonly number[];
  readonly idle?: number;
}

function given(options: Options): DecodingOptions {
  return options as unknown as DecodingOptions;
}

function decoderOptions(options: Options): DecoderOptions {
  const { parts: _, idle: __, ...rest } = given(options);
  return rest;
}

/** The causal attention of the tokens that come. */
function specOf(options: Options): AttentionSpec {
  const { idle = 0 } = given(options);
  const rest = decoderOptions(options);
  return attentionSpec({ ...rest, length: rest.length - idle, causal: true });
}

/** The first token of each part, and how many it has. */
function partsOf(options: Options): readonly { readonly first: number; readonly count: number }[] {
  const { length } = specOf(options);
  const { parts } = given(options);
  const result: { first: number; count: number }[] = [];
  for (let first = 0; first < length;) {
    const count = Math.min(parts[result.length % parts.length]!, length - first);
    result.push({ first, count });
    first += count;
  }
  return result;
}

const ROWS = ["q", "k", "v", "out"] as const;

function widthOf({ headDim, valueDim }: AttentionSpec, name: (typeof ROWS)[number]): number {
  return name === "q" || name === "k" ? headDim : valueDim;
}

/** Rows of whole sequences by parts, or with `join` the other way. */
function regrouped(options: Options, arrays: Arrays, join: boolean): Record<string, Float32Array> {
  const spec = specOf(options);
  const heads = spec.batch * spec.heads;
  const result: Record<string, Float32Array> = { ...("bias" in arrays && { bias: arrays["bias"]! }) };
  for (const name of ROWS) {
    const width = widthOf(spec, name);
    for (const [i, { first, count }] of partsOf(options).entries()) {
      const [whole, part] = [join ? (result[name] ??= new Float32Array(heads * spec.length * width)) : arrays[name], `${name}${i}`];
      const rows = join ? arrays[part] : (result[part] = new Float32Array(heads * count * width));
      if (!whole || !rows) {
        delete result[join ? name : part];
        continue;
      }
      for (let bh = 0; bh < heads; bh++) {
        const [at, from] = [bh * count * width, (bh * spec.length + first) * width];
        if (join) whole.set(rows.subarray(at, at + count * width), from);
        else rows.set(whole.subarray(from, from + count * width), at);
      }
    }
  }
  return result;
}

const MOST_TOKENS = 200;
const MOST_ELEMENTS = 10_000;

function draw(numbers: Draw): Options {
  const featureMap = numbers.pick(["sikf", "sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"]);
  const length = numbers.size(MOST_TOKENS);
  const headDim = numbers.size(Math.min(featureMap === "favor+" ? 8 : featureMap === "dpfp" ? 20 : 70, MOST_ELEMENTS / length));
  const valueDim = numbers.size(Math.min(70, MOST_ELEMENTS / length));
  const heads = numbers.size(Math.max(1, Math.min(4, Math.floor(MOST_ELEMENTS / length / Math.max(headDim, valueDim)))));
  return {
    batch: numbers.int(1, 2),
    heads,
    length,
    headDim,
    valueDim,
    featureMap,
    ...(featureMap === "dpfp" && headDim > 1 && numbers.chance(0.5) && { nu: 2 }),
    ...(numbers.chance(0.5) && { bias: "fastrpb" }),
    parts: Array.from({ length: numbers.int(1, 3) }, () => numbers.pick([1, 1, 2, 63, 64, 65, numbers.size(MOST_TOKENS)])),
    ...(numbers.chance(0.3) && length > 1 && { idle: numbers.int(1, length - 1) }),
  };
}

/** A decoder that starts anew for each run. What it holds between its steps moves by whole parts, so that these are tensors of their own. */
export const decoderOperation: Operation = {
  share: 1,
  draw,
  tensors(options) {
    const spec = specOf(options);
    const { bias: _, ...rows } = inputsOf(spec, false);
    const parted = (name: string, plan: TensorPlan) =>
      partsOf(options).map(({ count }, i) => [`${name}${i}`, { ...plan, shape: [spec.batch, spec.heads, count, plan.shape[3]!] }] as const);
    const { bias } = inputsOf({ ...spec, length: given(options).length }, false);
    return {
      inputs: { ...Object.fromEntries(Object.entries(rows).flatMap(([name, plan]) => parted(name, plan))), ...(bias && { bias }) },
      outputs: Object.fromEntries(parted("out", { shape: [0, 0, 0, spec.valueDim], dtype: "f32" })),
    };
  },
  flags: () => [],
  async open(runtime, options) {
    const decoder = await runtime.decoder(decoderOptions(options));
    return {
      run({ tensors }) {
        decoder.start(tensors["bias"] ? { bias: tensors["bias"] } : {});
        for (const i of partsOf(options).keys()) {
          const [q, k, v, out] = ROWS.map((name) => tensors[`${name}${i}`]!) as [Tensor, Tensor, Tensor, Tensor];
          decoder.step({ q, k, v }, { out });
        }
        return [];
      },
      dispose: () => decoder.dispose(),
    };
  },
  /** Those of the attention of the whole sequence: of all parts together. */
  async bounds(context: BoundContext) {
    const { options, data, kinds, expected, reference } = context;
    const spec = specOf(options);
    const { out } = await forwardBounds({
      ...context,
      // Weights of offsets that no token has count for nothing.
      options: {
        ...decoderOptions(options),
        length: spec.length,
        causal: true,
        ...(spec.bias === "fastrpb" && { biasLength: given(options).length }),
      },
      data: regrouped(options, data, true),
      kinds: Object.fromEntries(Object.entries(kinds).flatMap(([name, kind]) => [[name, kind] as const, [name.replace(/\d+$/, ""), kind] as const])),
      expected: regrouped(options, expected, true),
      reference: async (whole) => regrouped(options, await reference(regrouped(options, whole, false)), true),
    });
    return Object.fromEntries(Object.keys(expected).map((name) => [name, out!]));
  },
};
