import { elementCount } from "../../core/check.ts";
import type { FftOf } from "../../math/fft.ts";
import { float64Array } from "../../math/memory.ts";
import type { CpuComputation } from "../operation.ts";
import { createToeplitz } from "../toeplitz/cpu-product.ts";
import { weightsShape } from "../toeplitz/spec.ts";
import { biasChannels, type HeadKind, readInputs } from "./cpu.ts";
import { type AttentionGradientSpec, hasSpectrum } from "./spec.ts";

/** dq, dk, dv and, with a bias, that of its weights. What lies beyond a length has no gradient. */
export function attentionGradientCpu(kind: HeadKind, spec: AttentionGradientSpec, fftOf: FftOf): CpuComputation {
  const { batch, heads, length, headDim, valueDim, bias } = spec;
  const slices = batch * heads;
  const toeplitz = hasSpectrum(spec) ? createToeplitz(spec, fftOf) : undefined;
  const weights = elementCount(weightsShape(spec).slice(1));
  return {
    ...(toeplitz && { spectrumBytes: toeplitz.bytesOf(heads) }),
    flops: slices * (3 * kind.flops(spec) + (toeplitz ? 3 * biasChannels(spec) * toeplitz.multiplyFlops : 0)),
    run(memoryOf) {
      const dOut = memoryOf("dOut").floats;
      const inputs = readInputs(spec, memoryOf);
      const spectra = toeplitz && memoryOf("spectrum").doubles;
      const spectrumOf = (head: number) => spectra!.subarray(head * toeplitz!.floats, (head + 1) * toeplitz!.floats);
      const attention = kind.create(spec, bias === "multiplicative" ? { toeplitz: toeplitz!, spectrumOf } : undefined);
      const sums = bias === "none" ? undefined : Array.from({ length: heads }, () => float64Array("cpu attention", toeplitz?.floats ?? weights));
      for (let slice = 0; slice < slices; slice++) {
        const head = inputs.head(slice);
        const g = inputs.rows(dOut, slice, valueDim);
        const [dq, dk, dv] = [headDim, headDim, valueDim].map((dim) => float64Array("cpu attention", head.tokens * dim)) as [
          Float64Array,
          Float64Array,
          Float64Array,
        ];
        attention.backward(head, g, { dq, dk, dv }, sums?.[head.index]);
        if (bias === "fastrpb") {
          const add = (index: number, value: number) => {
            dv[index]! += value;
          };
          toeplitz!.multiply(g, head.tokens, valueDim, spectrumOf(head.index), add, true);
          toeplitz!.correlate(g, head.v, head.tokens, valueDim, sums![head.index]!);
        }
        for (const [name, gradient, dim] of [
          ["dq", dq, headDim],
          ["dk", dk, headDim],
          ["dv", dv, valueDim],
        ] as const) {
          const target = memoryOf(name).floats.subarray(slice * length * dim, (slice + 1) * length * dim);
          target.set(gradient);
          target.fill(0, gradient.length);
        }
      }
      if (!sums) return;
      const dBias = memoryOf("dBias").floats;
      for (const [head, sum] of sums.entries()) {
        const own = dBias.subarray(head * weights, (head + 1) * weights);
        if (!toeplitz) {
          own.set(sum);
          continue;
        }
        if (bias === "fastrpb") {
          toeplitz.restore(sum, (index, value) => {
            own[index] = value;
          });
          continue;
        }
        // d/db = exp(b) d/dexp(b); the common factor exp(−max b) makes no difference to the loss.
        const exponentials = float64Array("cpu attention", weights);
        toeplitz.weightsOf(spectrumOf(head), (index, value) => {
          exponentials[index] = value;
        });
        toeplitz.restore(sum, (index, value) => {
          own[index] = value * exponentials[index]!;
        });
      }
    },
  };
}
