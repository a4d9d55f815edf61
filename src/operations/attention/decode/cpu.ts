import { BLOCK } from "../../../../shaders/attention/decode/step.ts";
import { sum } from "../../../program/units.ts";
import type { CpuComputation, CpuFunction, CpuMemory, Floats } from "../../operation.ts";
import { toeplitzCpu } from "../../toeplitz/cpu.ts";
import { createProjection } from "../cpu-projection.ts";
import { isNothing, plainFeature } from "../linear/cpu-state.ts";
import { isProjected } from "../spec.ts";
import { blockProduct, type DecodeSpec, plainFeatureMap, stateOf, type WeightWindowSpec } from "./spec.ts";

/** The steps and block products as on the GPU (attention/decode/step.ts), summed in float64; what is kept between steps is float32. */
export const decodeCpu: CpuFunction<DecodeSpec> = ({ shape, tokens, stages }, fftOf) => {
  const { batch, heads, length, headDim, features: D, valueDim: E, featureMap, bias } = shape;
  const layout = stateOf(shape);
  const stride = 4 * Math.ceil(E / 4);
  const biased = bias === "fastrpb";
  const plain = plainFeatureMap(featureMap);
  const projection = isProjected(shape) ? createProjection(shape) : undefined;
  const featuresOf = (x: Floats, keys: boolean): Floats => {
    if (!projection) return x;
    const result = new Float64Array((x.length / headDim) * D);
    projection.project(Float64Array.from(x), result, keys);
    return result;
  };
  const products = new Map(stages.filter(({ block }) => block > 0).map(({ block }) => [block, toeplitzCpu(blockProduct(shape, block), fftOf)]));
  const phi = new Float64Array(D);

  /** Takes one token of a head into its state at `at`, and puts its result into `out` at `to`. */
  const step = (states: Floats, at: number, q: ArrayLike<number>, k: ArrayLike<number>, row: number, v: Floats, from: number, out: Float64Array) => {
    const position = states[at]!;
    const last = (position + 1) % BLOCK === 0;
    let top = -Infinity;
    let denominator = 0;
    const decay = new Float64Array(D);
    const added = new Float64Array(D);
    for (let d = 0; d < D; d++) {
      const [query, key] = [q[row + d]!, k[row + d]!];
      const before = states[at + layout.maximum + d]!;
      if (plain) {
        const feature = plainFeature(plain, key);
        const exponent = feature > 0 ? Math.max(before, Math.floor(Math.log2(feature))) : before;
        states[at + layout.maximum + d] = exponent;
        decay[d] = 2 ** (before - exponent);
        added[d] = feature && feature / 2 ** exponent;
        phi[d] = plainFeature(plain, query) * 2 ** exponent;
        continue;
      }
      const reference = Math.fround(Math.max(before, key));
      states[at + layout.maximum + d] = reference;
      decay[d] = Math.exp(before - reference);
      added[d] = Math.exp(key - reference);
      phi[d] = featureMap === "softmax" ? query : query + reference;
      top = Math.max(top, phi[d]!);
    }
    out.fill(0);
    for (let d = 0; d < D; d++) {
      if (!plain) phi[d] = Math.exp(phi[d]! - top);
      const move = (index: number, more: number): number => {
        const past = states[index]! * decay[d]!;
        const present = states[index + layout.present]! * decay[d]! + more;
        states[index] = last ? past + present : past;
        states[index + layout.present] = last ? 0 : present;
        return past + present;
      };
      const z = move(at + layout.sum + d, added[d]!);
      denominator += featureMap === "softmax" ? phi[d]! : phi[d]! * z;
      if (featureMap === "softmax") phi[d]! /= z;
      for (let e = 0; e < E; e++) out[e]! += phi[d]! * move(at + layout.products + d * stride + e, added[d]! * v[from + e]!);
    }
    for (let e = 0; e < E; e++) out[e] = isNothing(denominator) ? 0 : out[e]! / denominator;
    states[at] = position + 1;
  };

  return {
    flops: sum(stages, ({ tokens: some }) => batch * heads * some * 8 * D * E) + sum([...products.values()], ({ flops }) => flops),
    run(memoryOf) {
      const floats = (name: string) => memoryOf(name).floats;
      const [q, k, v, states, out] = [featuresOf(floats("q"), false), featuresOf(floats("k"), true), floats("v"), floats("states"), floats("out")];
      const [history, weights] = biased ? [floats("history"), floats("weights")] : [];
      const result = new Float64Array(E);
      let first = 0;
      for (const stage of stages) {
        for (let bh = 0; bh < batch * heads; bh++) {
          const at = bh * layout.size;
          for (let token = first; token < first + stage.tokens; token++) {
            const row = bh * tokens + token;
            const position = states[at]!;
            step(states, at, q, k, row * D, v, row * E, result);
            if (history && weights) {
              const values = bh * 2 * length;
              for (let e = 0; e < E; e++) history[(values + position) * E + e] = v[row * E + e]!;
              for (let j = position - (position % BLOCK); j <= position; j++) {
                const weight = weights[(bh % heads) * BLOCK + BLOCK - 1 + j - position]!;
                for (let e = 0; e < E; e++) result[e]! += weight * history[(values + j) * E + e]!;
              }
              if (position >= BLOCK) for (let e = 0; e < E; e++) result[e]! += history[(values + length + position) * E + e]!;
            }
            out.set(result, row * E);
          }
        }
        if (stage.block > 0) blockStage(memoryOf, stage.block);
        first += stage.tokens;
      }
    },
  };

  function blockStage(memoryOf: (name: string) => CpuMemory, block: number): void {
    const history = memoryOf("history").floats;
    const position = memoryOf("states").floats[0]!;
    const memory = { v: new Float32Array(batch * heads * block * E), out: new Float32Array(batch * heads * block * E) };
    for (let bh = 0; bh < batch * heads; bh++) {
      const from = (bh * 2 * length + position - block) * E;
      memory.v.set(history.subarray(from, from + block * E), bh * block * E);
    }
    products.get(block)!.run((name) => {
      if (name === "spectrum") return memoryOf(`spectrum${block}`);
      return { floats: memory[name as "v" | "out"] } as CpuMemory;
    });
    for (let bh = 0; bh < batch * heads; bh++) {
      const to = (bh * 2 * length + length + position) * E;
      for (let i = 0, end = Math.min(block, length - position) * E; i < end; i++) {
        history[to + i] = memory.out[bh * block * E + i]! + (position > block ? history[to + i]! : 0);
      }
    }
  }
};

/** The copy of some weights of each head. */
export const weightWindowCpu: CpuFunction<WeightWindowSpec> = ({ heads, length, first, count }): CpuComputation => ({
  flops: 0,
  run(memoryOf) {
    const weights = memoryOf("weights").floats;
    const window = memoryOf("window").floats;
    for (let h = 0; h < heads; h++) {
      for (let o = 0; o < count; o++) window[h * count + o] = first + o < 0 ? 0 : weights[h * (2 * length - 1) + first + o]!;
    }
  },
});
