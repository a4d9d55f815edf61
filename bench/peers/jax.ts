/** jax-js: FFT, the Toeplitz product by FFT, SIKF and softmax by matrix products, each as a user who wants speed would write it. */
import * as jax from "@jax-js/jax";
import type { ComplexPair, JaxArray } from "@jax-js/jax";
import type { Competitor, Data, Prepared } from "../measure/competitor.ts";
import type { AttentionRow, FftRow, MatmulRow, Row, ToeplitzRow } from "../measure/rows.ts";
import { prepareTraining } from "./jax-training.ts";
import { interleave, split } from "./planar.ts";

const { numpy: np } = jax;

type Outputs = readonly JaxArray[];

/** What a row comes down to: inputs uploaded `copies` times, and a function of one set of them. */
interface Task {
  readonly inputs: readonly Outputs[];
  compute(inputs: Outputs): JaxArray[];
  /** From the outputs to the layout of the row. */
  gather(outputs: readonly Float32Array[]): Float32Array;
}

let opened: Promise<unknown> | undefined;

export const jaxJs: Competitor = {
  name: "jax-js",
  package: "@jax-js/jax",
  // Causal linear attention would take it a scan over tokens, or the N×N products that linear attention is there to avoid.
  supports: (row) => row.kind !== "cpu-fft" && row.kind !== "gradient" && !(row.kind === "attention" && (row.causal || row.similarity === "elu+1")),
  formulation: (row) => (row.kind === "attention" && row.similarity === "softmax" ? SOFTMAX_FORMULATION : FORMULATIONS[row.kind]),

  async prepare(row, data, copies): Promise<Prepared> {
    opened ??= jax.init("webgpu").then(() => jax.defaultDevice("webgpu"));
    await opened;
    if (row.kind === "training") return prepareTraining(row, data);
    const task = await taskOf(row, data, copies);
    let outputs: JaxArray[] = [];
    let turn = 0;
    return {
      run() {
        for (const output of outputs) output.dispose();
        outputs = task.compute(task.inputs[turn]!);
        turn = (turn + 1) % copies;
        for (const output of outputs) output.ref.gpuBufferSync(); // work is lazy: this submits it, and does not wait for the GPU
      },
      async finish() {
        await jax.getWebGPUDevice().queue.onSubmittedWorkDone();
      },
      read: async () => task.gather(await Promise.all(outputs.map((output) => output.ref.data()))),
      dispose() {
        for (const array of [...outputs, ...task.inputs.flat()]) array.dispose();
      },
    };
  },
};

const FORMULATIONS: Partial<Record<Row["kind"], string>> = {
  fft: "input and output as separate real and imaginary arrays, as it wants them",
  toeplitz:
    "pads to the next power of two ≥ 2N, FFT, times the spectrum (made beforehand; one jitted kernel), inverse FFT, slice; channels in pairs as complex numbers, and already laid out as separate real and imaginary [heads, channels / 2, N] arrays, so it does half the transforms and no transposition",
  attention:
    "jitted: exponentials relative to the largest key, two matrix products, the quotient; with FastRPB, the Toeplitz product as above besides, whose sum with the rest is left out",
  training:
    "one jitted function with valueAndGrad and AdamW; of tokens one-hot products; SIKF as two softmaxes and two products; FastRPB as a product with the matrix of all pairs, which products with ones and zeros make of the table: for so few tokens it moves less than FFTs of padded grids",
};

const SOFTMAX_FORMULATION = "jitted: a matrix product, the largest of each row subtracted, exponentials, another matrix product, the quotient";

function taskOf(row: Row, data: Data, copies: number): Promise<Task> {
  if (row.kind === "fft") return fftTask(row, data, copies);
  if (row.kind === "matmul") return matmulTask(row, data, copies);
  if (row.kind === "toeplitz") return toeplitzTask(row, data, copies);
  if ((row as AttentionRow).similarity === "softmax") return softmaxTask(row as AttentionRow, data, copies);
  return (row as AttentionRow).bias === "none" ? attentionTask(row as AttentionRow, data, copies) : biasedTask(row as AttentionRow, data, copies);
}

async function fftTask(row: FftRow, data: Data, copies: number): Promise<Task> {
  const shape = [row.batch, row.length];
  const { real, imag } = split(data["x"]!);
  return {
    inputs: await upload(copies, [
      [real, shape],
      [imag, shape],
    ]),
    compute([re, im]) {
      const y = np.fft.fft({ real: re!.ref, imag: im!.ref });
      return [y.real, y.imag];
    },
    gather: ([re, im]) => interleave({ real: re!, imag: im! }),
  };
}

async function matmulTask({ rows, size }: MatmulRow, data: Data, copies: number): Promise<Task> {
  const product = jax.jit((x: JaxArray, weight: JaxArray) => np.matmul(x, np.matrixTranspose(weight)));
  return {
    inputs: await upload(copies, [
      [data["x"]!, [rows, size]],
      [data["weight"]!, [size, size]],
    ]),
    compute: ([x, weight]) => [product(x!.ref, weight!.ref)],
    gather: ([out]) => out!,
  };
}

async function toeplitzTask(
  { heads, length, channels }: Pick<ToeplitzRow, "heads" | "length" | "channels">,
  data: Data,
  copies: number,
): Promise<Task> {
  const pairs = channels / 2;
  const size = 2 ** Math.ceil(Math.log2(2 * length));
  const { real, imag } = pairUp(data["v"]!, heads, length, channels);
  const kernel = np.array(circulant(data["weights"]!, heads, length, size), { shape: [heads, 1, size] });
  const zeros = np.array(new Float32Array(heads * size), { shape: [heads, 1, size] });
  const spectrum = await jax.blockUntilReady(np.fft.fft({ real: kernel, imag: zeros }));
  const multiply = jax.jit((a: ComplexPair, b: ComplexPair): ComplexPair => ({
    real: a.real.ref.mul(b.real.ref).sub(a.imag.ref.mul(b.imag.ref)),
    imag: a.real.mul(b.imag).add(a.imag.mul(b.real)),
  }));
  const padding = [
    [0, 0],
    [0, 0],
    [0, size - length],
  ] as const;
  const shape = [heads, pairs, length];
  return {
    inputs: await upload(copies, [
      [real, shape],
      [imag, shape],
    ]),
    compute([re, im]) {
      const forward = np.fft.fft({ real: np.pad(re!.ref, padding), imag: np.pad(im!.ref, padding) });
      const product = multiply(forward, { real: spectrum.real.ref, imag: spectrum.imag.ref });
      const y = np.fft.ifft(product);
      return [y.real.slice([], [], [0, length]), y.imag.slice([], [], [0, length])];
    },
    gather: ([re, im]) => unpair(re!, im!, heads, length, channels),
  };
}

/** Attention and Toeplitz product side by side: their layouts differ, and adding them up would cost jax-js more passes over memory. */
async function biasedTask(row: AttentionRow, data: Data, copies: number): Promise<Task> {
  const attention = await attentionTask(row, data, copies);
  const toeplitz = await toeplitzTask({ heads: row.heads, length: row.length, channels: row.headDim }, data, copies);
  return {
    inputs: attention.inputs.map((set, i) => [...set, ...toeplitz.inputs[i]!]),
    compute: (set) => [...attention.compute(set.slice(0, 3)), ...toeplitz.compute(set.slice(3))],
    gather([out, ...product]) {
      const bias = toeplitz.gather(product);
      return out!.map((sum, i) => sum + bias[i]!);
    },
  };
}

async function attentionTask({ heads, length, headDim }: AttentionRow, data: Data, copies: number): Promise<Task> {
  const shape = [heads, length, headDim];
  const sikf = jax.jit((q: JaxArray, k: JaxArray, v: JaxArray): JaxArray => {
    const largest = np.max(k.ref, 1, { keepdims: true });
    const shifted = q.add(largest.ref);
    const keys = np.exp(k.sub(largest));
    const queries = np.exp(shifted.ref.sub(np.max(shifted, 2, { keepdims: true })));
    const state = np.matmul(np.matrixTranspose(keys.ref), v);
    const norm = np.sum(queries.ref.mul(np.sum(keys, 1, { keepdims: true })), 2, { keepdims: true });
    return np.matmul(queries, state).div(norm);
  });
  return {
    inputs: await upload(copies, [
      [data["q"]!, shape],
      [data["k"]!, shape],
      [data["v"]!, shape],
    ]),
    compute: ([q, k, v]) => [sikf(q!.ref, k!.ref, v!.ref)],
    gather: ([out]) => out!,
  };
}

async function softmaxTask({ heads, length, headDim }: AttentionRow, data: Data, copies: number): Promise<Task> {
  const shape = [heads, length, headDim];
  const softmax = jax.jit((q: JaxArray, k: JaxArray, v: JaxArray): JaxArray => {
    const scores = np.matmul(q.mul(1 / Math.sqrt(headDim)), np.matrixTranspose(k));
    const weights = np.exp(scores.ref.sub(np.max(scores, 2, { keepdims: true })));
    const norm = np.sum(weights.ref, 2, { keepdims: true });
    return np.matmul(weights, v).div(norm);
  });
  return {
    inputs: await upload(copies, [
      [data["q"]!, shape],
      [data["k"]!, shape],
      [data["v"]!, shape],
    ]),
    compute: ([q, k, v]) => [softmax(q!.ref, k!.ref, v!.ref)],
    gather: ([out]) => out!,
  };
}

async function upload(copies: number, arrays: readonly (readonly [Float32Array, readonly number[]])[]): Promise<Outputs[]> {
  const sets = Array.from({ length: copies }, () => arrays.map(([array, shape]) => np.array(array, { shape })));
  await jax.blockUntilReady(sets);
  return sets;
}

/** v [heads, length, channels] as complex sequences: channel 2c is the real part of number c, 2c + 1 the imaginary one; each lies in one piece. */
function pairUp(v: Float32Array, heads: number, length: number, channels: number): { real: Float32Array; imag: Float32Array } {
  const real = new Float32Array(v.length / 2);
  const imag = new Float32Array(v.length / 2);
  eachPair(heads, length, channels, (planar, interleaved) => {
    real[planar] = v[interleaved]!;
    imag[planar] = v[interleaved + 1]!;
  });
  return { real, imag };
}

function unpair(real: Float32Array, imag: Float32Array, heads: number, length: number, channels: number): Float32Array {
  const v = new Float32Array(2 * real.length);
  eachPair(heads, length, channels, (planar, interleaved) => {
    v[interleaved] = real[planar]!;
    v[interleaved + 1] = imag[planar]!;
  });
  return v;
}

function eachPair(heads: number, length: number, channels: number, visit: (planar: number, interleaved: number) => void): void {
  const pairs = channels / 2;
  for (let h = 0; h < heads; h++) {
    for (let c = 0; c < pairs; c++) {
      for (let n = 0; n < length; n++) visit((h * pairs + c) * length + n, (h * length + n) * channels + 2 * c);
    }
  }
}

/** The circulant's first column: what multiplies v_j in out_i, w[j − i + length − 1], stands at (i − j) mod size. */
function circulant(weights: Float32Array, heads: number, length: number, size: number): Float32Array {
  const column = new Float32Array(heads * size);
  for (let h = 0; h < heads; h++) {
    for (let lag = 1 - length; lag < length; lag++) {
      column[h * size + ((lag + size) % size)] = weights[h * (2 * length - 1) + length - 1 - lag]!;
    }
  }
  return column;
}
