import type { CpuComputation } from "../operation.ts";
import { ALL_FINITE } from "./spec.ts";

export function findNonFiniteCpu(): CpuComputation {
  return {
    flops: 0,
    run(memoryOf) {
      const first = memoryOf("source").floats.findIndex((value) => !Number.isFinite(value));
      memoryOf("found").words[0] = first < 0 ? ALL_FINITE : first;
    },
  };
}
