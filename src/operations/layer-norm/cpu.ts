import { STATISTICS } from "../../../shaders/nn/norm-rows.ts";
import { float64Array } from "../../math/memory.ts";
import type { CpuComputation, Floats } from "../operation.ts";
import type { NormGradientSpec, NormSpec, NormWeightGradientSpec } from "./spec.ts";

/** The mean of a row, 0 for `"rms"`, and its factor. */
function statisticsOf({ kind }: Pick<NormSpec, "kind">, statistics: Floats, row: number): readonly [mean: number, factor: number] {
  const at = row * STATISTICS[kind];
  return kind === "layer" ? [statistics[at]! + statistics[at + 1]!, statistics[at + 2]!] : [0, statistics[at]!];
}

function meanOf(width: number, term: (column: number) => number): number {
  let sum = 0;
  for (let c = 0; c < width; c++) sum += term(c);
  return sum / width;
}

export function normCpu({ kind, rows, width, epsilon, bias: hasBias }: NormSpec): CpuComputation {
  return {
    flops: 8 * rows * width,
    run(memoryOf) {
      const [x, weight, out, statistics] = [memoryOf("x").floats, memoryOf("weight").floats, memoryOf("out").floats, memoryOf("statistics").floats];
      const bias = hasBias ? memoryOf("bias").floats : undefined;
      for (let row = 0; row < rows; row++) {
        const start = row * width;
        const mean = kind === "layer" ? meanOf(width, (c) => x[start + c]!) : 0;
        const factor = 1 / Math.sqrt(meanOf(width, (c) => (x[start + c]! - mean) ** 2) + epsilon);
        for (let c = 0; c < width; c++) out[start + c] = (x[start + c]! - mean) * factor * weight[c]! + (bias?.[c] ?? 0);
        const own = kind === "layer" ? [Math.fround(mean), mean - Math.fround(mean), factor] : [factor];
        statistics.set(own, row * own.length);
      }
    },
  };
}

export function normGradientCpu(spec: NormGradientSpec): CpuComputation {
  const { kind, rows, width } = spec;
  return {
    flops: 11 * rows * width,
    run(memoryOf) {
      const [x, dOut, weight, statistics] = [memoryOf("x").floats, memoryOf("dOut").floats, memoryOf("weight").floats, memoryOf("statistics").floats];
      const dX = memoryOf("dX").floats;
      for (let row = 0; row < rows; row++) {
        const start = row * width;
        const [mean, factor] = statisticsOf(spec, statistics, row);
        const normalised = (c: number) => (x[start + c]! - mean) * factor;
        const given = (c: number) => dOut[start + c]! * weight[c]!;
        const level = kind === "layer" ? meanOf(width, given) : 0;
        const along = meanOf(width, (c) => given(c) * normalised(c));
        for (let c = 0; c < width; c++) dX[start + c] = factor * (given(c) - level - normalised(c) * along);
      }
    },
  };
}

export function normWeightGradientCpu(spec: NormWeightGradientSpec): CpuComputation {
  const { rows, width, bias } = spec;
  const [weights, biases] = [float64Array("cpu norm", width), float64Array("cpu norm", width)];
  return {
    flops: 5 * rows * width,
    run(memoryOf) {
      const [x, dOut, statistics] = [memoryOf("x").floats, memoryOf("dOut").floats, memoryOf("statistics").floats];
      weights.fill(0);
      biases.fill(0);
      for (let row = 0; row < rows; row++) {
        const [mean, factor] = statisticsOf(spec, statistics, row);
        for (let c = 0, i = row * width; c < width; c++, i++) {
          weights[c]! += dOut[i]! * (x[i]! - mean) * factor;
          biases[c]! += dOut[i]!;
        }
      }
      memoryOf("dWeight").floats.set(weights);
      if (bias) memoryOf("dBias").floats.set(biases);
    },
  };
}
