import { float64Array } from "../../math/memory.ts";
import { readLengths } from "../lengths.ts";
import type { CpuComputation, CpuMemory } from "../operation.ts";
import type { MeanOverTokensGradientSpec, MeanOverTokensSpec } from "./spec.ts";

/** How many tokens of each sequence count. */
function tokensOf({ length, variableLengths }: Pick<MeanOverTokensSpec, "length" | "variableLengths">, memoryOf: (name: string) => CpuMemory) {
  const lengths = variableLengths ? readLengths(memoryOf("lengths"), length) : undefined;
  return (b: number) => lengths?.[b] ?? length;
}

export function meanOverTokensCpu(spec: MeanOverTokensSpec): CpuComputation {
  const { batch, length, width } = spec;
  const sums = float64Array("cpu mean over tokens", width);
  return {
    flops: batch * length * width,
    run(memoryOf) {
      const [x, out] = [memoryOf("x").floats, memoryOf("out").floats];
      const tokens = tokensOf(spec, memoryOf);
      for (let b = 0; b < batch; b++) {
        const count = tokens(b);
        sums.fill(0);
        for (let n = 0, i = b * length * width; n < count; n++) for (let c = 0; c < width; c++, i++) sums[c]! += x[i]!;
        for (let c = 0; c < width; c++) out[b * width + c] = sums[c]! / Math.max(count, 1);
      }
    },
  };
}

export function meanOverTokensGradientCpu(spec: MeanOverTokensGradientSpec): CpuComputation {
  const { batch, length, width } = spec;
  return {
    flops: batch * length * width,
    run(memoryOf) {
      const [dOut, dX] = [memoryOf("dOut").floats, memoryOf("dX").floats];
      const tokens = tokensOf(spec, memoryOf);
      for (let b = 0, i = 0; b < batch; b++) {
        const count = tokens(b);
        for (let n = 0; n < length; n++) for (let c = 0; c < width; c++, i++) dX[i] = n < count ? dOut[b * width + c]! / count : 0;
      }
    },
  };
}
