import { elementCount } from "../../core/check.ts";
import type { FftOf } from "../../math/fft.ts";
import { float64Array } from "../../math/memory.ts";
import { readLengths } from "../lengths.ts";
import type { CpuComputation, CpuMemory, Floats } from "../operation.ts";
import { createToeplitz, type Toeplitz } from "../toeplitz/cpu-product.ts";
import { countedRows, productOf } from "../toeplitz/outside.ts";
import { weightsShape } from "../toeplitz/spec.ts";
import type { Head, HeadAttention } from "./cpu-head.ts";
import { type HeadTensor, headTensor } from "./cpu-tensor.ts";
import { type AttentionShape, type AttentionSpec, biasSpec, hasSpectrum, keyShape, unseenKey } from "./spec.ts";

/** The weights of a multiplicative bias. */
export interface Multiplier {
  readonly toeplitz: Toeplitz;
  /** The spectrum of exp(b − max b), of a head. */
  readonly spectrumOf: (head: number) => Float64Array;
  /** The weights b of a head. */
  readonly weightsOf: (head: number) => Float64Array;
}

/** Attention of one head as the shape says, but for an additive bias, and its operations. */
export interface HeadKind {
  create(shape: AttentionShape, multiplier: Multiplier | undefined): HeadAttention;
  /** Roughly: an exponential counts as one. */
  flops(shape: AttentionShape): number;
}

/** Attention, head by head, plus the FastRPB product of the values if there is such a bias. `out`: [batch, heads, N, E]. */
export function attentionCpu(kind: HeadKind, spec: AttentionSpec, fftOf: FftOf): CpuComputation {
  const { batch, heads, valueDim, bias } = spec;
  const slices = batch * heads;
  const toeplitz = hasSpectrum(spec) ? createToeplitz(spec, fftOf) : undefined;
  const biasRows = biasRowsOf(spec);
  return {
    ...(toeplitz && { bytes: { spectrum: spectraBytes(spec, toeplitz) } }),
    flops: slices * (kind.flops(spec) + (toeplitz ? biasChannels(spec) * toeplitz.multiplyFlops : 0)),
    run(memoryOf) {
      const out = headTensor(spec, memoryOf, "out");
      const inputs = readInputs(spec, memoryOf);
      const spectra = toeplitz && memoryOf("spectrum").doubles;
      const spectrumOf = (head: number) => spectra!.subarray(head * toeplitz!.floats, (head + 1) * toeplitz!.floats);
      const attention = kind.create(spec, multiplierOf(spec, toeplitz, spectra));
      for (let slice = 0; slice < slices; slice++) {
        const head = inputs.head(slice);
        const result = float64Array("cpu attention", head.tokens * valueDim);
        attention.forward(head, result);
        if (bias === "fastrpb") {
          const { start: first, rows, channels } = biasRows(head.tokens);
          toeplitz!.multiply(filled(head.v.subarray(first), rows * channels), rows, channels, spectrumOf(head.index), (index, value) => {
            // Of cross-attention there may be more rows than queries.
            if (first + index < result.length) result[first + index]! += value;
          });
        }
        out.write(slice, result);
      }
    },
  };
}

/** Where the rows of an additive bias begin in the values of a head, how many of them count with so many tokens, and their channels. */
export function biasRowsOf(spec: AttentionShape) {
  const product = productOf(biasSpec(spec));
  const { channels, margin } = product;
  return (tokens: number) => ({ start: margin?.before ?? 0, rows: countedRows(product, tokens), channels });
}

/** The numbers, with zeros up to so many. */
export function filled(numbers: Float64Array, count: number): Float64Array {
  if (numbers.length >= count) return numbers;
  const result = float64Array("cpu attention", count);
  result.set(numbers);
  return result;
}

/** Bytes of the spectra of all heads, and behind them of the weights of a multiplicative bias. */
export function spectraBytes(spec: AttentionShape, toeplitz: Toeplitz): number {
  const kept = spec.bias === "multiplicative" ? elementCount(weightsShape(spec)) : 0;
  return toeplitz.bytesOf(spec.heads) + kept * Float64Array.BYTES_PER_ELEMENT;
}

/** The multiplier of a multiplicative bias, by its spectra. */
export function multiplierOf(spec: AttentionShape, toeplitz: Toeplitz | undefined, spectra: Float64Array | undefined): Multiplier | undefined {
  if (spec.bias !== "multiplicative" || !toeplitz || !spectra) return undefined;
  const weights = elementCount(weightsShape(spec).slice(1));
  const piece = (start: number, size: number) => spectra.subarray(start, start + size);
  return {
    toeplitz,
    spectrumOf: (head) => piece(head * toeplitz.floats, toeplitz.floats),
    weightsOf: (head) => piece(spec.heads * toeplitz.floats + head * weights, weights),
  };
}

/** Channels that go through the Toeplitz product. */
export function biasChannels({ bias, features, valueDim, gridChannels = 1 }: AttentionShape): number {
  return bias === "multiplicative" ? features * (valueDim + 1) : gridChannels * valueDim;
}

/** The tensors that go in, head by head. */
export interface AttentionInputs {
  /** Of a head of a batch entry. */
  head(slice: number): Head;
  /** The rows of that head that count. */
  rows(tensor: HeadTensor, slice: number): Float64Array;
}

export function readInputs(spec: AttentionShape, memoryOf: (name: string) => CpuMemory): AttentionInputs {
  const { heads, length, headDim, valueDim, variableLengths } = spec;
  const keyed = keyShape(spec);
  const [q, k, v] = [headTensor(spec, memoryOf, "q"), headTensor(spec, memoryOf, "k"), headTensor(spec, memoryOf, "v")];
  const lengths = variableLengths ? readLengths(memoryOf("lengths"), length) : undefined;
  const weights = spec.bias === "logits" ? memoryOf("bias").floats : undefined;
  const perHead = elementCount(weightsShape(spec)) / heads;
  const tokensOf = (slice: number) => (lengths ? lengths[Math.floor(slice / heads)]! : length);
  const rows = (tensor: HeadTensor, slice: number) => tensor.read(slice, tokensOf(slice));
  const rowsOfKeys = (tensor: HeadTensor, slice: number) =>
    tensor.read(Math.floor(slice / (heads / keyed.heads)), lengths ? tokensOf(slice) : keyed.length);
  const mask = spec.keyMask ? memoryOf("keyMask").floats : undefined;
  const maskOf = (slice: number) => mask?.subarray(Math.floor(slice / heads) * keyed.length, (Math.floor(slice / heads) + 1) * keyed.length);
  const unseen = unseenKey(spec);
  return {
    rows,
    head: (slice) => ({
      tokens: tokensOf(slice),
      ...(spec.keyLength !== undefined && { keys: spec.keyLength }),
      index: slice % heads,
      bias: weights?.subarray((slice % heads) * perHead, ((slice % heads) + 1) * perHead),
      q: rows(q, slice),
      k: masked(rowsOfKeys(k, slice), headDim, maskOf(slice), unseen),
      v: masked(rowsOfKeys(v, slice), valueDim, maskOf(slice), 0),
      keyMask: maskOf(slice),
    }),
  };
}

/** The rows, with `fill` in those that a mask leaves out. */
export function masked<Rows extends Floats>(rows: Rows, dim: number, mask: Floats | undefined, fill: number): Rows {
  for (let at = 0; mask && at < rows.length; at++) if (mask[Math.floor(at / dim)] === 0) rows[at] = fill;
  return rows;
}
