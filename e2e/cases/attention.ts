/** Linear attention with and without FastRPB: against its O(N²) definition, against the float64 CPU, and its properties. */
import { attentionReference } from "../../src/testing/attention-reference.ts";
import type { Runtime } from "../../src/index.ts";
import { type CaseContext, check, checkClose, normals, relativeL2, scoped, type Suite, together } from "./case.ts";

const BOUND = 1e-6;

interface Options {
  readonly batch?: number;
  readonly heads: number;
  readonly length: number;
  readonly headDim: number;
  readonly valueDim?: number;
  readonly featureMap: "sikf" | "elu+1";
  readonly bias?: "none" | "fastrpb";
}

interface Data {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  weights: Float32Array;
}

function draw(options: Options, seed: number): Data {
  const { batch = 1, heads, length, headDim, valueDim = headDim } = options;
  return {
    q: normals(seed, batch * heads * length * headDim),
    k: normals(seed + 1, batch * heads * length * headDim),
    v: normals(seed + 2, batch * heads * length * valueDim),
    // About as large as the attention: both parts of the sum count.
    weights: normals(seed + 3, heads * (2 * length - 1)).map((w) => w / Math.sqrt(length)),
  };
}

async function evaluate(runtime: Runtime, options: Options, data: Data): Promise<Float32Array> {
  const { batch = 1, heads, length, headDim, valueDim = headDim } = options;
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.attention(options));
    const shape = [batch, heads, length];
    const inputs = {
      q: scope.tensor(data.q, [...shape, headDim]),
      k: scope.tensor(data.k, [...shape, headDim]),
      v: scope.tensor(data.v, [...shape, valueDim]),
      ...(options.bias === "fastrpb" && { bias: scope.tensor(data.weights, [heads, 2 * length - 1]) }),
    };
    return plan.run(inputs, { out: scope.unwritten([...shape, valueDim]) }).data();
  });
}

function definition(options: Options, data: Data): Float64Array {
  const { batch = 1, heads, length, headDim, valueDim = headDim, featureMap } = options;
  const { q, k, v, weights } = data;
  return attentionReference({ batch, heads, length, headDim, valueDim, featureMap }, { q, k, v, ...(options.bias === "fastrpb" && { weights }) });
}

async function compare(context: CaseContext, options: Options, seed: number): Promise<void> {
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  const data = draw(options, seed);
  const actual = await evaluate(await context.runtime, options, data);
  checkClose(actual, await evaluate(await context.cpu, options, data), BOUND, `${what}, against the CPU`);
  const { batch = 1, heads, length, headDim, valueDim = headDim } = options;
  if (batch * heads * length * length * (headDim + valueDim) <= 1e9) {
    checkClose(actual, definition(options, data), BOUND, `${what}, against the definition`);
  }
}

/** SIKF attention of one head, step by step in float32: what a careful but plain program gets. */
function plainFloat32(options: Options, { q, k, v }: Data): Float32Array {
  const { length, headDim: D, valueDim: E = D } = options;
  const f = Math.fround;
  const m = new Float32Array(D).fill(-Infinity);
  const z = new Float32Array(D);
  const s = new Float32Array(D * E);
  const out = new Float32Array(length * E);
  for (let j = 0; j < length; j++) for (let d = 0; d < D; d++) m[d] = Math.max(m[d]!, k[j * D + d]!);
  for (let j = 0; j < length; j++) {
    for (let d = 0; d < D; d++) {
      const phi = f(Math.exp(f(k[j * D + d]! - m[d]!)));
      z[d] = z[d]! + phi;
      for (let e = 0; e < E; e++) s[d * E + e] = s[d * E + e]! + f(phi * v[j * E + e]!);
    }
  }
  for (let i = 0; i < length; i++) {
    const shifted = Array.from(m, (largest, d) => f(q[i * D + d]! + largest));
    const reference = Math.max(...shifted);
    const numerator = new Float32Array(E);
    let denominator = 0;
    for (const [d, x] of shifted.entries()) {
      const phi = f(Math.exp(f(x - reference)));
      denominator = f(denominator + f(phi * z[d]!));
      for (let e = 0; e < E; e++) numerator[e] = numerator[e]! + f(phi * s[d * E + e]!);
    }
    for (let e = 0; e < E; e++) out[i * E + e] = numerator[e]! / denominator;
  }
  return out;
}

/** Short lengths meet all widths; a long one meets what the machine does in seconds. */
const WIDTHS: readonly Omit<Options, "length" | "featureMap">[] = [
  { heads: 1, headDim: 1 },
  { heads: 8, batch: 3, headDim: 7 },
  { heads: 1, batch: 3, headDim: 32, valueDim: 5 },
  { heads: 8, headDim: 64 },
  { heads: 1, headDim: 128, valueDim: 33 },
  { heads: 2, headDim: 7, valueDim: 128 },
];
const MAPS = [
  ["sikf", "fastrpb"],
  ["elu+1", "fastrpb"],
  ["sikf", "none"],
  ["elu+1", "none"],
] as const;

const shortLengths = [1, 2, 3, 16].map((length) => ({
  name: `length ${length}`,
  run: async (context: CaseContext) => {
    await together(WIDTHS, async (width, i) => {
      const [featureMap, bias] = MAPS[(i + length) % MAPS.length]!;
      await compare(context, { ...width, length, featureMap, bias }, 10 * length + i);
    });
  },
}));

const longLengths = [784, 1000, 1024, 4096].map((length, i) => ({
  name: `length ${length}`,
  run: async (context: CaseContext) => {
    await together(MAPS, ([featureMap, bias], j) => compare(context, { ...WIDTHS[(i + j) % WIDTHS.length]!, length, featureMap, bias }, length + j));
  },
}));

export const attentionSuite: Suite = {
  name: "attention",
  cases: [
    ...shortLengths,
    ...longLengths,
    {
      name: "8 heads of 64, SIKF + FastRPB, length 4096",
      run: (context) => compare(context, { heads: 8, length: 4096, headDim: 64, featureMap: "sikf", bias: "fastrpb" }, 5),
    },
    {
      name: "length 65536",
      run: async (context) => {
        await compare(context, { heads: 1, length: 65536, headDim: 64, featureMap: "sikf", bias: "fastrpb" }, 6);
        await compare(context, { heads: 8, length: 65536, headDim: 7, featureMap: "elu+1", bias: "fastrpb" }, 7);
      },
    },
    {
      name: "dimensions to 320",
      run: async (context) => {
        await compare(context, { heads: 1, length: 300, headDim: 256, valueDim: 256, featureMap: "sikf", bias: "fastrpb" }, 8);
        await compare(context, { heads: 2, length: 100, headDim: 320, valueDim: 257, featureMap: "elu+1", bias: "none" }, 9);
      },
    },
    {
      name: "at most twice the error of the same formula in float32 on the CPU",
      run: async (context) => {
        for (const [length, headDim] of [
          [16, 8],
          [1024, 64],
          [4096, 32],
        ] as const) {
          const options: Options = { heads: 1, length, headDim, featureMap: "sikf", bias: "none" };
          const data = draw(options, length);
          const exact = definition(options, data);
          const plain = relativeL2(plainFloat32(options, data), exact);
          const gpu = relativeL2(await evaluate(await context.runtime, options, data), exact);
          check(gpu <= 2 * plain, `length ${length}: ${gpu} on the GPU, ${plain} in plain float32`);
        }
      },
    },
    {
      name: "SIKF: q and k scaled by 1000 and shifted by ±500",
      sample: true,
      run: async (context) => {
        const options: Options = { heads: 2, length: 500, headDim: 32, featureMap: "sikf", bias: "none" };
        for (const [i, shift] of [500, -500].entries()) {
          const data = draw(options, 40 + i);
          data.q = data.q.map((x) => x * 1000 + shift);
          data.k = data.k.map((x) => x * 1000 - shift);
          const actual = await evaluate(await context.runtime, options, data);
          check(actual.every(Number.isFinite), "not finite");
          checkClose(actual, definition(options, data), BOUND, `shift ${shift}`);
        }
      },
    },
    {
      name: "SIKF does not see a constant added to all queries or keys; elu+1 does",
      run: async (context) => {
        const runtime = await context.runtime;
        for (const featureMap of ["sikf", "elu+1"] as const) {
          const options: Options = { heads: 1, length: 333, headDim: 16, featureMap, bias: "none" };
          const data = draw(options, 50);
          const plain = await evaluate(runtime, options, data);
          for (const shift of [3, -17.25, 100]) {
            const keys = await evaluate(runtime, options, { ...data, k: data.k.map((x) => x + shift) });
            const queries = await evaluate(runtime, options, { ...data, q: data.q.map((x) => x + shift) });
            for (const [name, shifted] of [
              ["keys", keys],
              ["queries", queries],
            ] as const) {
              const change = relativeL2(shifted, plain);
              // Adding the constant rounds the input itself, by up to 2⁻²⁴·(|shift| + |x|).
              const rounding = 4 * 2 ** -24 * (Math.abs(shift) + 4);
              if (featureMap === "sikf") check(change < rounding, `sikf, ${name} + ${shift}: changed by ${change}`);
              else check(change > 1e-3, `elu+1, ${name} + ${shift}: changed by only ${change}; the control fails`);
            }
          }
        }
      },
    },
    {
      name: "extremes: ±1e4, equal keys, one token, very negative keys",
      run: async (context) => {
        const runtime = await context.runtime;
        const options: Options = { heads: 1, length: 64, headDim: 8, featureMap: "sikf", bias: "none" };
        const data = draw(options, 60);
        const huge = { ...data, q: data.q.map((x) => Math.sign(x) * 1e4), k: data.k.map((x) => Math.sign(x) * 1e4) };
        checkClose(await evaluate(runtime, options, huge), definition(options, huge), BOUND, "±1e4");
        // Sums of these round by hundreds: no feature may come out above the reference of its row.
        const vast = { ...data, q: data.q.map((x) => 1e10 * x), k: data.k.map((x) => 1e3 * x) };
        checkClose(await evaluate(runtime, options, vast), definition(options, vast), BOUND, "1e10");
        const equal = { ...data, k: data.k.fill(0.5) };
        checkClose(await evaluate(runtime, options, equal), definition(options, equal), BOUND, "equal keys");
        const one: Options = { ...options, length: 1 };
        const token = draw(one, 61);
        checkClose(await evaluate(runtime, one, token), token.v, 2e-7, "one token attends to itself");
        const elu: Options = { ...options, featureMap: "elu+1" };
        const negative = { ...data, k: data.k.map(() => -300) };
        checkClose(await evaluate(runtime, elu, negative), definition(elu, negative), BOUND, "elu+1 of keys at −300");
      },
    },
    {
      name: "heads in groups: bindings of 256 KiB",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 18 }, workspaceBytes: 2 ** 20 });
        try {
          const options: Options = { heads: 4, batch: 2, length: 1001, headDim: 17, valueDim: 31, featureMap: "sikf", bias: "fastrpb" };
          const data = draw(options, 70);
          checkClose(await evaluate(small, options, data), await evaluate(await context.cpu, options, data), BOUND, JSON.stringify(options));
        } finally {
          small.dispose();
        }
      },
    },
    {
      name: "small devices: 64 invocations, 4 KiB of workgroup memory, 16 workgroups per dimension",
      run: async (context) => {
        const small = await context.open({
          limits: {
            maxComputeInvocationsPerWorkgroup: 64,
            maxComputeWorkgroupSizeX: 64,
            maxComputeWorkgroupStorageSize: 4096,
            maxComputeWorkgroupsPerDimension: 16,
          },
        });
        try {
          for (const options of [
            { heads: 2, length: 784, headDim: 32, featureMap: "sikf", bias: "fastrpb" },
            { heads: 1, length: 2000, headDim: 70, valueDim: 65, featureMap: "elu+1", bias: "fastrpb" },
          ] as const) {
            const data = draw(options, 80);
            checkClose(await evaluate(small, options, data), await evaluate(await context.cpu, options, data), BOUND, JSON.stringify(options));
          }
        } finally {
          small.dispose();
        }
      },
    },
    {
      slow: true,
      name: "one million tokens, SIKF + FastRPB, within 256 MiB of workspace",
      run: async (context) => {
        const options: Options = { heads: 1, length: 2 ** 20, headDim: 32, featureMap: "sikf", bias: "fastrpb" };
        const runtime = await context.runtime;
        const plan = await runtime.attention(options);
        check(plan.cost.workspaceBytes <= 2 ** 28, `workspace ${plan.cost.workspaceBytes}`);
        plan.dispose();
        await compare(context, options, 90);
      },
    },
  ],
};
