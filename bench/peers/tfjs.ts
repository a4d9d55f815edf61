/** TensorFlow.js with its WebGPU backend: tf.fft, a discrete Fourier transform by definition; matrix products, and training. */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-webgpu";
import type { Competitor, Data, Prepared } from "../measure/competitor.ts";
import type { FftRow, MatmulRow } from "../measure/rows.ts";
import { interleave, split } from "./planar.ts";
import { prepareTraining } from "./tfjs-training.ts";

/** The backend's own members that submit what it has recorded. */
interface WebGpuBackend {
  readonly device: GPUDevice;
  /** What it has recorded, if there is something. */
  readonly commandEncoder: GPUCommandEncoder | null;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

let opened: Promise<unknown> | undefined;

/** What a row comes down to. */
interface Task {
  /** Tensors uploaded `copies` times. */
  readonly inputs: readonly tf.TfTensor[];
  compute(input: tf.TfTensor): tf.TfTensor;
  read(output: tf.TfTensor): Promise<Float32Array>;
}

export const tensorflow: Competitor = {
  name: "tfjs",
  package: "@tensorflow/tfjs-backend-webgpu",
  supports: ({ kind }) => kind === "fft" || kind === "matmul" || kind === "training",
  work: (row) => (row.kind === "fft" ? row.batch * row.length ** 2 : undefined),
  formulation: ({ kind }) => (kind === "training" ? TRAINING_FORMULATION : undefined),

  async prepare(row, data, copies): Promise<Prepared> {
    opened ??= tf.setBackend("webgpu").then(() => tf.ready());
    await opened;
    const backend = tf.backend() as WebGpuBackend;
    const finish = async () => {
      if (backend.commandEncoder) {
        backend.endComputePassEncoder();
        backend.submitQueue();
      }
      await backend.device.queue.onSubmittedWorkDone();
    };
    if (row.kind === "training") return prepareTraining(row, data, finish);
    const { inputs, compute, read } = row.kind === "matmul" ? matmulTask(row, data, copies) : fftTask(row as FftRow, data, copies);
    let output: tf.TfTensor | undefined;
    let turn = 0;
    return {
      run() {
        output?.dispose();
        output = compute(inputs[turn]!);
        turn = (turn + 1) % copies;
      },
      finish,
      read: () => read(output!),
      dispose() {
        output?.dispose();
        for (const input of inputs) input.dispose();
      },
    };
  },
};

const TRAINING_FORMULATION =
  "variableGrads, tf.train.adam and a decay of the variables; of tokens one-hot products; SIKF as two softmaxes and two products; FastRPB as a product with the matrix of all pairs, which products with ones and zeros make of the table: its FFT is a sum over all pairs, too, and gathering scatters on the way back";

function fftTask({ batch, length }: FftRow, data: Data, copies: number): Task {
  const { real, imag } = split(data["x"]!);
  return {
    inputs: Array.from({ length: copies }, () => tf.complex(tf.tensor(real, [batch, length]), tf.tensor(imag, [batch, length]))),
    compute: (x) => tf.fft(x),
    async read(output) {
      const [re, im] = await Promise.all([tf.real(output).data(), tf.imag(output).data()]);
      return interleave({ real: re, imag: im });
    },
  };
}

function matmulTask({ rows, size }: MatmulRow, data: Data, copies: number): Task {
  const weight = tf.tensor(data["weight"]!, [size, size]);
  return {
    inputs: Array.from({ length: copies }, () => tf.tensor(data["x"]!, [rows, size])),
    compute: (x) => tf.matMul(x, weight, false, true),
    read: (output) => output.data(),
  };
}
