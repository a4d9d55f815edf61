/** Cross-attention, whose keys are of another length, and grouped queries, of which several heads share one of keys. */
import type { AttentionOptions } from "../../src/index.ts";
import { compareToDefinition } from "./attention-harness.ts";
import { type Case, type CaseContext, type Suite, together } from "./case.ts";

const SHAPE = { heads: 2, batch: 2, headDim: 5, valueDim: 6 } as const;
const MAPS = ["elu+1", "relu", "softmax", "favor+", "dpfp"] as const;
const SIZES = [
  { length: 1, keyLength: 7 },
  { length: 5, keyLength: 1 },
  { length: 37, keyLength: 101 },
  { length: 130, keyLength: 64 },
] as const;
const GROUPED = { ...SHAPE, heads: 6, keyHeads: 2, length: 37 } as const;
const ONE_HEAD = { heads: 1, batch: 2, headDim: 4, valueDim: 8 } as const;

const CASES: Readonly<Record<string, readonly AttentionOptions[]>> = {
  "keys of another length": SIZES.map((size) => ({ ...SHAPE, ...size, featureMap: "sikf" })),
  "softmax attention to keys of another length": SIZES.map((size) => ({ ...SHAPE, ...size, kind: "softmax" })),
  "other feature maps": MAPS.map((featureMap) => ({ ...SHAPE, featureMap, length: 37, keyLength: 101 })),
  // Several chunks of keys, or of queries; rows of whole vectors.
  "many keys, and many queries": [
    { ...ONE_HEAD, featureMap: "sikf", length: 3, keyLength: 1500 },
    { ...ONE_HEAD, featureMap: "softmax", length: 1500, keyLength: 3 },
    { ...ONE_HEAD, kind: "softmax", length: 3, keyLength: 1500 },
    { ...ONE_HEAD, kind: "softmax", length: 1500, keyLength: 3 },
  ],
  "a bias": [
    { ...SHAPE, featureMap: "sikf", length: 1, keyLength: 7, bias: "fastrpb" },
    { ...SHAPE, featureMap: "sikf", length: 9, keyLength: 1, bias: "fastrpb" },
  ],
  "a bias, of more keys": [{ ...SHAPE, featureMap: "sikf", length: 37, keyLength: 101, bias: "fastrpb" }],
  "a bias, of more queries": [{ ...SHAPE, kind: "softmax", length: 130, keyLength: 64, bias: "fastrpb" }],
  "a symmetric bias": [
    { ...SHAPE, featureMap: "elu+1", length: 5, keyLength: 12, bias: "fastrpb", biasForm: "symmetric" },
    { ...SHAPE, featureMap: "elu+1", length: 12, keyLength: 5, bias: "fastrpb", biasForm: "symmetric" },
  ],
  "a bias in the logits": [
    { ...SHAPE, kind: "softmax", length: 37, keyLength: 101, bias: "logits" },
    { ...SHAPE, kind: "softmax", length: 101, keyLength: 9, bias: "logits" },
    { ...ONE_HEAD, batch: 3, kind: "softmax", length: 1, keyLength: 1100, bias: "logits", keyMask: true },
  ],
  "a key mask": [
    { ...SHAPE, batch: 3, featureMap: "sikf", length: 9, keyLength: 17, keyMask: true, bias: "fastrpb" },
    { ...SHAPE, batch: 3, kind: "softmax", length: 37, keyLength: 101, keyMask: true },
    { ...ONE_HEAD, batch: 3, kind: "softmax", length: 7, keyLength: 1100, keyMask: true },
  ],
  "groups of queries": [
    { ...GROUPED, featureMap: "sikf" },
    { ...GROUPED, kind: "softmax" },
    { ...GROUPED, keyHeads: 1, kind: "softmax", length: 1 },
    { ...GROUPED, keyHeads: 3, featureMap: "softmax", keyLength: 101 },
    // As many keys as a group has queries.
    { ...GROUPED, keyHeads: 1, kind: "softmax", keyLength: 6 * 37 },
    { ...GROUPED, batch: 3, kind: "softmax", keyLength: 64, keyMask: true },
  ],
  "groups of queries that see different keys": [
    { ...GROUPED, featureMap: "sikf", causal: true },
    { ...GROUPED, featureMap: "relu", variableLengths: true },
    { ...GROUPED, kind: "softmax", window: 5, causal: true },
    { ...GROUPED, kind: "softmax", bias: "logits" },
  ],
  "groups of queries with a bias": [
    { ...GROUPED, batch: 3, kind: "softmax", bias: "fastrpb", length: 9, keyLength: 17, keyMask: true },
    { ...GROUPED, headDim: 3, valueDim: 2, length: 9, featureMap: "sikf", bias: "multiplicative" },
    { heads: 4, keyHeads: 2, batch: 2, headDim: 5, valueDim: 6, grid: [4, 5], featureMap: "sikf", bias: "fastrpb" },
  ],
};

export const crossAttentionSuite: Suite = {
  name: "cross-attention",
  cases: [
    ...Object.entries(CASES).map(([name, all]): Case => ({
      name,
      sample: name === "a bias",
      run: (context: CaseContext) => together(all, (options, seed) => compareToDefinition(context, options, 10 * seed)),
    })),
    {
      name: "a device with small workgroups and bindings",
      run: async (context) => {
        const runtime = await context.open({ limits: { maxComputeWorkgroupStorageSize: 4096, maxStorageBufferBindingSize: 8192 } });
        try {
          for (const options of [
            { ...SHAPE, heads: 3, featureMap: "sikf", length: 37, keyLength: 101, bias: "fastrpb" },
            { ...SHAPE, heads: 3, kind: "softmax", length: 101, keyLength: 37, bias: "fastrpb" },
            { ...GROUPED, featureMap: "sikf", causal: true },
          ] as const) {
            await compareToDefinition(context, options, 7, runtime);
          }
        } finally {
          runtime.dispose();
        }
      },
    },
  ],
};
