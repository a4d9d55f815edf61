import { createHeadAttention, headFlops } from "./cpu-head-attention.ts";
import type { Head } from "./cpu-head.ts";
import { float64Array } from "../../math/memory.ts";
import type { AttentionShape, AttentionSpec } from "../specs.ts";
import type { CpuStorage } from "../../cpu/storage.ts";
import { FLOAT_BYTES, type CpuOperation, type FftOf } from "../cpu.ts";
import { createToeplitz } from "../toeplitz/cpu-product.ts";
import { spectrumCostBytes, spectrumStorageBytes } from "../toeplitz/cpu-spectrum.ts";

/** Attention, head by head, plus the FastRPB product of the values if there is such a bias. `out`: [batch, heads, N, E]. */
export function attentionOperation(spec: AttentionSpec, fftOf: FftOf): CpuOperation {
  const { batch, heads, length, valueDim, bias } = spec;
  const slices = batch * heads;
  const toeplitz = bias === "none" ? undefined : createToeplitz(spec, fftOf);
  const { bytes, minimum } = inputBytes(spec);
  return {
    label: "attention",
    bytes: { ...bytes, out: bytes.v },
    bytesMinimum: minimum + bytes.v,
    flops: slices * (headFlops(spec) + (toeplitz ? biasChannels(spec) * toeplitz.multiplyFlops : 0)),
    run(binding) {
      const out = binding("out").floats;
      const inputs = readInputs(spec, binding);
      const spectra = toeplitz && binding("spectrum").doubles;
      const spectrumOf = (head: number) => spectra!.subarray(head * toeplitz!.floats, (head + 1) * toeplitz!.floats);
      const attention = createHeadAttention(spec, bias === "multiplicative" ? { toeplitz: toeplitz!, spectrumOf } : undefined);
      for (let slice = 0; slice < slices; slice++) {
        const head = inputs.head(slice);
        const result = float64Array("cpu attention", head.tokens * valueDim);
        attention.forward(head, result);
        if (bias === "fastrpb") {
          toeplitz!.multiply(head.v, head.tokens, valueDim, spectrumOf(head.index), (index, value) => {
            result[index]! += value;
          });
        }
        const start = slice * length * valueDim;
        out.set(result, start);
        out.fill(0, start + result.length, start + length * valueDim);
      }
    },
  };
}

/** Channels that go through the Toeplitz product. */
export function biasChannels({ bias, features, valueDim }: AttentionShape): number {
  return bias === "multiplicative" ? features * (valueDim + 1) : valueDim;
}

/** Bytes of the tensors that go in, and of those what every computation has to read. */
export function inputBytes(spec: AttentionShape): {
  readonly bytes: Readonly<Record<"q" | "k" | "v", number>> & Readonly<Record<string, number>>;
  readonly minimum: number;
} {
  const rows = FLOAT_BYTES * spec.batch * spec.heads * spec.length;
  const tensors = { q: rows * spec.headDim, k: rows * spec.headDim, v: rows * spec.valueDim };
  const lengths = spec.variableLengths ? { lengths: FLOAT_BYTES * spec.batch } : {};
  const biased = spec.bias !== "none";
  return {
    bytes: { ...tensors, ...lengths, ...(biased && { spectrum: spectrumStorageBytes(spec) }) },
    minimum: tensors.q + tensors.k + tensors.v + (lengths.lengths ?? 0) + (biased ? spectrumCostBytes(spec) : 0),
  };
}

/** The tensors that go in, head by head. */
export interface AttentionInputs {
  /** Of a head of a batch entry. */
  head(slice: number): Head;
  /** The rows of that head that count, of a tensor [batch, heads, N, dim]. */
  rows(tensor: Float32Array, slice: number, dim: number): Float64Array;
}

export function readInputs(spec: AttentionShape, binding: (name: string) => CpuStorage): AttentionInputs {
  const { heads, length, headDim, valueDim, variableLengths } = spec;
  const [q, k, v] = [binding("q").floats, binding("k").floats, binding("v").floats];
  const lengths = variableLengths ? binding("lengths").words : undefined;
  const tokensOf = (slice: number) => (lengths ? lengths[Math.floor(slice / heads)]! : length);
  const rows = (tensor: Float32Array, slice: number, dim: number) => {
    const start = slice * length * dim;
    return Float64Array.from(tensor.subarray(start, start + tokensOf(slice) * dim));
  };
  return {
    rows,
    head: (slice) => ({
      tokens: tokensOf(slice),
      index: slice % heads,
      q: rows(q, slice, headDim),
      k: rows(k, slice, headDim),
      v: rows(v, slice, valueDim),
    }),
  };
}
