/** Whether this device computes right: every kernel against float64, and a few operations against their definitions. */
import type { Runtime, SelfTestCheck } from "../../src/index.ts";
import { relativeError } from "../compare.ts";
import { normal } from "../random.ts";
import { breathe, Scope, type Task, type TaskContext } from "./task.ts";

export interface SelfTestEvent {
  readonly done: number;
  readonly total: number;
  readonly check: SelfTestCheck;
}

/** Results are rounded to float32, and so are the spectra on the way. */
const DEFINITION_BOUND = 1e-6;

export const selfTest: Task<undefined, SelfTestEvent, readonly SelfTestCheck[]> = async (runtime, _input, context) => {
  const definitions = DEFINITIONS.length;
  const checks: SelfTestCheck[] = [];
  // On the CPU the library's own test would compare the CPU with itself.
  const kernels = runtime.backend === "webgpu" ? await kernelChecks(runtime, definitions, context) : [];
  checks.push(...kernels);
  for (const definition of DEFINITIONS) {
    await breathe(context);
    const check = await definition(runtime);
    checks.push(check);
    context.emit({ done: checks.length, total: kernels.length + definitions, check });
  }
  return checks;
};

async function kernelChecks(runtime: Runtime, more: number, { signal, emit }: TaskContext<SelfTestEvent>): Promise<readonly SelfTestCheck[]> {
  const { checks } = await runtime.selfTest({
    signal,
    onProgress: ({ done, total, check }) => emit({ done, total: total + more, check }),
  });
  return checks;
}

type Definition = (runtime: Runtime) => Promise<SelfTestCheck>;

function check(name: string, actual: Float32Array, expected: Float64Array): SelfTestCheck {
  const error = relativeError(actual, expected);
  return { name, error, bound: DEFINITION_BOUND, ok: error <= DEFINITION_BOUND };
}

const LENGTH = 200;
const DIM = 16;

function inputs(seed: number, count: number): Float32Array {
  const random = normal(seed);
  return Float32Array.from({ length: count }, random);
}

const DEFINITIONS: readonly Definition[] = [
  async function fft(runtime) {
    const scope = new Scope();
    try {
      const x = inputs(1, 2 * LENGTH);
      const plan = scope.hold(await runtime.fft({ shape: [LENGTH] }));
      const actual = await scope.hold(plan.run(scope.hold(runtime.tensor(x, [LENGTH], "complex64")))).data();
      const expected = new Float64Array(2 * LENGTH);
      for (let k = 0; k < LENGTH; k++) {
        for (let n = 0; n < LENGTH; n++) {
          const angle = (-2 * Math.PI * ((k * n) % LENGTH)) / LENGTH;
          const [re, im] = [Math.cos(angle), Math.sin(angle)];
          expected[2 * k]! += x[2 * n]! * re - x[2 * n + 1]! * im;
          expected[2 * k + 1]! += x[2 * n]! * im + x[2 * n + 1]! * re;
        }
      }
      return check(`FFT of ${LENGTH} points, against the sum of N² terms`, actual, expected);
    } finally {
      scope.dispose();
    }
  },
  async function toeplitz(runtime) {
    const scope = new Scope();
    try {
      const [v, w] = [inputs(2, LENGTH * DIM), inputs(3, 2 * LENGTH - 1)];
      const plan = scope.hold(await runtime.toeplitz({ heads: 1, length: LENGTH, channels: DIM }));
      const tensors = [scope.hold(runtime.tensor(v, [1, 1, LENGTH, DIM])), scope.hold(runtime.tensor(w, [1, 2 * LENGTH - 1]))] as const;
      const actual = await scope.hold(plan.run(...tensors)).data();
      return check("FastRPB, against the matrix times v", actual, toeplitzByDefinition(v, w));
    } finally {
      scope.dispose();
    }
  },
  ...(["sikf", "elu+1", "softmax attention"] as const).map(
    (what): Definition =>
      async function attention(runtime) {
        const scope = new Scope();
        try {
          const [q, k, v, w] = [inputs(4, LENGTH * DIM), inputs(5, LENGTH * DIM), inputs(6, LENGTH * DIM), inputs(7, 2 * LENGTH - 1)];
          const kind = what === "softmax attention" ? ({ kind: "softmax" } as const) : ({ featureMap: what } as const);
          const plan = scope.hold(await runtime.attention({ heads: 1, length: LENGTH, headDim: DIM, bias: "fastrpb", ...kind }));
          const tensor = (data: Float32Array) => scope.hold(runtime.tensor(data, [1, 1, LENGTH, DIM]));
          const bias = scope.hold(runtime.tensor(w, [1, 2 * LENGTH - 1]));
          const actual = await scope.hold(plan.run({ q: tensor(q), k: tensor(k), v: tensor(v), bias })).data();
          const expected = toeplitzByDefinition(v, w);
          addAttention(expected, { q, k, v }, SIMILARITIES[what]);
          const title = what === "softmax attention" ? what : `linear attention, ${what},`;
          return check(`${title} with FastRPB, against the sums over all pairs`, actual, expected);
        } finally {
          scope.dispose();
        }
      },
  ),
];

function toeplitzByDefinition(v: Float32Array, w: Float32Array): Float64Array {
  const out = new Float64Array(v.length);
  for (let i = 0; i < LENGTH; i++) {
    for (let j = 0; j < LENGTH; j++) {
      for (let d = 0; d < DIM; d++) out[i * DIM + d]! += w[j - i + LENGTH - 1]! * v[j * DIM + d]!;
    }
  }
  return out;
}

const elu1 = (x: number) => (x > 0 ? x + 1 : Math.exp(x));

const SIMILARITIES = {
  sikf: (q: Float32Array, k: Float32Array) => dot(q, k, Math.exp),
  "elu+1": (q: Float32Array, k: Float32Array) => dot(q, k, elu1),
  "softmax attention": (q: Float32Array, k: Float32Array) => Math.exp(dot(q, k, (x) => x) / Math.sqrt(DIM)),
};

function dot(q: Float32Array, k: Float32Array, feature: (x: number) => number): number {
  let sum = 0;
  for (let d = 0; d < DIM; d++) sum += feature(q[d]!) * feature(k[d]!);
  return sum;
}

function addAttention(
  out: Float64Array,
  { q, k, v }: Readonly<Record<"q" | "k" | "v", Float32Array>>,
  similarity: (q: Float32Array, k: Float32Array) => number,
): void {
  const row = (data: Float32Array, i: number) => data.subarray(i * DIM, (i + 1) * DIM);
  for (let i = 0; i < LENGTH; i++) {
    const shares = Float64Array.from({ length: LENGTH }, (_, j) => similarity(row(q, i), row(k, j)));
    const total = shares.reduce((sum, share) => sum + share, 0);
    for (let j = 0; j < LENGTH; j++) {
      for (let d = 0; d < DIM; d++) out[i * DIM + d]! += (shares[j]! / total) * v[j * DIM + d]!;
    }
  }
}
