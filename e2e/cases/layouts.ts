/** Tensors of attention in other orders than head by head: [batch, N, heads, dim], or queries, keys and values of a token in one row. */
import type { AttentionOptions } from "../../src/index.ts";
import { attentionGradientReference, attentionReference } from "../../src/testing/attention-reference.ts";
import { attentionSpec } from "../../src/testing/specs.ts";
import { attend, attendBackward, ATTENTION_BOUND, drawAttention, GRADIENT_BOUND } from "./attention-harness.ts";
import { check, checkClose, checkRefused, scoped, type Suite, together } from "./case.ts";

/** Rows are whole vectors, those of values of pairs, and of neither. */
const WHOLE = { heads: 3, batch: 2, length: 150, headDim: 8, valueDim: 4 } as const;
const PAIRS = { heads: 3, batch: 2, length: 77, headDim: 4, valueDim: 6 } as const;
const ODD = { heads: 3, batch: 2, length: 130, headDim: 5, valueDim: 3 } as const;
const ONE = { heads: 2, batch: 2, length: 1, headDim: 3, valueDim: 5 } as const;
const GROUPS = { heads: 4, batch: 2, length: 50, headDim: 4, valueDim: 6 } as const;
const LAYOUTS = ["bnhd", "packed"] as const;

const KINDS: Readonly<Record<string, readonly AttentionOptions[]>> = {
  linear: [
    { ...WHOLE, featureMap: "sikf", variableLengths: true },
    { ...PAIRS, featureMap: "favor+" },
    { ...ODD, featureMap: "softmax" },
    { ...ODD, featureMap: "dpfp", nu: 2 },
    { ...ONE, featureMap: "elu+1" },
  ],
  causal: [
    { ...WHOLE, featureMap: "sikf", causal: true, variableLengths: true },
    { ...WHOLE, featureMap: "softmax", causal: true },
    { ...ODD, featureMap: "softmax", causal: true },
    { ...PAIRS, featureMap: "favor+", causal: true },
    { ...ONE, featureMap: "elu+1", causal: true },
  ],
  softmax: [
    { ...WHOLE, kind: "softmax" },
    { ...PAIRS, kind: "softmax", causal: true, variableLengths: true },
    { ...ODD, kind: "softmax", window: 20, bias: "logits" },
    { ...PAIRS, heads: 1, length: 1100, kind: "softmax" },
    { ...ONE, kind: "softmax" },
  ],
  FastRPB: [
    { ...WHOLE, featureMap: "sikf", bias: "fastrpb" },
    { ...ODD, kind: "softmax", bias: "fastrpb" },
    { ...PAIRS, featureMap: "sikf", bias: "fastrpb", causal: true, variableLengths: true, outside: { first: 1, last: 2 } },
    { ...ONE, featureMap: "elu+1", bias: "fastrpb" },
    { heads: 2, batch: 2, grid: [5, 7], headDim: 4, valueDim: 8, featureMap: "sikf", bias: "fastrpb" },
    { heads: 2, batch: 2, grid: [5, 7], headDim: 4, valueDim: 6, featureMap: "sikf", bias: "fastrpb", biasForm: "separable" },
    { heads: 2, batch: 2, length: 9000, headDim: 2, valueDim: 3, featureMap: "elu+1", bias: "fastrpb" },
  ],
  "a mask over keys": [
    { ...WHOLE, featureMap: "sikf", bias: "fastrpb", keyMask: true },
    { ...PAIRS, featureMap: "elu+1", causal: true, keyMask: true },
    { ...ODD, kind: "softmax", keyMask: true },
  ],
  "other keys, and fewer heads of them": [
    { ...GROUPS, featureMap: "sikf", keyLength: 70 },
    { ...GROUPS, kind: "softmax", keyLength: 40, bias: "logits", keyMask: true },
    { ...GROUPS, featureMap: "favor+", keyHeads: 2, keyMask: true },
    { ...GROUPS, kind: "softmax", keyHeads: 1, keyLength: 33 },
    { ...GROUPS, featureMap: "sikf", causal: true, keyHeads: 2, variableLengths: true },
    { ...GROUPS, featureMap: "elu+1", bias: "fastrpb", keyLength: 64, keyHeads: 2 },
    { ...GROUPS, featureMap: "sikf", bias: "fastrpb", biasForm: "symmetric", keyLength: 11 },
    { ...ONE, featureMap: "sikf", bias: "fastrpb", keyLength: 3, keyHeads: 1 },
  ],
};

export const layoutSuite: Suite = {
  name: "layouts",
  cases: [
    ...Object.entries(KINDS).map(([name, all]) => ({
      name: `${name}: the same bits as head by head, forward and backward`,
      sample: name === "linear",
      run: async (context: Parameters<Suite["cases"][number]["run"]>[0]) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          await together(all, async (options, seed) => {
            const data = drawAttention(options, 10 * seed);
            const [out, gradients] = [await attend(runtime, options, data), await attendBackward(runtime, options, data)];
            for (const layout of options.keyLength || options.keyHeads ? (["bnhd"] as const) : LAYOUTS) {
              const what = `${runtime.backend}, ${JSON.stringify({ ...options, layout })}, seed ${10 * seed}`;
              checkSame(await attend(runtime, { ...options, layout }, data), out, `${what}: out`);
              const others = await attendBackward(runtime, { ...options, layout }, data);
              for (const gradient of ["dq", "dk", "dv", "dBias"] as const) {
                if (gradients[gradient]) checkSame(others[gradient]!, gradients[gradient], `${what}: ${gradient}`);
              }
            }
          });
        }
      },
    })),
    {
      name: "the definition, forward and backward",
      sample: true,
      run: async (context) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          for (const [seed, shape] of (
            [
              { ...PAIRS, featureMap: "sikf", bias: "fastrpb" },
              { ...ODD, kind: "softmax", causal: true },
            ] as const
          ).entries()) {
            for (const layout of LAYOUTS) {
              const options: AttentionOptions = { ...shape, layout };
              const what = `${runtime.backend}, ${JSON.stringify(options)}, seed ${seed}`;
              const data = drawAttention(options, seed);
              const spec = attentionSpec(options);
              const inputs = { ...data, weights: spec.bias === "none" ? undefined : data.weights };
              checkClose(await attend(runtime, options, data), attentionReference(spec, inputs), ATTENTION_BOUND, `${what}: out`);
              const expected = attentionGradientReference(spec, inputs, data.dOut);
              const actual = await attendBackward(runtime, options, data);
              for (const name of ["dq", "dk", "dv"] as const) checkClose(actual[name]!, expected[name], GRADIENT_BOUND, `${what}: ${name}`);
            }
          }
        }
      },
    },
    {
      name: "what does not go together, and inputs of another layout",
      run: async (context) => {
        const runtime = await context.cpu;
        const options = { heads: 2, length: 5, headDim: 4, featureMap: "sikf" } as const;
        const multiplicative = { ...options, bias: "multiplicative", layout: "bnhd" } as const;
        await checkRefused(() => runtime.attention(multiplicative), "unavailable", "multiplicative", 'layout: "bnhd"');
        const channels = { heads: 2, grid: [2, 3], gridChannels: 2, headDim: 4, featureMap: "sikf", bias: "fastrpb", layout: "packed" } as const;
        await checkRefused(() => runtime.attention(channels), "unavailable", "options.layout", "gridChannels");
        await checkRefused(() => runtime.attention({ ...options, keyHeads: 1, layout: "packed" }), "unavailable", "options.layout", "keyHeads");
        await checkRefused(() => runtime.attention({ ...options, layout: "nhd" as "bnhd" }), "value", "options.layout", "nhd");
        await scoped(runtime, async (scope) => {
          const [byHead, byToken] = [scope.unwritten([1, 2, 5, 4]), scope.unwritten([1, 5, 2, 4])];
          const plan = scope.keep(await runtime.attention({ ...options, layout: "bnhd" }));
          await checkRefused(() => plan.run({ q: byToken, k: byHead, v: byToken }), "shape", "inputs.k", "[1, 5, 2, 4]");
          const packed = scope.keep(await runtime.attention({ ...options, layout: "packed" }));
          await checkRefused(() => packed.run({ q: byToken, k: byToken, v: byToken } as never), "value", "inputs", "qkv");
          await checkRefused(() => packed.run({ qkv: byToken }), "shape", "inputs.qkv", "[1, 5, 24]");
        });
      },
    },
  ],
};

function checkSame(actual: Float32Array, expected: Float32Array, what: string): void {
  check(actual.length === expected.length, `${what}: ${actual.length} numbers instead of ${expected.length}`);
  const at = expected.findIndex((x, i) => x !== actual[i]);
  check(at === -1, `${what}: ${actual[at]} instead of ${expected[at]} at ${at}`);
}
