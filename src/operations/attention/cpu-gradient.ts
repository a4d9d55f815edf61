import { elementCount } from "../../core/check.ts";
import type { FftOf } from "../../math/fft.ts";
import { float64Array } from "../../math/memory.ts";
import type { CpuComputation } from "../operation.ts";
import { createToeplitz } from "../toeplitz/cpu-product.ts";
import { exponentialsOf } from "../toeplitz/cpu-spectrum.ts";
import { weightsShape } from "../toeplitz/spec.ts";
import { biasChannels, biasRowsOf, filled, type HeadKind, masked, multiplierOf, readInputs, spectraBytes } from "./cpu.ts";
import type { HeadGradients } from "./cpu-head.ts";
import { headTensor } from "./cpu-tensor.ts";
import { type AttentionGradientSpec, hasSpectrum, keyShape } from "./spec.ts";

/** dq, dk, dv and, with a bias, that of its weights. What lies beyond a length has no gradient. */
export function attentionGradientCpu(kind: HeadKind, spec: AttentionGradientSpec, fftOf: FftOf): CpuComputation {
  const { batch, heads, headDim, valueDim, bias } = spec;
  const slices = batch * heads;
  const groupHeads = heads / keyShape(spec).heads;
  const toeplitz = hasSpectrum(spec) ? createToeplitz(spec, fftOf) : undefined;
  const weights = elementCount(weightsShape(spec).slice(1));
  const biasRows = biasRowsOf(spec);
  return {
    ...(toeplitz && { bytes: { spectrum: spectraBytes(spec, toeplitz) } }),
    flops: slices * (3 * kind.flops(spec) + (toeplitz ? 3 * biasChannels(spec) * toeplitz.multiplyFlops : 0)),
    run(memoryOf) {
      const dOut = headTensor(spec, memoryOf, "dOut");
      const results = { dq: headTensor(spec, memoryOf, "dq"), dk: headTensor(spec, memoryOf, "dk"), dv: headTensor(spec, memoryOf, "dv") };
      const inputs = readInputs(spec, memoryOf);
      const spectra = toeplitz && memoryOf("spectrum").doubles;
      const spectrumOf = (head: number) => spectra!.subarray(head * toeplitz!.floats, (head + 1) * toeplitz!.floats);
      const multiplier = multiplierOf(spec, toeplitz, spectra);
      const attention = kind.create(spec, multiplier);
      const sums =
        bias === "none"
          ? undefined
          : Array.from({ length: heads }, () => ({
              spectrum: float64Array("cpu attention", toeplitz?.floats ?? 0),
              direct: float64Array("cpu attention", bias === "fastrpb" ? 0 : weights),
            }));
      let group: Pick<HeadGradients, "dk" | "dv"> | undefined;
      for (let slice = 0; slice < slices; slice++) {
        const head = inputs.head(slice);
        const g = inputs.rows(dOut, slice);
        const { tokens, keys = tokens } = head;
        const [dq, dk, dv] = [tokens * headDim, keys * headDim, keys * valueDim].map((size) => float64Array("cpu attention", size)) as [
          Float64Array,
          Float64Array,
          Float64Array,
        ];
        attention.backward(head, g, { dq, dk, dv }, sums?.[head.index]);
        if (bias === "fastrpb") {
          const { start, rows, channels } = biasRows(head.tokens);
          const add = (index: number, value: number) => {
            // Of cross-attention there may be more rows than keys.
            if (start + index < dv.length) dv[start + index]! += value;
          };
          const own = filled(g.subarray(start), rows * channels);
          toeplitz!.multiply(own, rows, channels, spectrumOf(head.index), add, true);
          toeplitz!.correlate(own, filled(head.v.subarray(start), rows * channels), rows, channels, sums![head.index]!.spectrum);
        }
        // Heads that share keys and values add up: the first one has the sums, the last one stores them.
        if (slice % groupHeads === 0) group = { dk, dv };
        else {
          for (const [at, value] of dk.entries()) group!.dk[at]! += value;
          for (const [at, value] of dv.entries()) group!.dv[at]! += value;
        }
        results.dq.write(slice, dq);
        if ((slice + 1) % groupHeads > 0) continue;
        const keySlice = Math.floor(slice / groupHeads);
        results.dk.write(keySlice, masked(group!.dk, headDim, head.keyMask, 0));
        results.dv.write(keySlice, masked(group!.dv, valueDim, head.keyMask, 0));
      }
      if (!sums) return;
      const dBias = memoryOf("dBias").floats;
      for (const [head, { spectrum: sum, direct }] of sums.entries()) {
        const own = toeplitz ? float64Array("cpu attention", weights) : direct;
        toeplitz?.restore(sum, (index, value) => {
          own[index]! += value;
        });
        if (multiplier) {
          // d/db = exp(b) d/dexp(b); the common factor exp(−max b) makes no difference to the loss.
          const exponentials = exponentialsOf(multiplier.weightsOf(head), spec);
          for (const [index, value] of own.entries()) own[index] = value * exponentials[index]! + direct[index]!;
        }
        dBias.set(own, head * weights);
      }
    },
  };
}
