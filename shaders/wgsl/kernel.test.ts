/** The contract of makeKernel: what a kernel says of itself as data is what its text says. */
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { causalApplyKernel } from "../attention/causal/apply.ts";
import { causalGradientKernel } from "../attention/causal/gradient.ts";
import { causalPatchesKernel } from "../attention/causal/patches.ts";
import { runningStatesKernel } from "../attention/causal/running-states.ts";
import { scanKernel } from "../attention/causal/scan.ts";
import { dpfpKernel } from "../attention/dpfp.ts";
import { type KernelFeatureMap, keyStateLayout } from "../attention/feature-map.ts";
import { combineKernel } from "../attention/linear/combine.ts";
import { keyGradientKernel } from "../attention/linear/key-gradient.ts";
import { reduceKernel } from "../attention/linear/reduce.ts";
import { maskRowsKernel } from "../attention/mask-rows.ts";
import { tolerancesKernel } from "../attention/multiplicative/tolerances.ts";
import { projectionKernel } from "../attention/random-features.ts";
import { softmaxCombineStatisticsKernel } from "../attention/softmax/combine-statistics.ts";
import { softmaxCombineKernel } from "../attention/softmax/combine.ts";
import { softmaxAttentionKernel } from "../attention/softmax/forward.ts";
import { softmaxKeyGradientKernel } from "../attention/softmax/key-gradient.ts";
import { softmaxSumKernel } from "../attention/softmax/sum.ts";
import { complexMultiplyKernel } from "../complex-multiply/complex-multiply.ts";
import { realToComplexKernel } from "../fft/real-to-complex.ts";
import type { StockhamShape } from "../fft/stockham.ts";
import { findNonFiniteKernel } from "../find-non-finite/find-non-finite.ts";
import { adamWKernel } from "../nn/adam-w.ts";
import { averageKernel } from "../nn/average.ts";
import { guardKernel } from "../nn/guard.ts";
import { recordKernel } from "../nn/record.ts";
import { sgdKernel } from "../nn/sgd.ts";
import { sumOfSquaresKernel } from "../nn/sum-of-squares.ts";
import { crossEntropyGradientKernel } from "../nn/cross-entropy-gradient.ts";
import { crossEntropyKernel } from "../nn/cross-entropy.ts";
import { digitCountsKernel } from "../nn/digit-counts.ts";
import { digitScatterKernel } from "../nn/digit-scatter.ts";
import { digitStartsKernel } from "../nn/digit-starts.ts";
import { dropoutKernel } from "../nn/dropout.ts";
import { embeddingGradientKernel } from "../nn/embedding-gradient.ts";
import { embeddingKernel } from "../nn/embedding.ts";
import { matmulKernel } from "../nn/matmul.ts";
import { matmulRowsKernel } from "../nn/matmul-rows.ts";
import { matmulSumKernel } from "../nn/matmul-sum.ts";
import { meanOfSumsKernel } from "../nn/mean-of-sums.ts";
import { squaredErrorGradientKernel } from "../nn/squared-error-gradient.ts";
import { squaredErrorKernel } from "../nn/squared-error.ts";
import { tokenRunsKernel } from "../nn/token-runs.ts";
import { tokenSumsKernel } from "../nn/token-sums.ts";
import { accumulateKernel } from "../nn/accumulate.ts";
import { activateKernel } from "../nn/activate.ts";
import { columnSumsKernel } from "../nn/column-sums.ts";
import { combineArraysKernel } from "../nn/combine-arrays.ts";
import { meanOverTokensGradientKernel } from "../nn/mean-over-tokens-gradient.ts";
import { normGradientKernel } from "../nn/norm-gradient.ts";
import { normWeightGradientKernel } from "../nn/norm-weight-gradient.ts";
import { normKernel } from "../nn/norm.ts";
import { toeplitzFusedKernel } from "../toeplitz/fused.ts";
import { toeplitzOutsideKernel } from "../toeplitz/outside.ts";
import { toeplitzSpectrumKernel } from "../toeplitz/spectrum.ts";
import { ELEMENT_BYTES, type Kernel, makeKernel } from "./kernel.ts";
import type { RowStrides } from "./rows.ts";

const SHAPE: StockhamShape = { length: 64, axes: [[8, 8]], threads: 8, columns: 4, lanes: "points", exchange: "split", bankShift: 3, fused: false };
const WEIGHTS = { count: 60, diagonal: 0, strides: [1], symmetric: true };
const ROOTS = { kind: "full", offset: 56 } as const;
const HEAD = { length: 200, headDim: 18, valueDim: 7, variableLengths: true };
const ROW_TILE = { rows: 16, laneRows: 4, rowLanes: 16, laneKeys: 1 };
const SOFTMAX_TILE = { rowGroups: 4, otherGroups: 4, rowVectors: 1, patchOthers: 4, depth: 2 } as const;
const KEY_GRADIENT = { ...HEAD, scale: 0.25, causal: false, split: false, tile: SOFTMAX_TILE, gradients: "both", columnTiles: 1 } as const;
const GROUPS = [
  { end: 5, weightDecay: 0, rateFactor: 1 },
  { end: 12, weightDecay: 0.1, rateFactor: 3 },
];
const SPLIT_ROWS = { length: 2000, causal: true, variableLengths: true, lanes: 64 };

/** Rows of three heads side by side. */
function strided(rows: number, width: number): RowStrides {
  return { rows, heads: 3, batch: rows * 3 * width, token: 3 * width, before: 0, unit: width % 4 === 0 ? 4 : 1 };
}

function ofFeatures(featureMap: KernelFeatureMap): readonly Kernel[] {
  const states = { state: keyStateLayout(18, 7), chunkRows: 64, chunks: 4 };
  const spec = { ...HEAD, ...ROW_TILE, ...states, featureMap };
  const f16 = { queries: "f16", keys: "f16", values: "f16", out: "f16" } as const;
  const reduced = { featureTile: 16, valueTile: 8, tileRows: 8, featureVectors: 1, rowGroups: 1, weighted: true } as const;
  return [
    reduceKernel({ ...spec, ...reduced, precision: { keys: "f32", values: "f32" } }),
    combineKernel({ ...spec, normalised: false, lanes: 64 }),
    keyGradientKernel({ ...spec, accumulate: true, depth: 2 }),
    scanKernel({ ...spec, reverse: false, width: 8, segments: 4, steps: 4 }),
    causalApplyKernel({ ...spec, tileVectors: 4, precision: f16, into: "out" }),
    causalPatchesKernel({ ...spec, rows: 32, precision: f16, into: "statistics" }),
    causalPatchesKernel({ ...spec, rows: 64, precision: f16, into: "sum" }),
    runningStatesKernel({ ...spec, precision: { keys: "f16", values: "f32" }, featureVectors: 8, valueVectors: 2 }),
    causalGradientKernel({ ...spec, tileVectors: 4, of: "keys", accumulate: { out: true, dv: false } }),
  ];
}

const MATMUL = {
  tile: { rows: 64, columns: 32, depth: 16, patchRows: 8, patchColumns: 4, unroll: 8 },
  a: { vectors: false, deep: true },
  b: { vectors: true, deep: false },
  wholeDepths: false,
} as const;
const MATMUL_END = {
  out: { vectors: true, heads: { length: 7, heads: 3, width: 8 } },
  accumulate: true,
  bias: true,
  activation: "gelu",
  residual: true,
} as const;

const KERNELS: readonly Kernel[] = [
  complexMultiplyKernel({ lanes: 64, conjugate: true, scale: 0.1 }),
  findNonFiniteKernel({ lanes: 64, storage: "f16" }),
  realToComplexKernel({
    shape: { ...SHAPE, axes: [[8]], length: 8, threads: 1 },
    twiddles: [0],
    inner: 2,
    sourcePrecision: "f16",
    destinationPrecision: "f32",
    roots: ROOTS,
    scaleOffset: 120,
  }),
  toeplitzFusedKernel({
    shape: SHAPE,
    twiddles: [0],
    axes: [{ size: 60, period: 64, roots: ROOTS }],
    transposed: true,
    channels: 5,
    storage: "f16",
    variableLengths: true,
  }),
  toeplitzSpectrumKernel({
    shape: { ...SHAPE, exchange: "whole" },
    twiddles: [0],
    length: 60,
    roots: ROOTS,
    scaleOffset: 120,
    weights: WEIGHTS,
    causal: false,
  }),
  toeplitzOutsideKernel({ lanes: 64, channels: 7, margin: { rows: 60, before: 7, around: 21, tokens: 3 }, storage: "f16" }),
  toeplitzOutsideKernel({ lanes: 64, channels: 7, margin: { rows: 60, before: 7, around: 21, tokens: 3 }, storage: "f32", strides: strided(63, 7) }),
  tolerancesKernel({ lanes: 64, length: 200, features: 18, weights: 399 }),
  dpfpKernel({ lanes: 64, headDim: 18, nu: 3, to: "features", precision: "f16" }),
  dpfpKernel({ lanes: 64, headDim: 18, nu: 3, to: "rows", precision: "f32" }),
  ...(["numbers", "vectors", "sums"] as const).map((source) => sumOfSquaresKernel({ lanes: 64, source })),
  guardKernel(),
  recordKernel({ isFirst: true, isLast: true, counts: true }),
  recordKernel({ isFirst: false, isLast: false, counts: false }),
  adamWKernel({ lanes: 64, vectors: true, groups: GROUPS, clipNorm: 1, rateIndex: 2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }),
  sgdKernel({ lanes: 64, vectors: false, groups: GROUPS, rateIndex: 0, momentum: 0.9, nesterov: true }),
  averageKernel({ lanes: 64, vectors: true, decay: 0.999 }),
  ...[10, 256].flatMap((classes) => {
    const rows = { classes, labelSmoothing: classes === 10 ? 0 : 0.1, lanes: 128, rowLanes: classes === 10 ? 1 : 16 };
    return [crossEntropyKernel(rows), crossEntropyGradientKernel(rows)];
  }),
  matmulKernel({ ...MATMUL, end: MATMUL_END }),
  matmulKernel({ ...MATMUL, tile: { ...MATMUL.tile, buffers: 2 }, end: "partials" }),
  matmulSumKernel({ lanes: 64, slices: 4, end: MATMUL_END }),
  matmulRowsKernel({ rows: 3, lanes: 64, slices: 16, a: MATMUL.a, b: MATMUL.b, end: MATMUL_END }),
  meanOfSumsKernel({ lanes: 64 }),
  squaredErrorKernel({ lanes: 64, vectors: true }),
  squaredErrorGradientKernel({ lanes: 64, vectors: false }),
  dropoutKernel({ lanes: 64, vectors: false, seedFactor: 3 }),
  embeddingKernel({ lanes: 64, width: 7 }),
  digitCountsKernel({ lanes: 64, digits: 32, first: true }),
  digitStartsKernel({ lanes: 64 }),
  digitScatterKernel({ lanes: 64, digits: 32, first: false }),
  tokenRunsKernel({ lanes: 64 }),
  tokenSumsKernel({ lanes: 64, width: 8, of: "tokens" }),
  tokenSumsKernel({ lanes: 64, width: 7, of: "sums" }),
  embeddingGradientKernel({ lanes: 64, width: 8, accumulate: true }),
  columnSumsKernel({ lanes: 64, width: 8, vectors: true }),
  columnSumsKernel({ lanes: 64, width: 8, vectors: false, tokens: { length: 200, variableLengths: true, cut: true, mean: true } }),
  combineArraysKernel({ lanes: 64, vectors: true, kind: "product", repeats: true }),
  accumulateKernel({ lanes: 64, vectors: true }),
  ...(["relu", "gelu", "gelu-tanh"] as const).map((kind) => activateKernel({ lanes: 64, vectors: false, kind, gradient: true })),
  normKernel({ lanes: 64, rowLanes: 16, kind: "layer", width: 150, epsilon: 1e-5, bias: true }),
  normKernel({ lanes: 64, rowLanes: 1, kind: "rms", width: 4, epsilon: 1e-5, bias: false }),
  normGradientKernel({ lanes: 64, rowLanes: 64, kind: "layer", width: 1000 }),
  normWeightGradientKernel({ lanes: 64, width: 8, vectors: true, kind: "rms", bias: true }),
  meanOverTokensGradientKernel({ lanes: 64, vectors: true, length: 200, variableLengths: true }),
  maskRowsKernel({ lanes: 64, length: 200, width: 18, precision: "f16", fill: -65504, inPlace: false }),
  maskRowsKernel({ lanes: 64, length: 200, width: 16, precision: "f32", fill: 0, inPlace: true }),
  maskRowsKernel({ lanes: 64, length: 200, width: 16, precision: "f32", fill: 0, inPlace: false, strides: { rows: strided(200, 16) } }),
  projectionKernel({ inputs: 18, outputs: 40, of: "keyGradients", scale: 0.25, precision: "f16", rows: 16, laneRows: 4, columns: 16 }),
  softmaxAttentionKernel({ ...HEAD, scale: 0.25, causal: true, split: true, storage: "f16", accumulate: false, tile: SOFTMAX_TILE, columnTiles: 2 }),
  softmaxAttentionKernel({
    ...HEAD,
    scale: 0.25,
    causal: true,
    split: false,
    storage: "f16",
    accumulate: true,
    tile: SOFTMAX_TILE,
    columnTiles: 1,
    keyMask: true,
  }),
  softmaxCombineKernel({ ...SPLIT_ROWS, width: 7, scale: 0.25, storage: "f16", accumulate: true }),
  softmaxCombineStatisticsKernel({ ...SPLIT_ROWS, scale: 0.25 }),
  softmaxSumKernel({ ...SPLIT_ROWS, width: 8, others: "queries", accumulate: false }),
  softmaxKeyGradientKernel({ ...KEY_GRADIENT, accumulate: false }),
  softmaxKeyGradientKernel({
    ...KEY_GRADIENT,
    accumulate: true,
    strides: { keys: strided(200, 18), dk: strided(200, 18), dv: { ...strided(200, 7), before: 36, within: "dk" } },
  }),
  ...ofFeatures("sikf"),
  ...ofFeatures("elu+1"),
];

/** The lines of a text that declare something of this kind. */
function declared(code: string, kind: RegExp): readonly RegExpMatchArray[] {
  return [...code.matchAll(kind)];
}

describe.each(KERNELS.map((kernel) => [kernel.label, kernel] as const))("%s", (_label, kernel) => {
  const { code } = kernel;

  test("the id is the path of its file", () => {
    expect(existsSync(new URL(`../${kernel.id}.ts`, import.meta.url)), kernel.id).toBe(true);
  });

  test("the text has its bindings, numbered, and float16 where they need it", () => {
    const bindings = declared(code, /@group\(0\) @binding\((\d+)\) var<storage, (\w+)> (\w+): array<([\w<>]+)>;/g);
    expect(bindings.map(([, binding, access, name, element]) => ({ binding: Number(binding), name, access, element }))).toEqual(
      kernel.bindings.map(({ binding, name, access, element }) => ({ binding, name, access, element })),
    );
    expect(code).toContain(`@group(0) @binding(${kernel.bindings.length}) var<uniform> params: Params;`);
    expect(code.startsWith("enable f16;\n")).toBe(kernel.bindings.some(({ element }) => ["f16", "vec2h", "vec4h"].includes(element)));
  });

  test("the text has its parameters and its workgroup size", () => {
    expect(declared(code, /struct Params \{\n([^}]*)\}/g)[0]![1]!.trim()).toBe(kernel.params.map((name) => `${name}: u32,`).join("\n  "));
    expect(declared(code, /@workgroup_size\((\d+)\)/g).map(([, lanes]) => [Number(lanes), 1, 1])).toEqual([kernel.workgroupSize]);
  });

  test("the text has workgroup variables of so many bytes", () => {
    const variables = declared(code, /var<workgroup> \w+: array<([\w<>]+), (\d+)u>;/g);
    expect(variables.length).toBe(declared(code, /var<workgroup/g).length);
    const bytes = variables.map(([, element, count]) => 16 * Math.ceil((ELEMENT_BYTES[element as keyof typeof ELEMENT_BYTES] * Number(count)) / 16));
    expect(bytes.reduce((sum, each) => sum + each, 0)).toBe(kernel.workgroupBytes);
  });

  test("the text holds all constants that it declares once", () => {
    const names = declared(code, /^const (\w+) =/gm).map(([, name]) => name);
    expect(names).toEqual([...new Set(names)]);
  });
});

const SOURCE = { id: "test", label: "a test", workgroupSize: 96, bindings: [], params: [], declarations: "", body: "" } as const;

test("bindings and parameters stand in their order", () => {
  const { bindings, params } = makeKernel({
    ...SOURCE,
    bindings: [
      { name: "x", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "vec4f" },
    ],
    params: ["count", "base"],
  });
  expect(bindings.map(({ binding, name }) => [binding, name])).toEqual([
    [0, "x"],
    [1, "out"],
  ]);
  expect(params).toEqual(["endGroup", "firstGroup", "count", "base"]);
});

test("workgroup variables stand where they are declared, and each counts in steps of 16 bytes", () => {
  const declarations = [
    "const A = 1u;",
    { name: "a", element: "f32", count: 5 },
    "const B = 2u;",
    { name: "b", element: "vec2f", count: 1 },
  ] as const;
  const { code, workgroupBytes } = makeKernel({ ...SOURCE, declarations });
  expect(code).toContain("const A = 1u;\nvar<workgroup> a: array<f32, 5u>;\nconst B = 2u;\nvar<workgroup> b: array<vec2f, 1u>;\n");
  expect(workgroupBytes).toBe(32 + 16);
});

test("constants are a frozen copy of the spec, without what is undefined", () => {
  const spec = { rows: 4, shape: { axes: [[8, 8]] }, roots: undefined };
  const { constants } = makeKernel({ ...SOURCE, constants: spec });
  expect(constants).toStrictEqual({ rows: 4, shape: { axes: [[8, 8]] } });
  const objects = [constants, constants["shape"], (constants["shape"] as typeof spec.shape).axes, (constants["shape"] as typeof spec.shape).axes[0]];
  expect(objects.every(Object.isFrozen)).toBe(true);
  expect(Object.isFrozen(spec)).toBe(false);
});

test.each([NaN, Infinity, undefined, null, {}])("a text that holds %s is refused, but for comments", (value) => {
  expect(() => makeKernel({ ...SOURCE, body: `let x = y${String(value)};` })).toThrow(TypeError);
  expect(() => makeKernel({ ...SOURCE, body: `let x = y; // ${String(value)}` })).not.toThrow();
});
