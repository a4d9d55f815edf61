/** What holds for every program of attention and its gradient: over random specs, on devices real and too small to be real. */
import { describe, expect, test } from "vitest";
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import { DEFAULT_WORKSPACE_BYTES, type PlannerLimits } from "../../core/limits.ts";
import {
  attentionGradientSpec,
  type AttentionGradientSpec,
  type AttentionOptions,
  type AttentionSpec,
  attentionSpec,
  type BiasKind,
  weightsShape,
} from "../../testing/specs.ts";
import { DESKTOP_LIMITS, LIMIT_SETS, limitsWith } from "../../testing/planning.ts";
import { leastReads, programComplaints, Ranges, thawed, total, tryPlan, wholeDispatches } from "../../testing/programs.ts";
import { random } from "../../testing/random.ts";
import { planProgram } from "../../testing/operations.ts";
import type { Program } from "../../program/program.ts";
import { toeplitzAxes } from "../toeplitz/layout.ts";

type Spec = AttentionSpec | AttentionGradientSpec;

const FEATURE_MAPS = ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"] as const;
const BIASES = ["none", "fastrpb", "multiplicative"] as const;
const SEED = 21;

/** Options of a modest size: no tensor above `mostElements`, channels of a multiplicative bias included. */
function randomOptions(uniform: () => number, mostElements: number): AttentionOptions {
  /** An integer from 1 to `high`, small ones as likely as large ones. */
  const upTo = (high: number) => Math.max(1, Math.min(high, Math.floor(Math.exp(uniform() * Math.log(high + 1)))));
  const flip = () => uniform() < 0.5;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(list.length * uniform())]!;
  const softmax = uniform() < 0.25;
  const featureMap = softmax ? undefined : pick(FEATURE_MAPS);
  const [headDim, valueDim] = [upTo(200), upTo(200)];
  const count = featureMap === "favor+" && flip() ? upTo(300) : undefined;
  const bias = pick<BiasKind>(softmax ? ["none", "fastrpb", "logits"] : featureMap === "softmax" ? ["none", "fastrpb"] : BIASES);
  const nu = featureMap === "dpfp" && flip() ? upTo(Math.min(4, 2 * headDim - 1)) : undefined;
  const features = featureMap === "favor+" ? (count ?? headDim * Math.log(headDim)) : featureMap === "dpfp" ? 2 * headDim * (nu ?? 1) : headDim;
  const widest = bias === "multiplicative" ? features * (valueDim + 1) : Math.max(headDim, valueDim, features);
  const mostTokens = Math.max(1, Math.min(70_000, Math.floor(mostElements / widest)));
  const grid = uniform() < 0.2;
  const height = upTo(Math.min(1000, mostTokens));
  const width = upTo(Math.min(1000, Math.max(1, Math.floor(mostTokens / height))));
  const length = grid ? height * width : upTo(mostTokens);
  const heads = upTo(Math.max(1, Math.min(20, Math.floor(mostElements / widest / length))));
  const batch = upTo(Math.max(1, Math.min(5, Math.floor(mostElements / widest / length / heads))));
  const variableLengths = !grid && uniform() < 0.3;
  const options = {
    ...(grid ? { grid: [height, width] } : { length, causal: flip(), variableLengths }),
    ...(softmax ? { kind: "softmax", ...(!grid && flip() && { window: upTo(length) }) } : { featureMap }),
    ...(count !== undefined && { randomFeatures: { count, seed: 3 } }),
    ...(nu !== undefined && { nu }),
    bias,
    heads,
    batch,
    headDim,
    valueDim,
    keyMask: uniform() < 0.2 && !(bias === "logits" && variableLengths),
  };
  return options as AttentionOptions;
}

/** Forward and backward in turns. */
const SPECS = ((seed: number) => {
  const uniform = random(seed);
  // A third of them small enough for the smallest device.
  return Array.from({ length: 150 }, (_, i): Spec => {
    const spec = attentionSpec(randomOptions(uniform, i % 3 === 0 ? 2 ** 14 : 2 ** 20));
    return i % 2 === 0 ? spec : attentionGradientSpec(spec);
  });
})(SEED);

/** Numbers of a row of each tensor that has a row for every token. */
function rowsOf({ operation, headDim, valueDim }: Spec): Readonly<Record<string, number>> {
  const inputs = { q: headDim, k: headDim, v: valueDim };
  return operation === "attention" ? { ...inputs, out: valueDim } : { ...inputs, dOut: valueDim, dq: headDim, dk: headDim, dv: valueDim };
}

/** Bytes behind the spectra of a multiplicative bias: of each head five numbers and the weights. They are read for some data only. */
function keptBytes(spec: Spec): number {
  const [heads, ...sizes] = weightsShape(spec);
  return spec.bias === "multiplicative" ? 8 * Math.ceil((heads! * (5 + sizes.reduce((product, size) => product * size, 1))) / 2) : 0;
}

/** Bytes of each tensor, from its definition. */
function tensorBytes(spec: Spec, limits: PlannerLimits): Record<string, number> {
  const tokens = spec.batch * spec.heads * spec.length;
  const bytes = Object.fromEntries(Object.entries(rowsOf(spec)).map(([name, dim]) => [name, 4 * tokens * dim]));
  if (spec.bias !== "none") {
    const weights = weightsShape(spec).reduce((product, size) => product * size, 4);
    if (spec.bias === "logits") bytes["bias"] = weights;
    else bytes["spectrum"] = toeplitzAxes(spec, limits).reduce((product, { period }) => product * 2 * period, 8 * spec.heads) + keptBytes(spec);
    if (spec.operation === "attentionGradient") bytes["dBias"] = weights;
  }
  if (spec.variableLengths) bytes["lengths"] = 4 * spec.batch;
  if (spec.keyMask) bytes["keyMask"] = 4 * spec.batch * spec.length;
  return bytes;
}

const sorted = (record: Readonly<Record<string, number>>) => JSON.stringify(Object.entries(record).sort());

/** Everything that is wrong with a program on a device. */
function complaints(spec: Spec, program: Program, limits: PlannerLimits): string[] {
  const found = programComplaints(program, limits);
  const tensors = program.buffers.filter(({ role }) => role === "input" || role === "output");
  const expected = tensorBytes(spec, limits);
  const actual = Object.fromEntries(tensors.map(({ name, bytes }) => [name, bytes]));
  if (sorted(actual) !== sorted(expected)) found.push(`tensors ${sorted(actual)} instead of ${sorted(expected)}`);
  const least = total(Object.values(expected), (bytes) => bytes);
  if (program.cost.bytesMinimum !== least) found.push(`at least ${program.cost.bytesMinimum} bytes instead of ${least}`);
  for (const { name, role, bytes } of tensors) {
    const uses = program.dispatches.flatMap((dispatch) => dispatch.bindings.filter((binding) => binding.buffer === name));
    const [reads, writes] = [total(uses, (use) => use.bytesRead), total(uses, (use) => use.bytesWritten)];
    if (role === "input") {
      if (reads < leastReads(program, { name, bytes: name === "spectrum" ? bytes - keptBytes(spec) : bytes }))
        found.push(`${name}: ${reads} of ${bytes} bytes read`);
      continue;
    }
    const written = new Ranges();
    for (const { offset, size, bytesWritten } of uses) if (bytesWritten > 0) written.add(offset, offset + size);
    if (!written.covers(0, bytes)) found.push(`${name}: not all of it is written`);
    if (writes === 0 || writes % bytes !== 0) found.push(`${name}: ${writes} bytes written, of ${bytes}`);
  }
  found.push(...headComplaints(spec, program));
  return found;
}

/** Whether kernels that take heads have, together, all of them, and where they believe them to be. */
function headComplaints(spec: Spec, program: Program): string[] {
  const found: string[] = [];
  const rows = rowsOf(spec);
  const heads = spec.batch * spec.heads;
  /** Rows that dispatches have written, by kernel and tensor. */
  const written = new Map<string, number>();
  for (const [index, { label, kernel, params, bindings }] of wholeDispatches(program).entries()) {
    if (!kernel.id.startsWith("attention/") || !kernel.params.includes("firstHead")) continue;
    const param = (name: string) => params[kernel.params.indexOf(name)]!;
    const first = param("firstHead");
    // Of softmax attention in splits, a block of rows comes at a time.
    const inBlocks = kernel.params.includes("firstRow");
    const [firstRow, rowCount] = inBlocks ? [param("firstRow"), Math.min(param("blockRows"), spec.length - param("firstRow"))] : [0, spec.length];
    for (const [b, { name, buffer, offset, size, bytesWritten }] of bindings.entries()) {
      const dim = rows[buffer];
      if (dim === undefined) continue;
      const at = `dispatch ${index}, ${label}: ${name}`;
      const headBytes = 4 * spec.length * dim;
      const base = param(`${name}Base`) * ELEMENT_BYTES[kernel.bindings[b]!.element];
      if (base !== offset) found.push(`${at} starts at ${offset}, but its base is ${base} bytes`);
      const count = (offset + size - first * headBytes) / headBytes;
      if (first * headBytes < offset || count < 1) found.push(`${at}: head ${first} is outside ${offset} + ${size}`);
      // Of a multiplicative bias some features of all rows come at a time.
      if (bytesWritten === 0 || kernel.id.startsWith("attention/multiplicative/")) continue;
      if (bytesWritten !== 4 * dim * Math.floor(count) * rowCount) found.push(`${at}: ${bytesWritten} bytes written, of ${count} heads`);
      const key = `${kernel.id} ${buffer}`;
      const row = first * spec.length + firstRow;
      if ((written.get(key) ?? 0) !== row) found.push(`${at}: row ${row} after ${written.get(key) ?? 0}`);
      written.set(key, row + (rowCount < spec.length ? rowCount : Math.floor(count) * spec.length));
    }
  }
  for (const [key, end] of written) if (end !== heads * spec.length) found.push(`${key}: ${end} rows of ${heads} heads`);
  return found;
}

describe.each(Object.entries(LIMIT_SETS))(`${SPECS.length} random attentions and gradients, device: %s (seed ${SEED})`, (name, limits) => {
  test("obey the limits, bind what they use and write all of the output, or are refused for a limit", () => {
    const found: string[] = [];
    const refused: string[] = [];
    for (const spec of SPECS) {
      const program = tryPlan(spec, limits);
      if (!program) {
        refused.push(JSON.stringify(spec));
        continue;
      }
      const wrong = complaints(spec, program, limits);
      if (wrong.length > 0) found.push(`${JSON.stringify(spec)}: ${wrong.slice(0, 3).join("; ")} (${wrong.length})`);
    }
    expect(found.slice(0, 5), `${found.length} programs in all`).toEqual([]);
    // Guaranteed limits are enough for all of them, in grids of any size.
    if (["default", "desktop", "small grids"].includes(name)) expect(refused.slice(0, 5), `${refused.length} refused in all`).toEqual([]);
    const planned = SPECS.length - refused.length;
    expect(planned, "a test of nothing").toBeGreaterThan(name === "tiny workgroups" ? 10 : 60);
  });
});

test("linear attention needs no more than a kibibyte of workgroup memory, whatever the lanes", () => {
  for (const lanes of [32, 48, 100, 256, 1024]) {
    const limits = limitsWith({ maxComputeWorkgroupStorageSize: 1024, maxComputeInvocationsPerWorkgroup: lanes, maxComputeWorkgroupSizeX: lanes });
    for (const headDim of [1, 4, 7, 64]) {
      for (const featureMap of ["sikf", "elu+1"] as const) {
        const spec = attentionSpec({ heads: 3, length: 1000, headDim, featureMap, bias: "none" });
        expect(complaints(spec, planProgram("test", spec, limits), limits), `${lanes} lanes, ${headDim} ${featureMap}`).toEqual([]);
      }
    }
  }
});

describe("programs are data", () => {
  test("frozen, safe in JSON, and the same for the same spec and limits", () => {
    for (const spec of SPECS.filter((_, i) => i % 2 < 1 || i % 5 === 0).slice(0, 60)) {
      const name = JSON.stringify(spec);
      const program = planProgram("test", spec, limitsWith());
      expect(thawed(program), name).toEqual([]);
      const text = JSON.stringify(program);
      expect(JSON.parse(text), name).toStrictEqual(program);
      const copy = JSON.parse(name) as Spec;
      expect(JSON.stringify(planProgram("test", copy, limitsWith())) === text, name).toBe(true);
    }
  });
});

/** Every kind of attention and bias. */
const KINDS = [
  ...FEATURE_MAPS.flatMap((featureMap) =>
    BIASES.filter((bias) => bias !== "multiplicative" || featureMap !== "softmax").map((bias) => ({ featureMap, bias })),
  ),
  ...(["none", "fastrpb"] as const).map((bias) => ({ kind: "softmax" as const, bias })),
].flatMap((kind) => [false, true].map((causal) => ({ ...kind, causal })));
const ADDITIVE = KINDS.filter(({ bias }) => bias !== "multiplicative");
const MULTIPLICATIVE = KINDS.filter(({ bias }) => bias === "multiplicative");

function both(options: object): readonly Spec[] {
  const spec = attentionSpec(options as AttentionOptions);
  return [spec, attentionGradientSpec(spec)];
}

/** Tensors and workspace, for each token of 2^bits. */
function bytesPerToken(kind: (typeof KINDS)[number], way: 0 | 1, headDim: number, limits: PlannerLimits): readonly number[] {
  // Shorter ones may do without a workspace: their transforms fit into a workgroup.
  return [12, 14, 18].map((bits) => {
    const favor = "featureMap" in kind && kind.featureMap === "favor+";
    // DPFP has two features for each number.
    const dim = "featureMap" in kind && kind.featureMap === "dpfp" ? headDim / 2 : headDim;
    const options = { heads: 2, length: 2 ** bits, headDim: dim, ...kind, ...(favor && { randomFeatures: { count: headDim } }) };
    const { cost } = planProgram("test", both(options)[way]!, limits);
    return (cost.bytesMinimum + cost.workspaceBytes) / 2 ** bits;
  });
}

describe("memory grows no faster than the length", () => {
  const compare = (kind: (typeof KINDS)[number], headDim: number, limits: PlannerLimits) => {
    for (const way of [0, 1] as const) {
      const [short, middle, long] = bytesPerToken(kind, way, headDim, limits) as [number, number, number];
      expect(long, `${way === 0 ? "forward" : "backward"}: ${short}, ${middle}, ${long} bytes per token`).toBeLessThan(1.1 * Math.max(short, middle));
    }
  };

  test.each(ADDITIVE.map((kind) => [JSON.stringify(kind), kind] as const))("%s", (_name, kind) => {
    for (const limits of [limitsWith(), DESKTOP_LIMITS]) compare(kind, 16, limits);
  });

  test.each(MULTIPLICATIVE.map((kind) => [JSON.stringify(kind), kind] as const))("%s", (_name, kind) => {
    compare(kind, 4, limitsWith());
  });

  test("without an N × N buffer: softmax keeps 16 bytes a row, and only on the way back, besides a share of scratch for splits", () => {
    for (const causal of [false, true]) {
      const specs = both({ kind: "softmax", heads: 2, length: 2 ** 16, headDim: 8, causal });
      // Where nothing is split, and where everything is.
      const fast = limitsWith({ speed: { flopsPerSecond: 1e14, bytesPerSecond: 1e13, workgroupShare: 1 / 1024 } });
      expect(specs.map((spec) => planProgram("test", spec, fast).cost.workspaceBytes)).toEqual([0, 2 * 16 * 2 ** 16]);
      const [forward, backward] = specs.map((spec) => planProgram("test", spec, limitsWith()).cost.workspaceBytes) as [number, number];
      const share = DEFAULT_WORKSPACE_BYTES / 8;
      expect(forward).toBeLessThanOrEqual(share);
      expect(backward).toBeLessThanOrEqual(2 * 16 * 2 ** 16 + share);
    }
  });
});

describe("dispatches and bytes to 4096 tokens of 64 numbers in 8 heads", () => {
  const lengths = [1, 2, 100, 257, 300, 513, 1000, 2048, 4095, 4096];
  const ratio = ({ cost }: Program) => cost.bytesMoved / cost.bytesMinimum;
  const common = { heads: 8, headDim: 64, bias: "fastrpb" };

  test.each(["sikf", "elu+1", "relu"])("%s with FastRPB: four dispatches", (featureMap) => {
    for (const length of lengths) {
      for (const variableLengths of [false, true]) {
        const program = planProgram("test", both({ ...common, length, featureMap, variableLengths })[0]!, limitsWith());
        expect(program.cost.dispatches, `${length}`).toBeLessThanOrEqual(4);
        // Of fewer tokens, key states are not small beside the rows.
        if (length >= 100) expect(ratio(program), `${length}`).toBeLessThanOrEqual(2.2);
      }
      const causal = planProgram("test", both({ ...common, length, featureMap, causal: true })[0]!, limitsWith());
      expect(causal.cost.dispatches, `causal ${length}`).toBeLessThanOrEqual(4);
    }
  });
});
