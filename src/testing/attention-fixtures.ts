import fixtures from "./fixtures/attention.json" with { type: "json" };
import layers from "./fixtures/layers.json" with { type: "json" };
import type { AttentionOptions } from "./specs.ts";

/** An attention and its gradients as PyTorch computes them: scripts/make-attention-fixtures.py and make-layer-fixtures.py. */
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
  /** With a mask over keys only. */
  readonly keyMask?: Uint8Array;
  /** What is expected. */
  readonly out: Float64Array;
  readonly dq: Float64Array;
  readonly dk: Float64Array;
  readonly dv: Float64Array;
  readonly dBias?: Float64Array;
}

/** Every kind of attention, as its definition. */
export function attentionFixtures(): readonly AttentionFixture[] {
  return fixtures.map(read);
}

/** Linear attention with FastRPB as layers of the paper's author have it, in all forms of the weights. */
export function layerFixtures(): readonly AttentionFixture[] {
  return layers.map(read);
}

/** A fixture in JSON. */
interface Written extends Readonly<Record<"q" | "k" | "v" | "dOut" | "out" | "dq" | "dk" | "dv", number[]>> {
  readonly options: object;
  readonly weights?: number[];
  readonly lengths?: number[];
  readonly keyMask?: number[];
  readonly dBias?: number[];
}

function read({ options, q, k, v, dOut, weights, lengths, keyMask, out, dq, dk, dv, dBias }: Written): AttentionFixture {
  return {
    options: options as AttentionOptions,
    q: Float32Array.from(q),
    k: Float32Array.from(k),
    v: Float32Array.from(v),
    dOut: Float32Array.from(dOut),
    ...(weights && { weights: Float32Array.from(weights) }),
    ...(lengths && { lengths }),
    ...(keyMask && { keyMask: Uint8Array.from(keyMask) }),
    out: Float64Array.from(out),
    dq: Float64Array.from(dq),
    dk: Float64Array.from(dk),
    dv: Float64Array.from(dv),
    ...(dBias && { dBias: Float64Array.from(dBias) }),
  };
}
