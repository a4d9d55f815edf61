/** onnxruntime-web on WebGPU: the operators DFT and com.microsoft.LinearAttention, each a model of one node. */
import * as ort from "onnxruntime-web/webgpu";
import type { Competitor, Data, Prepared } from "../measure/competitor.ts";
import type { AttentionRow, FftRow, Row } from "../measure/rows.ts";
import { type OneNode, oneNodeModel } from "./onnx-model.ts";

interface Task {
  readonly node: OneNode;
  /** Contents of the node's inputs. */
  readonly feeds: Readonly<Record<string, Float32Array>>;
}

export const onnxruntime: Competitor = {
  name: "onnxruntime-web",
  package: "onnxruntime-web",
  supports: (row) => row.kind === "fft" || (row.kind === "attention" && row.bias === "none" && row.similarity === "sikf"),
  work: (row) => (row.kind === "fft" ? row.batch * row.length ** 2 : (row as AttentionRow).length),
  formulation: (row) =>
    row.kind === "attention"
      ? "com.microsoft.LinearAttention, update rule “linear”: causal, without feature map and denominator, so not the same sum; its error is against its own definition"
      : undefined,
  reference: (row, data) => (row.kind === "attention" ? causalSum(row, data) : undefined),

  async prepare(row, data, copies): Promise<Prepared> {
    ort.env.wasm.wasmPaths = new URL("../node_modules/onnxruntime-web/dist/", location.href).href;
    ort.env.wasm.numThreads = 1; // the work is the GPU's
    const { node, feeds } = taskOf(row, data);
    const session = await ort.InferenceSession.create(oneNodeModel(node), {
      executionProviders: ["webgpu"],
      preferredOutputLocation: "gpu-buffer",
    });
    const device = await ort.env.webgpu.device;
    const buffers: GPUBuffer[] = [];
    const upload = (name: string): ort.OrtTensor => {
      const content = feeds[name]! as Float32Array<ArrayBuffer>;
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      const buffer = device.createBuffer({ label: name, size: content.byteLength, usage });
      device.queue.writeBuffer(buffer, 0, content);
      buffers.push(buffer);
      return ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: node.inputs[name]! });
    };
    const names = Object.keys(node.inputs);
    const sets = Array.from({ length: copies }, () => Object.fromEntries(names.map((name) => [name, upload(name)])));
    let outputs: Readonly<Record<string, ort.OrtTensor>> = {};
    let turn = 0;
    return {
      async run() {
        for (const output of Object.values(outputs)) output.dispose();
        outputs = await session.run(sets[turn]!);
        turn = (turn + 1) % copies;
      },
      async finish() {
        await device.queue.onSubmittedWorkDone();
      },
      async read() {
        const result = await outputs["out"]!.getData();
        return node.operator === "LinearAttention" ? toHeads(result, row as AttentionRow) : result;
      },
      dispose() {
        for (const output of Object.values(outputs)) output.dispose();
        for (const buffer of buffers) buffer.destroy();
        void session.release();
      },
    };
  },
};

function taskOf(row: Row, data: Data): Task {
  if (row.kind === "fft") return dft(row, data);
  return linearAttention(row as AttentionRow, data);
}

function dft({ batch, length }: FftRow, data: Data): Task {
  const shape = [batch, length, 2];
  const node = { operator: "DFT", domain: "", version: 17, inputs: { x: shape }, outputs: { out: shape }, attributes: { axis: 1 } };
  return { node, feeds: { x: data["x"]! } };
}

function linearAttention(row: AttentionRow, data: Data): Task {
  const shape = [1, row.length, row.heads * row.headDim];
  const attributes = { q_num_heads: row.heads, kv_num_heads: row.heads, update_rule: "linear" };
  const inputs = { query: shape, key: shape, value: shape };
  const outputs = { out: shape, state: [1, row.heads, row.headDim, row.headDim] };
  const node = { operator: "LinearAttention", domain: "com.microsoft", version: 1, inputs, outputs, attributes };
  return { node, feeds: { query: toTokens(data["q"]!, row), key: toTokens(data["k"]!, row), value: toTokens(data["v"]!, row) } };
}

/** [heads, length, dim] to [length, heads, dim], the operator's layout. */
function toTokens(x: Float32Array, { heads, length, headDim }: AttentionRow): Float32Array {
  const result = new Float32Array(x.length);
  for (let h = 0; h < heads; h++) {
    for (let n = 0; n < length; n++) {
      const at = (h * length + n) * headDim;
      result.set(x.subarray(at, at + headDim), (n * heads + h) * headDim);
    }
  }
  return result;
}

function toHeads(x: Float32Array, { heads, length, headDim }: AttentionRow): Float32Array {
  const result = new Float32Array(x.length);
  for (let n = 0; n < length; n++) {
    for (let h = 0; h < heads; h++) {
      const at = (n * heads + h) * headDim;
      result.set(x.subarray(at, at + headDim), (h * length + n) * headDim);
    }
  }
  return result;
}

/** out_i = Σ_{j ≤ i} (q_i·k_j) v_j / √D in float64. */
function causalSum({ heads, length, headDim }: AttentionRow, data: Data): Float32Array {
  const q = data["q"]!;
  const k = data["k"]!;
  const v = data["v"]!;
  const out = new Float32Array(v.length);
  const row = new Float64Array(headDim);
  for (let h = 0; h < heads; h++) {
    const state = new Float64Array(headDim * headDim);
    for (let n = 0; n < length; n++) {
      const at = (h * length + n) * headDim;
      row.fill(0);
      for (let d = 0; d < headDim; d++) {
        const key = k[at + d]!;
        const query = q[at + d]!;
        for (let m = 0; m < headDim; m++) {
          const sum = state[d * headDim + m]! + key * v[at + m]!;
          state[d * headDim + m] = sum;
          row[m] = row[m]! + query * sum;
        }
      }
      for (let m = 0; m < headDim; m++) out[at + m] = row[m]! / Math.sqrt(headDim);
    }
  }
  return out;
}
