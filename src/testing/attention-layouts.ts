/** Numbers of attention from one order to another, by copying: what the tests hold kernels to that read them where they lie. */
import { type AttentionSpec, keyShape } from "./specs.ts";

/**
 * Numbers [batch, heads, N, dim] of a tensor as [batch, N, heads, dim], or with `back` the other way round; as they are where the layout is head by
 * head.
 */
export function arranged(spec: AttentionSpec, tensor: string, numbers: Float32Array, back = false): Float32Array {
  const { batch, heads, length, layout } = /[kv]$/.test(tensor) ? keyShape(spec) : spec;
  if (layout === "bhnd") return numbers;
  const dim = numbers.length / (batch * heads * length);
  const other = new Float32Array(numbers.length);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let n = 0; n < length; n++) {
        const [byHead, byToken] = [((b * heads + h) * length + n) * dim, ((b * length + n) * heads + h) * dim];
        const [from, to] = back ? [byToken, byHead] : [byHead, byToken];
        other.set(numbers.subarray(from, from + dim), to);
      }
    }
  }
  return other;
}

/** Queries, keys and values, each [batch, N, heads·dim], as one tensor of all numbers of a token. */
export function joined(spec: AttentionSpec, parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  eachPart(spec, (i, token, at, width) => whole.set(parts[i]!.subarray(token * width, (token + 1) * width), at));
  return whole;
}

/** The parts of {@link joined}. */
export function parted(spec: AttentionSpec, whole: Float32Array): readonly [Float32Array, Float32Array, Float32Array] {
  const { batch, heads, length, headDim, valueDim } = spec;
  const part = (dim: number) => new Float32Array(batch * length * heads * dim);
  const parts = [part(headDim), part(headDim), part(valueDim)] as const;
  eachPart(spec, (i, token, at, width) => parts[i].set(whole.subarray(at, at + width), token * width));
  return [...parts];
}

function eachPart(
  { batch, heads, length, headDim, valueDim }: AttentionSpec,
  take: (part: 0 | 1 | 2, token: number, at: number, width: number) => void,
): void {
  let at = 0;
  for (let token = 0; token < batch * length; token++) {
    for (const part of [0, 1, 2] as const) {
      const width = heads * (part === 2 ? valueDim : headDim);
      take(part, token, at, width);
      at += width;
    }
  }
}
