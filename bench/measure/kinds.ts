/** The kinds of rows: their inputs, and how the library runs them, on the GPU and (as the reference) on the CPU alike. */
import type { Data } from "./competitor.ts";
import type { Kind, Output } from "./kind.ts";
import { lastRows, matmul, training } from "./models.ts";
import { normals } from "./numbers.ts";
import type { AttentionRow, CpuFftRow, FftRow, GradientRow, Row, ToeplitzRow } from "./rows.ts";

const fftOptions = (row: FftRow | CpuFftRow) => ({ shape: row.kind === "fft" ? [row.batch, row.length] : [row.length] });
const toeplitzOptions = ({ batch, heads, length, channels }: ToeplitzRow) => ({ batch, heads, length, channels });
const attentionOptions = ({ batch, heads, length, headDim, bias, causal, similarity }: AttentionRow | GradientRow) => ({
  batch,
  heads,
  length,
  headDim,
  bias,
  causal,
  ...(similarity === "softmax" ? { kind: similarity } : { featureMap: similarity }),
});

/** What is found for few heads holds for many; long sequences fill a device with one. */
const tunedHeads = ({ heads, length }: ToeplitzRow | AttentionRow | GradientRow) => (length > 4096 ? 1 : heads);

/** x: complex, interleaved, [batch, length]. */
const fft: Kind<FftRow | CpuFftRow> = {
  data: (row) => ({ x: normals(1, fft.outputLength(row)) }),
  outputLength: (row) => 2 * row.length * (row.kind === "fft" ? row.batch : 1),
  tune: (row) => ({ operation: "fft", options: fftOptions(row) }),
  async open(runtime, row) {
    const { shape } = fftOptions(row);
    const plan = await runtime.fft({ shape });
    return {
      cost: plan.cost,
      output: () => runtime.tensor(new Float32Array(fft.outputLength(row)), shape, "complex64"),
      load(data) {
        const x = runtime.tensor(data["x"]!, shape, "complex64");
        return { run: (out) => plan.run(x, { out }), profile: (out) => plan.profile(x, { out }) };
      },
    };
  },
};

/** v: [batch, heads, length, channels]; weights: [heads, 2·length − 1]. The spectrum of the weights is prepared once, as in a trained model. */
const toeplitz: Kind<ToeplitzRow> = {
  data: (row) => ({ v: normals(2, toeplitz.outputLength(row)), weights: normals(3, row.heads * (2 * row.length - 1)) }),
  outputLength: (row) => row.batch * row.heads * row.length * row.channels,
  tune: (row) => ({ operation: "toeplitz", options: { ...toeplitzOptions(row), heads: tunedHeads(row) } }),
  async open(runtime, row) {
    const { batch, heads, length, channels } = row;
    const shape = [batch, heads, length, channels];
    const plan = await runtime.toeplitz(toeplitzOptions(row));
    return {
      cost: plan.cost,
      output: () => runtime.tensor(new Float32Array(toeplitz.outputLength(row)), shape),
      load(data) {
        const v = runtime.tensor(data["v"]!, shape);
        const spectrum = plan.prepare(runtime.tensor(data["weights"]!, [heads, 2 * length - 1]));
        return { run: (out) => plan.run(v, spectrum, { out }), profile: (out) => plan.profile(v, spectrum, { out }) };
      },
    };
  },
};

/** q, k, v: [batch, heads, length, headDim]; with FastRPB also weights: [heads, 2·length − 1], prepared once. */
const attention: Kind<AttentionRow | GradientRow> = {
  data: attentionData,
  outputLength: (row) => row.batch * row.heads * row.length * row.headDim,
  tune: attentionTuning,
  async open(runtime, row) {
    const { batch, heads, length, headDim } = row;
    const shape = [batch, heads, length, headDim];
    const plan = await runtime.attention(attentionOptions(row));
    return {
      cost: plan.cost,
      output: () => runtime.tensor(new Float32Array(attention.outputLength(row)), shape),
      load(data) {
        const tensors = { q: runtime.tensor(data["q"]!, shape), k: runtime.tensor(data["k"]!, shape), v: runtime.tensor(data["v"]!, shape) };
        const weights = data["weights"];
        const inputs = weights ? { ...tensors, bias: plan.prepare(runtime.tensor(weights, [heads, 2 * length - 1])) } : tensors;
        return { run: (out) => plan.run(inputs, { out }), profile: (out) => plan.profile(inputs, { out }) };
      },
    };
  },
};

/** The inputs of attention, and dOut like its result; the result that is compared is dq. */
const gradient: Kind<GradientRow> = {
  data: (row) => ({ ...attentionData(row), dOut: normals(8, attention.outputLength(row)) }),
  outputLength: (row) => attention.outputLength(row),
  tune: (row) => ({ ...attentionTuning(row), gradient: true }),
  async open(runtime, row) {
    const { batch, heads, length, headDim } = row;
    const shape = [batch, heads, length, headDim];
    const tensor = (data: Float32Array) => runtime.tensor(data, shape);
    const output = () => tensor(new Float32Array(gradient.outputLength(row)));
    const plan = await runtime.attention(attentionOptions(row));
    await plan.compileBackward();
    return {
      cost: plan.gradient.cost,
      output,
      load(data) {
        const weights = data["weights"] && runtime.tensor(data["weights"], [heads, 2 * length - 1]);
        const inputs = { q: tensor(data["q"]!), k: tensor(data["k"]!), v: tensor(data["v"]!), dOut: tensor(data["dOut"]!) };
        const given = weights ? { ...inputs, bias: plan.prepare(weights) } : inputs;
        const others = { dk: output(), dv: output(), ...(weights && { dBias: runtime.tensor(new Float32Array(weights.size), weights.shape) }) };
        return {
          run: (dq) => plan.backward(given, { out: { dq, ...others } }).dq,
          async profile(dq) {
            const { output: gradients, ...times } = await plan.gradient.profile(given, { out: { dq, ...others } });
            return { ...times, output: gradients.dq };
          },
        };
      },
    };
  },
};

function attentionData(row: AttentionRow | GradientRow): Data {
  const n = attention.outputLength(row);
  const weights = row.bias === "fastrpb" ? { weights: normals(7, row.heads * (2 * row.length - 1)) } : {};
  return { q: normals(4, n), k: normals(5, n), v: normals(6, n), ...weights };
}

function attentionTuning(row: AttentionRow | GradientRow) {
  return { operation: "attention", options: { ...attentionOptions(row), heads: tunedHeads(row) } } as const;
}

const KINDS = { fft, "cpu-fft": fft, toeplitz, attention, gradient, matmul, training };

/** The kind of a row, which takes rows of that kind. */
export function kindOf(row: Row): Kind<Row, Output> {
  return KINDS[row.kind] as unknown as Kind<Row, Output>;
}

/** Floats of a result that are worth computing on the CPU, to compare with. */
const MOST_EXACT = 2 ** 22;

/** The last of a row's batch, with its data: as much as the CPU computes in a moment, one at least. */
export function lastOf(row: Row, data: Data): { readonly row: Row; readonly data: Data } {
  if (row.kind === "cpu-fft" || row.kind === "training") return { row, data };
  if (row.kind === "matmul") return lastRows(row, data);
  if ((row.kind === "attention" || row.kind === "gradient") && row.similarity === "softmax") {
    // O(N²) on the CPU: one head, the last.
    const heads = row.batch * row.heads;
    const last = (array: Float32Array) => array.subarray(array.length - array.length / heads);
    return { row: { ...row, batch: 1, heads: 1 }, data: Object.fromEntries(Object.entries(data).map(([name, array]) => [name, last(array)])) };
  }
  const batch = Math.max(1, Math.min(row.batch, Math.floor((row.batch * MOST_EXACT) / kindOf(row).outputLength(row))));
  const part = (name: string, array: Float32Array) =>
    name === "weights" ? array : array.subarray(array.length - (array.length / row.batch) * batch);
  return { row: { ...row, batch }, data: Object.fromEntries(Object.entries(data).map(([name, array]) => [name, part(name, array)])) };
}
