import fixtures from "./fixtures/attention.json" with { type: "json" };
import type { AttentionOptions } from "./specs.ts";

/** An attention and its gradients as PyTorch computes them: scripts/make-attention-fixtures.py. */
export interface AttentionFixture {
  readonly options: AttentionOptions;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly dOut: Float32Array;
  /** With a bias only. */
  readonly weights?: Float32Array;
  /** With variable lengths only. */
  readonly lengths?: readonly number[];
  /** What is expected. */
  readonly out: Float64Array;
  readonly dq: Float64Array;
  readonly dk: Float64Array;
  readonly dv: Float64Array;
  readonly dBias?: Float64Array;
}

export function attentionFixtures(): readonly AttentionFixture[] {
  return fixtures.map(({ options, q, k, v, dOut, weights, lengths, out, dq, dk, dv, dBias }) => ({
    options: options as unknown as AttentionOptions,
    q: Float32Array.from(q),
    k: Float32Array.from(k),
    v: Float32Array.from(v),
    dOut: Float32Array.from(dOut),
    ...(weights && { weights: Float32Array.from(weights) }),
    ...(lengths && { lengths }),
    out: Float64Array.from(out),
    dq: Float64Array.from(dq),
    dk: Float64Array.from(dk),
    dv: Float64Array.from(dv),
    ...(dBias && { dBias: Float64Array.from(dBias) }),
  }));
}
