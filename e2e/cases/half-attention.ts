/** Attention of float16 tensors, where the device has `shader-f16`; where it has not, that it is refused by name. */
import type { AttentionOptions } from "../../src/index.ts";
import { attentionSpec, weightsShape } from "../../src/testing/specs.ts";
import { decodeHalf } from "../../src/core/half.ts";
import { attend, type AttentionData } from "./attention-harness.ts";
import { check, checkRefused, normals, relativeL2, scoped, type Suite, together } from "./case.ts";

/** Bits of the nearest float16, of numbers within its normal range. */
function encode(numbers: Float32Array): Uint16Array {
  return Uint16Array.from(numbers, (x) => {
    const size = Math.abs(x);
    if (size < 2 ** -14) return (x < 0 ? 0x8000 : 0) + Math.round(size / 2 ** -24);
    const exponent = Math.floor(Math.log2(size));
    return (x < 0 ? 0x8000 : 0) + ((exponent + 15) << 10) + Math.round((size / 2 ** exponent - 1) * 1024);
  });
}

function decode(bits: Uint16Array): Float32Array {
  const numbers = new Float32Array(bits.length);
  decodeHalf(bits, numbers);
  return numbers;
}

export const VARIANTS: AttentionOptions[] = [
  { heads: 2, batch: 2, length: 70, headDim: 8, valueDim: 12, featureMap: "sikf", bias: "fastrpb" },
  { heads: 1, length: 301, headDim: 7, valueDim: 5, featureMap: "elu+1", bias: "fastrpb", causal: true },
  { heads: 3, length: 33, headDim: 5, featureMap: "favor+" },
  { heads: 2, length: 33, headDim: 5, featureMap: "dpfp", nu: 2, causal: true },
  { heads: 1, length: 70, headDim: 8, featureMap: "softmax", causal: true },
  { heads: 1, length: 150, headDim: 7, valueDim: 9, kind: "softmax", causal: true },
  { heads: 1, length: 1100, headDim: 7, valueDim: 8, kind: "softmax" },
  { heads: 2, length: 90, headDim: 8, kind: "softmax", bias: "logits", window: 20 },
  { heads: 2, batch: 2, length: 70, headDim: 8, valueDim: 7, featureMap: "sikf", bias: "fastrpb", keyMask: true },
  { heads: 1, length: 33, headDim: 5, valueDim: 7, featureMap: "favor+", causal: true, keyMask: true },
  { heads: 2, grid: [9, 5], headDim: 4, valueDim: 3, featureMap: "relu", bias: "fastrpb" },
  { heads: 1, length: 9000, headDim: 4, featureMap: "sikf", bias: "fastrpb" },
  { heads: 2, batch: 2, grid: [9, 5], headDim: 4, valueDim: 3, featureMap: "sikf", bias: "fastrpb", biasForm: "separable" },
  { heads: 2, grid: [37, 40], headDim: 4, valueDim: 8, featureMap: "elu+1", bias: "fastrpb", biasForm: "separable-symmetric" },
  { heads: 2, batch: 2, grid: [9, 5], headDim: 4, valueDim: 3, featureMap: "sikf", bias: "fastrpb", outside: { first: 1, last: 2 } },
];

export const halfAttentionSuite: Suite = {
  name: "half precision attention",
  cases: [
    {
      name: "at most twice the error of a result that is rounded to float16",
      run: async (context) => {
        const [runtime, cpu] = [await context.runtime, await context.cpu];
        if (!runtime.device!.features.has("shader-f16")) {
          for (const options of VARIANTS) {
            await checkRefused(() => runtime.attention({ ...options, storage: "f16" }), "unavailable", "runtime.attention", "options.storage", "f16");
          }
          return;
        }
        await together(VARIANTS, async (options, seed) => {
          const spec = attentionSpec(options);
          const rows = [spec.batch, spec.heads, spec.length];
          const bits = (offset: number, dim: number) => encode(normals(10 * seed + offset, spec.batch * spec.heads * spec.length * dim));
          const [q, k, v] = [bits(0, spec.headDim), bits(1, spec.headDim), bits(2, spec.valueDim)];
          const count = weightsShape(spec).reduce((product, size) => product * size, 1);
          const weights = normals(10 * seed + 3, count).map((w) => w / Math.sqrt(spec.length));
          const keyMask = spec.keyMask && Uint8Array.from({ length: spec.batch * spec.length }, (_, at) => Number(at % 5 > 1));
          const mask = keyMask && { keyMask };
          const data: AttentionData = { q: decode(q), k: decode(k), v: decode(v), weights, dOut: new Float32Array(), ...mask };
          const exact = await attend(cpu, options, data);
          const rounded = relativeL2(decode(encode(exact)), exact);
          await scoped(runtime, async (scope) => {
            const plan = scope.keep(await runtime.attention({ ...options, storage: "f16" }));
            const tensor = (data16: Uint16Array, dim: number) => scope.keep(runtime.tensor(data16, [...rows, dim], "f16"));
            const inputs = {
              q: tensor(q, spec.headDim),
              k: tensor(k, spec.headDim),
              v: tensor(v, spec.valueDim),
              ...(spec.bias !== "none" && { bias: scope.tensor(weights, weightsShape(spec)) }),
              ...mask,
            };
            const out = scope.unwritten([...rows, spec.valueDim], "f16");
            const error = relativeL2(await plan.run(inputs, { out }).data(), exact);
            const what = `${JSON.stringify(options)}, seed ${seed}`;
            check(error <= 2 * rounded, `${what}: ${error}, and ${rounded} by rounding alone`);
            check(plan.cost.bytesMoved > 0 && plan.run(inputs, { out }).dtype === "f16", `${what}: dtype`);
            await checkRefused(() => plan.backward({ ...inputs, dOut: out }), "unavailable", "AttentionPlan.backward", "f32");
          });
        });
      },
    },
    {
      name: "refused on the CPU, and with a multiplicative bias",
      sample: true,
      run: async (context) => {
        const cpu = await context.cpu;
        const options = { heads: 1, length: 8, headDim: 2, featureMap: "sikf", storage: "f16" } as const;
        await checkRefused(() => cpu.attention(options), "unavailable", "runtime.attention", "options.storage", "CPU");
        await checkRefused(() => cpu.attention({ ...options, bias: "multiplicative" }), "unavailable", "multiplicative", "f16");
        await checkRefused(() => cpu.attention({ ...options, storage: "bf16" as "f16" }), "value", "options.storage", "bf16");
      },
    },
  ],
};
