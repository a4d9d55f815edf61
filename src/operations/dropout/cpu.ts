import { foldSeed, pcg4d } from "../../math/counter-random.ts";
import type { CpuComputation } from "../operation.ts";
import { type DropoutSpec, keepThreshold } from "./spec.ts";

export function dropoutCpu({ size, rate, site }: DropoutSpec): CpuComputation {
  const threshold = keepThreshold(rate);
  const scale = 1 / (1 - rate);
  return {
    flops: size,
    run(memoryOf) {
      const [low, high, step] = memoryOf("clock").words as unknown as readonly [number, number, number];
      const seed = foldSeed(low, high);
      const x = memoryOf("x").floats;
      const out = memoryOf("out").floats;
      for (let i = 0; i < size; i += 4) {
        const words = pcg4d(seed, step, site, i / 4);
        for (let k = 0; k < Math.min(4, size - i); k++) out[i + k] = x[i + k]! * (words[k]! >= threshold ? scale : 0);
      }
    },
  };
}
