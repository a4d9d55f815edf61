/** Cross-attention, whose keys are of another length, and grouped queries, of which several heads share one of keys. */
import type { AttentionOptions } from "../../src/index.ts";
import { compareToDefinition } from "./attention-harness.ts";
import { type Case, type CaseContext, type Suite, together } from "./case.ts";

const SHAPE = { heads: 2, batch: 2, headDim: 5, valueDim: 6 } as const;
const MAPS = ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"] as const;
const KINDS = [...MAPS.map((featureMap) => ({ featureMap })), { kind: "softmax" }] as const;
const SIZES = [
  { length: 1, keyLength: 7 },
  { length: 5, keyLength: 1 },
  { length: 37, keyLength: 101 },
  { length: 130, keyLength: 64 },
] as const;
const GROUPED = { ...SHAPE, heads: 6, keyHeads: 2, length: 37 } as const;

const CASES: Readonly<Record<string, readonly AttentionOptions[]>> = {
  ...Object.fromEntries(
    KINDS.map((kind) => [`${"kind" in kind ? kind.kind : kind.featureMap} of other keys`, SIZES.map((size) => ({ ...SHAPE, ...kind, ...size }))]),
  ),
  // Several chunks of keys, or of queries; rows of whole vectors.
  "many keys, and many queries": [
    { ...SHAPE, heads: 1, headDim: 4, valueDim: 8, featureMap: "sikf", length: 3, keyLength: 1500 },
    { ...SHAPE, heads: 1, headDim: 4, valueDim: 8, featureMap: "softmax", length: 1500, keyLength: 3 },
    { ...SHAPE, heads: 1, headDim: 4, valueDim: 8, kind: "softmax", length: 3, keyLength: 1500 },
    { ...SHAPE, heads: 1, headDim: 4, valueDim: 8, kind: "softmax", length: 1500, keyLength: 3 },
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
  "a key mask": [
    { ...SHAPE, batch: 3, featureMap: "sikf", length: 37, keyLength: 101, keyMask: true, bias: "fastrpb" },
    { ...SHAPE, batch: 3, featureMap: "softmax", length: 101, keyLength: 37, keyMask: true },
    { ...SHAPE, batch: 3, kind: "softmax", length: 37, keyLength: 101, keyMask: true },
    { ...SHAPE, batch: 3, heads: 1, kind: "softmax", length: 7, keyLength: 1100, keyMask: true, bias: "fastrpb" },
  ],
  "groups of queries": [
    ...KINDS.map((kind) => ({ ...GROUPED, ...kind })),
    { ...GROUPED, keyHeads: 1, kind: "softmax", length: 1 },
    { ...GROUPED, keyHeads: 3, featureMap: "sikf", keyLength: 101 },
    { ...GROUPED, keyHeads: 1, kind: "softmax", keyLength: 6 * 37 },
    { ...GROUPED, batch: 3, kind: "softmax", keyLength: 64, keyMask: true },
    { ...GROUPED, batch: 3, featureMap: "elu+1", keyMask: true },
  ],
  "groups of queries that see different keys, or with a bias": [
    { ...GROUPED, featureMap: "sikf", causal: true },
    { ...GROUPED, featureMap: "softmax", causal: true, bias: "fastrpb" },
    { ...GROUPED, featureMap: "relu", variableLengths: true },
    { ...GROUPED, kind: "softmax", causal: true },
    { ...GROUPED, kind: "softmax", window: 5 },
    { ...GROUPED, kind: "softmax", bias: "logits" },
    { ...GROUPED, batch: 3, kind: "softmax", bias: "fastrpb", keyLength: 64, keyMask: true },
    { ...GROUPED, headDim: 3, valueDim: 2, featureMap: "sikf", bias: "multiplicative" },
    { ...GROUPED, length: undefined, grid: [4, 5], featureMap: "sikf", bias: "fastrpb" },
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
