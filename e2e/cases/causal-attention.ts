/** Causal linear attention against its O(N²) definition in float64, and that nothing later has any influence. */
import type { AttentionOptions, FeatureMap, Runtime } from "../../src/index.ts";
import { addScan, chooseCausalReduction } from "../../src/operations/attention/causal/chunks.ts";
import type { LinearWork } from "../../src/operations/attention/linear/key-state.ts";
import { ProgramBuilder } from "../../src/program/builder.ts";
import { type AttentionSpec, attentionSpec } from "../../src/testing/specs.ts";
import { attend, ATTENTION_BOUND, type AttentionData, attendBackward, compareBackward, compareForward, drawAttention } from "./attention-harness.ts";
import { type CaseContext, check, checkClose, normals, type Suite, together } from "./case.ts";
import { runProgram } from "./run-program.ts";
import { checkBesideIncoming, steepCases, withKeys } from "./steep-keys.ts";

const elu = (x: number) => (x > 0 ? x + 1 : Math.exp(x));
const relu = (x: number) => Math.max(x, 0);

/**
 * out_i = Σ_{j≤i} a_ij v_j / Σ_{j≤i} a_ij + Σ_{j≤i} w[j − i + N − 1] v_j, with a_ij = Σ_d φ(q_id) φ(k_jd) of rows below the length; the
 * others are zero. "softmax" features are SIKF of the queries q_id − log Σ_{j≤i} exp(k_jd).
 */
export function causalReference(spec: AttentionSpec, data: AttentionData): Float64Array {
  const { batch, heads, length, headDim: D, valueDim: E, featureMap } = spec;
  const out = new Float64Array(batch * heads * length * E);
  const scores = new Float64Array(length);
  const x = new Float64Array(D);
  for (let bh = 0; bh < batch * heads; bh++) {
    const at = (row: number, dim: number) => (bh * length + row) * dim;
    const tokens = data.lengths?.[Math.floor(bh / heads)] ?? length;
    const largest = new Float64Array(D).fill(-Infinity);
    const sums = new Float64Array(D);
    for (let i = 0; i < tokens; i++) {
      let top = -Infinity;
      for (let d = 0; d < D; d++) {
        const key = data.k[at(i, D) + d]!;
        const m = Math.max(largest[d]!, key);
        sums[d] = sums[d]! * Math.exp(largest[d]! - m) + Math.exp(key - m);
        largest[d] = m;
        x[d] = data.q[at(i, D) + d]!;
        if (featureMap === "softmax") x[d]! -= m + Math.log(sums[d]!);
        // A factor exp(−top) on all of row i cancels; it is what keeps the terms finite.
        top = Math.max(top, x[d]! + m);
      }
      let denominator = 0;
      for (let j = 0; j <= i; j++) {
        let score = 0;
        for (let d = 0; d < D; d++) {
          const key = data.k[at(j, D) + d]!;
          if (featureMap === "elu+1") score += elu(x[d]!) * elu(key);
          else if (featureMap === "relu") score += relu(x[d]!) * relu(key);
          else score += Math.exp(x[d]! + key - top);
        }
        scores[j] = score;
        denominator += score;
      }
      for (let j = 0; j <= i; j++) {
        let weight = denominator === 0 ? 0 : scores[j]! / denominator;
        if (spec.bias === "fastrpb") weight += data.weights[(bh % heads) * (2 * length - 1) + j - i + length - 1]!;
        for (let e = 0; e < E; e++) out[at(i, E) + e]! += weight * data.v[at(j, E) + e]!;
      }
    }
  }
  return out;
}

async function compare(runtime: Runtime, options: AttentionOptions, data: AttentionData, what: string, bound = ATTENTION_BOUND): Promise<void> {
  checkClose(await attend(runtime, options, data), causalReference(attentionSpec(options), data), bound, `${JSON.stringify(options)}, ${what}`);
}

async function compareDrawn(runtime: Runtime, options: AttentionOptions, seed: number): Promise<void> {
  await compare(runtime, options, drawAttention(options, seed), `seed ${seed}`);
}

interface Size {
  readonly heads: number;
  readonly batch?: number;
  readonly length: number;
  readonly headDim: number;
  readonly valueDim?: number;
  readonly nu?: number;
  readonly bias?: "fastrpb";
  readonly variableLengths?: boolean;
}

/** Lengths around tiles and chunks; dimensions of 1, odd ones, more than a tile. */
const SIZES: readonly Size[] = [
  { heads: 2, length: 1, headDim: 3 },
  { heads: 1, length: 31, headDim: 7, valueDim: 70 },
  { heads: 2, length: 33, headDim: 64 },
  { heads: 1, length: 64, headDim: 130, valueDim: 5 },
  { heads: 2, batch: 2, length: 65, headDim: 1, valueDim: 5 },
  { heads: 1, length: 200, headDim: 64, valueDim: 32 },
  { heads: 1, length: 1000, headDim: 12, valueDim: 36 },
];
/** Of the other maps, which share most of it. */
const FEW: readonly Size[] = [
  { heads: 1, length: 2, headDim: 1, valueDim: 3 },
  { heads: 2, batch: 2, length: 65, headDim: 7, valueDim: 5 },
  { heads: 1, length: 200, headDim: 20, valueDim: 68 },
];
const OTHER_MAPS: readonly FeatureMap[] = ["elu+1", "relu", "softmax"];

const BACKWARD_SIZES: Readonly<Record<FeatureMap, readonly Size[]>> = {
  sikf: [
    { heads: 2, batch: 2, length: 21, headDim: 5, valueDim: 1 },
    { heads: 1, length: 200, headDim: 68, valueDim: 20, bias: "fastrpb" },
    { heads: 1, length: 150, headDim: 33, valueDim: 64, bias: "fastrpb" },
    { heads: 1, batch: 2, length: 140, headDim: 9, valueDim: 70, variableLengths: true },
  ],
  "elu+1": [{ heads: 1, batch: 2, length: 140, headDim: 9, valueDim: 12, variableLengths: true }],
  relu: [{ heads: 2, length: 70, headDim: 8, valueDim: 7 }],
  softmax: [
    { heads: 1, batch: 2, length: 21, headDim: 5, valueDim: 3 },
    { heads: 2, batch: 2, length: 200, headDim: 8, valueDim: 7, variableLengths: true },
  ],
  "favor+": [{ heads: 1, length: 70, headDim: 6, valueDim: 5 }],
  dpfp: [{ heads: 1, batch: 2, length: 140, headDim: 3, valueDim: 5, nu: 2, variableLengths: true }],
};

/** One of each width, so that all of these share their kernels. */
const SHAPED: AttentionOptions = { heads: 1, length: 150, headDim: 8, valueDim: 6, featureMap: "sikf", causal: true };

/** The data with NaN and huge numbers in all rows of every head from `first` on. */
function poisoned({ length, headDim, valueDim = headDim }: AttentionOptions & { length: number }, data: AttentionData, first: number): AttentionData {
  const spoil = (array: Float32Array, dim: number) =>
    array.map((x, i) => (Math.floor(i / dim) % length < first ? x : [NaN, 3e38, Infinity, -Infinity][i % 4]!));
  return { ...data, q: spoil(data.q, headDim), k: spoil(data.k, headDim), v: spoil(data.v, valueDim), dOut: spoil(data.dOut, valueDim) };
}

const SMALL_DEVICE = {
  maxComputeInvocationsPerWorkgroup: 64,
  maxComputeWorkgroupSizeX: 64,
  maxComputeWorkgroupStorageSize: 4096,
  maxComputeWorkgroupsPerDimension: 16,
};

export const causalAttentionSuite: Suite = {
  name: "causal attention",
  cases: [
    {
      name: "sikf, sizes",
      run: async (context) => {
        const runtime = await context.runtime;
        await together(SIZES, (size, i) => compareDrawn(runtime, { ...size, featureMap: "sikf", causal: true }, 10 * i));
      },
    },
    ...OTHER_MAPS.map((featureMap, seed) => ({
      name: `${featureMap}, sizes`,
      run: async (context: CaseContext) => {
        const runtime = await context.runtime;
        await together(FEW, (size, i) => compareDrawn(runtime, { ...size, featureMap, causal: true }, 1 + seed + 10 * i));
      },
    })),
    {
      name: "favor+, against the CPU",
      sample: true,
      run: (context) => compareForward(context, { heads: 2, length: 130, headDim: 6, valueDim: 5, featureMap: "favor+", causal: true }, 4),
    },
    {
      name: "dpfp, against the CPU",
      run: (context) =>
        together(
          [
            { heads: 2, length: 130, headDim: 6, valueDim: 5, nu: 3, bias: "fastrpb" },
            { heads: 1, batch: 2, length: 70, headDim: 5, valueDim: 9, variableLengths: true },
          ] as const,
          (size, seed) => compareForward(context, { ...size, featureMap: "dpfp", causal: true }, 5 + 10 * seed),
        ),
    },
    {
      name: "keys that rise, fall and jump by 1e4 within a chunk",
      run: async (context) => {
        const runtime = await context.runtime;
        const data = drawAttention(SHAPED, 90);
        const shapes: Record<string, AttentionData> = {
          rising: withKeys(data, (row) => (row % 70) * 150),
          falling: withKeys(data, (row) => -(row % 70) * 150),
          "slowly rising": withKeys(data, (row, d) => row * (d + 1) * 0.7),
          "in steps": withKeys(data, (row, d) => (row % 9 === d ? 1e4 : 0)),
          "of ±1e4": { ...data, q: data.q.map((x) => 1e4 * x), k: data.k.map((x) => 1e4 * x) },
          equal: { ...data, k: data.k.map(() => 0.5) },
        };
        for (const [name, inputs] of Object.entries(shapes)) await compare(runtime, SHAPED, inputs, `keys ${name}, seed 90`);
        for (const scale of [1e10, 1e35]) {
          const vast = { ...data, q: data.q.map((x) => x * scale), k: data.k.map((x) => x * scale) };
          const out = await attend(runtime, SHAPED, vast);
          check(out.every(Number.isFinite), `q and k of ${scale}: not finite`);
        }
      },
    },
    ...steepCases,
    {
      name: "later tokens have no influence, not even NaN: earlier rows stay the same to the bit",
      run: async (context) => {
        const runtime = await context.runtime;
        const cases = [
          [SHAPED, [1, 16, 17, 63, 64, 65, 149]],
          [{ ...SHAPED, featureMap: "relu" }, [5, 70]],
          [{ ...SHAPED, featureMap: "softmax" }, [5, 70]],
        ] as const;
        await together(cases, async ([options, firsts]) => {
          const data = drawAttention(options, 91);
          const plain = await attend(runtime, options, data);
          for (const first of firsts) {
            const out = await attend(runtime, options, poisoned(options, data, first));
            const same = out.subarray(0, first * 6).every((x, i) => Object.is(x, plain[i]));
            check(same, `${options.featureMap}: rows before ${first} changed`);
          }
          const first = 70;
          const [gradients, spoilt] = [
            await attendBackward(runtime, options, data),
            await attendBackward(runtime, options, poisoned(options, data, first)),
          ];
          const same = spoilt.dq!.subarray(0, first * options.headDim).every((x, i) => Object.is(x, gradients.dq![i]));
          check(same, `${options.featureMap}: gradients of queries before ${first} changed`);
        });
      },
    },
    {
      name: "variable lengths, with bias, two batch rows; NaN beyond",
      run: async (context) => {
        const runtime = await context.runtime;
        const maps = ["sikf", "elu+1"] as const;
        await together(maps, async (featureMap, seed) => {
          const options = {
            heads: 2,
            batch: 3,
            length: 100,
            headDim: 9,
            valueDim: 8,
            featureMap,
            causal: true,
            bias: "fastrpb",
            variableLengths: true,
          } as const;
          const data = { ...drawAttention(options, seed), lengths: [77, 0, 100] };
          await compare(runtime, options, data, `seed ${seed}`);
          const unbiased = { ...options, bias: "none" } as const;
          const plain = await attend(runtime, unbiased, data);
          // In the second batch row every token is beyond the length.
          const spoilt = poisoned(unbiased, data, 77);
          for (const name of ["q", "k", "v"] as const) {
            const rest = data[name].length / 3;
            spoilt[name].fill(NaN, rest, 2 * rest);
            spoilt[name].set(data[name].subarray(2 * rest), 2 * rest);
          }
          const out = await attend(runtime, unbiased, spoilt);
          check(
            out.every((x, i) => x === plain[i]),
            `${featureMap}: what lies beyond a length has influence`,
          );
        });
      },
    },
    {
      name: "FastRPB at length 4096, heads of 64: four dispatches",
      run: async (context) => {
        const runtime = await context.guaranteed;
        const options: AttentionOptions = { heads: 1, length: 4096, headDim: 64, featureMap: "sikf", causal: true, bias: "fastrpb" };
        const plan = await runtime.attention(options);
        context.checkDispatches(plan, 4, JSON.stringify(options));
        plan.dispose();
        await compareForward(context, options, 6);
      },
    },
    {
      name: "heads enough that a workgroup goes through all rows of one",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        const options = { heads: 64, batch: 2, headDim: 34, valueDim: 33, causal: true } as const;
        const cases: readonly AttentionOptions[] = [
          { ...options, length: 130, featureMap: "sikf", variableLengths: true },
          { ...options, length: 65, featureMap: "relu" },
        ];
        await together(cases, (each, i) => compareDrawn(runtime, each, 68 + i));
      },
    },
    {
      name: "heads in groups, small devices, longer chunks where the workspace is small",
      sample: true,
      run: async (context) => {
        const grouped = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 18 }, workspaceBytes: 2 ** 20 });
        const small = await context.open({ limits: SMALL_DEVICE, workspaceBytes: 2 ** 18 });
        try {
          const options: AttentionOptions = { heads: 4, batch: 2, length: 501, headDim: 17, valueDim: 31, featureMap: "sikf", causal: true };
          await compareDrawn(grouped, options, 70);
          await compareDrawn(small, { heads: 1, length: 300, headDim: 70, valueDim: 36, featureMap: "sikf", causal: true }, 71);
          await compareDrawn(small, { heads: 1, length: 150, headDim: 32, featureMap: "elu+1", causal: true }, 72);
        } finally {
          grouped.dispose();
          small.dispose();
        }
      },
    },
    ...(["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"] as const).map((featureMap, seed) => ({
      name: `${featureMap}, backward`,
      sample: featureMap === "softmax", // the only one whose kernels no other sampled case compiles
      run: (context: CaseContext) =>
        together(BACKWARD_SIZES[featureMap], (size, i) => compareBackward(context, { ...size, featureMap, causal: true }, 20 + seed + 10 * i)),
    })),
    {
      name: "backward where keys rise and jump: errors small beside what comes in, as little is left of it",
      run: async (context) => {
        const [runtime, cpu] = [await context.runtime, await context.cpu];
        const data = drawAttention(SHAPED, 92);
        for (const [name, inputs] of [
          ["rising", withKeys(data, (row) => row * 8)],
          ["in steps", withKeys(data, (row, d) => (row % 9 === d ? 100 : 0))],
        ] as const) {
          const [actual, expected] = [await attendBackward(runtime, SHAPED, inputs), await attendBackward(cpu, SHAPED, inputs)];
          checkBesideIncoming(actual, expected, data, `keys ${name}, seed 92`);
        }
      },
    },
    {
      name: "workspaces that held NaN before",
      run: async (context) => {
        const runtime = await context.open();
        try {
          const options = { heads: 1, length: 100, headDim: 7, valueDim: 5, featureMap: "sikf", causal: true } as const;
          const data = drawAttention(options, 93);
          const plain = await attendBackward(runtime, options, data);
          // Its states are as large, without the padding.
          const full = { ...options, valueDim: 8 };
          await attendBackward(runtime, full, poisoned(full, drawAttention(full, 94), 0));
          const again = await attendBackward(runtime, options, data);
          for (const gradient of ["dq", "dk", "dv"] as const) {
            check(
              again[gradient]!.every((x, i) => x === plain[gradient]![i]),
              `${gradient} changed`,
            );
          }
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "linear-attention-scan: all chunks before each, and after each",
      run: async (context) => {
        const scans = [
          { featureMap: "sikf", chunks: 1, headDim: 2, valueDim: 3, reverse: false },
          { featureMap: "sikf", chunks: 70, headDim: 5, valueDim: 40, reverse: false },
          { featureMap: "sikf", chunks: 45, headDim: 3, valueDim: 1, reverse: true },
          { featureMap: "elu+1", chunks: 33, headDim: 1, valueDim: 64, reverse: true },
        ] as const;
        await together(scans, (scan, seed) => checkScan(context, scan, seed));
      },
    },
  ],
};

/** The scan by itself, as the planner dispatches it. */
async function checkScan(
  context: CaseContext,
  scan: {
    readonly featureMap: "sikf" | "elu+1";
    readonly chunks: number;
    readonly headDim: number;
    readonly valueDim: number;
    readonly reverse: boolean;
  },
  seed: number,
): Promise<void> {
  const runtime = await context.runtime;
  const { featureMap, chunks, headDim, valueDim, reverse } = scan;
  const [heads, sikf] = [2, featureMap === "sikf"];
  const program = new ProgramBuilder("test", "scan", runtime.limits);
  const shape = attentionSpec({ heads, length: chunks * 64, headDim, valueDim, featureMap, causal: true });
  const { workspaceBytes: scratch } = runtime.limits;
  const work: LinearWork = { program, shape, featureMap, features: headDim, mostHeads: heads, lengths: undefined, scratch };
  const reduction = { ...chooseCausalReduction(work, 0), chunks };
  const { state } = reduction;
  const buffer = program.tensor("states", "inout", 4 * heads * chunks * state.size);
  addScan(work, reduction, { first: 0, count: heads }, buffer, { reverse });
  const states = normals(seed, heads * chunks * state.size);
  // Maxima that differ by more than exp can span.
  if (sikf) for (let i = 0; i < states.length; i++) if (i % state.size < headDim) states[i]! *= 30;
  const actual = new Float32Array((await runProgram(runtime.device!, program.finish(), { states }))["states"]!);
  const [found, expected]: [number[], number[]] = [[], []];
  for (let h = 0; h < heads; h++) {
    for (let d = 0; d < headDim; d++) {
      for (let c = 0; c < chunks; c++) {
        const others = Array.from({ length: chunks }, (_, b) => b).filter((b) => (reverse ? b > c : b < c));
        const at = (b: number, offset: number) => (h * chunks + b) * state.size + offset;
        const m = Math.max(Math.fround(-3.4028234663852886e38), ...others.map((b) => states[at(b, d)]!));
        if (sikf) check(actual[at(c, d)] === m, `${JSON.stringify(scan)}, seed ${seed}: maximum of chunk ${c} is ${actual[at(c, d)]}, not ${m}`);
        const columns = [state.sum + d, ...Array.from({ length: valueDim }, (_, e) => state.products + d * state.stride + e)];
        for (const column of columns) {
          found.push(actual[at(c, column)]!);
          expected.push(others.reduce((sum, b) => sum + (sikf ? Math.exp(states[at(b, d)]! - m) : 1) * states[at(b, column)]!, 0));
        }
      }
    }
  }
  if (chunks === 1)
    check(
      found.every((x) => x === 0),
      `${JSON.stringify(scan)}: one chunk has none before it`,
    );
  else checkClose(found, expected, 3e-7, `${JSON.stringify(scan)}, seed ${seed}`);
}
