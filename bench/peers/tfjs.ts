/** TensorFlow.js with its WebGPU backend: tf.fft, a discrete Fourier transform by definition. */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-webgpu";
import type { Competitor, Prepared } from "../measure/competitor.ts";
import type { FftRow } from "../measure/rows.ts";
import { interleave, split } from "./planar.ts";

/** The backend's own members that submit what it has recorded. */
interface WebGpuBackend {
  readonly device: GPUDevice;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

let opened: Promise<unknown> | undefined;

export const tensorflow: Competitor = {
  name: "tfjs",
  package: "@tensorflow/tfjs-backend-webgpu",
  supports: (row) => row.kind === "fft",
  work: (row) => (row as FftRow).batch * row.length ** 2,

  async prepare(row, data, copies): Promise<Prepared> {
    opened ??= tf.setBackend("webgpu").then(() => tf.ready());
    await opened;
    const backend = tf.backend() as WebGpuBackend;
    const { batch, length } = row as FftRow;
    const { real, imag } = split(data["x"]!);
    const inputs = Array.from({ length: copies }, () => tf.complex(tf.tensor(real, [batch, length]), tf.tensor(imag, [batch, length])));
    let output: tf.TfTensor | undefined;
    let turn = 0;
    return {
      run() {
        output?.dispose();
        output = tf.fft(inputs[turn]!);
        turn = (turn + 1) % copies;
      },
      async finish() {
        backend.endComputePassEncoder();
        backend.submitQueue();
        await backend.device.queue.onSubmittedWorkDone();
      },
      async read() {
        const [re, im] = await Promise.all([tf.real(output!).data(), tf.imag(output!).data()]);
        return interleave({ real: re, imag: im });
      },
      dispose() {
        output?.dispose();
        for (const input of inputs) input.dispose();
      },
    };
  },
};
