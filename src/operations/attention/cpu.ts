import { elementCount } from "../../core/check.ts";
import type { FftOf } from "../../math/fft.ts";
import { float64Array } from "../../math/memory.ts";
import type { CpuComputation, CpuMemory } from "../operation.ts";
import { createToeplitz, type Toeplitz } from "../toeplitz/cpu-product.ts";
import type { Head, HeadAttention } from "./cpu-head.ts";
import { weightsShape } from "../toeplitz/spec.ts";
import { type AttentionShape, type AttentionSpec, hasSpectrum } from "./spec.ts";

/** The weights of a multiplicative bias. */
export interface Multiplier {
  readonly toeplitz: Toeplitz;
  /** The spectrum of exp(b − max b), of a head. */
  readonly spectrumOf: (head: number) => Float64Array;
}

/** Attention of one head as the shape says, but for an additive bias, and its operations. */
export interface HeadKind {
  create(shape: AttentionShape, multiplier: Multiplier | undefined): HeadAttention;
  /** Roughly: an exponential counts as one. */
  flops(shape: AttentionShape): number;
}

/** Attention, head by head, plus the FastRPB product of the values if there is such a bias. `out`: [batch, heads, N, E]. */
export function attentionCpu(kind: HeadKind, spec: AttentionSpec, fftOf: FftOf): CpuComputation {
  const { batch, heads, length, valueDim, bias } = spec;
  const slices = batch * heads;
  const toeplitz = hasSpectrum(spec) ? createToeplitz(spec, fftOf) : undefined;
  return {
    ...(toeplitz && { spectrumBytes: toeplitz.bytesOf(heads) }),
    flops: slices * (kind.flops(spec) + (toeplitz ? biasChannels(spec) * toeplitz.multiplyFlops : 0)),
    run(memoryOf) {
      const out = memoryOf("out").floats;
      const inputs = readInputs(spec, memoryOf);
      const spectra = toeplitz && memoryOf("spectrum").doubles;
      const spectrumOf = (head: number) => spectra!.subarray(head * toeplitz!.floats, (head + 1) * toeplitz!.floats);
      const attention = kind.create(spec, bias === "multiplicative" ? { toeplitz: toeplitz!, spectrumOf } : undefined);
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

/** The tensors that go in, head by head. */
export interface AttentionInputs {
  /** Of a head of a batch entry. */
  head(slice: number): Head;
  /** The rows of that head that count, of a tensor [batch, heads, N, dim]. */
  rows(tensor: Float32Array, slice: number, dim: number): Float64Array;
}

export function readInputs(spec: AttentionShape, memoryOf: (name: string) => CpuMemory): AttentionInputs {
  const { heads, length, headDim, valueDim, variableLengths } = spec;
  const [q, k, v] = [memoryOf("q").floats, memoryOf("k").floats, memoryOf("v").floats];
  const lengths = variableLengths ? memoryOf("lengths").words : undefined;
  const weights = spec.bias === "logits" ? memoryOf("bias").floats : undefined;
  const perHead = elementCount(weightsShape(spec)) / heads;
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
      bias: weights?.subarray((slice % heads) * perHead, ((slice % heads) + 1) * perHead),
      q: rows(q, slice, headDim),
      k: rows(k, slice, headDim),
      v: rows(v, slice, valueDim),
    }),
  };
}
