import type { CpuComputation } from "../operation.ts";
import type { EmbeddingGradientSpec, EmbeddingSpec } from "./spec.ts";

export function embeddingCpu({ tokens, count, width }: EmbeddingSpec): CpuComputation {
  return {
    flops: 0,
    run(memoryOf) {
      const indices = memoryOf("indices").words;
      const table = memoryOf("table").floats;
      const out = memoryOf("out").floats;
      for (let token = 0; token < tokens; token++) {
        const index = indices[token]!;
        if (index < count) out.set(table.subarray(index * width, (index + 1) * width), token * width);
        else out.fill(NaN, token * width, (token + 1) * width);
      }
    },
  };
}

export function embeddingGradientCpu({ tokens, count, width }: EmbeddingGradientSpec): CpuComputation {
  return {
    flops: tokens * width,
    run(memoryOf) {
      const indices = memoryOf("indices").words;
      const dOut = memoryOf("dOut").floats;
      const sums = new Float64Array(count * width);
      for (let token = 0; token < tokens; token++) {
        const index = indices[token]!;
        if (index >= count) continue;
        for (let c = 0; c < width; c++) sums[index * width + c]! += dOut[token * width + c]!;
      }
      memoryOf("dTable").floats.set(sums);
    },
  };
}
