/** Losses and their gradients in float64. Numbers that are not finite go where IEEE arithmetic takes them. */
import type { CpuComputation } from "../operation.ts";
import type { CrossEntropyGradientSpec, CrossEntropySpec, MeanSquaredErrorGradientSpec, MeanSquaredErrorSpec } from "./spec.ts";

export function crossEntropyCpu({ rows, classes, labelSmoothing }: CrossEntropySpec): CpuComputation {
  return {
    flops: 4 * rows * classes,
    run(memoryOf) {
      const logits = memoryOf("logits").floats;
      const targets = memoryOf("targets").words;
      const statistics = memoryOf("statistics").floats;
      let [sum, count, hits] = [0, 0, 0];
      for (let row = 0; row < rows; row++) {
        const start = row * classes;
        let largest = 0;
        for (let c = 1; c < classes; c++) if (logits[start + c]! > logits[start + largest]!) largest = c;
        const maximum = logits[start + largest]!;
        // The term of the maximum is 1, unless it is not finite.
        let rest = Math.exp(maximum - maximum) - 1;
        let below = 0;
        for (let c = 0; c < classes; c++) {
          const difference = logits[start + c]! - maximum;
          if (c !== largest) rest += Math.exp(difference);
          below += difference;
        }
        const spread = Math.log1p(rest);
        statistics[2 * row] = maximum;
        statistics[2 * row + 1] = spread;
        const target = targets[row]!;
        if (target >= classes) continue;
        count++;
        if (target === largest && !Number.isNaN(spread)) hits++;
        sum += spread - (1 - labelSmoothing) * (logits[start + target]! - maximum);
        if (labelSmoothing > 0) sum -= (labelSmoothing / classes) * below;
      }
      memoryOf("loss").floats[0] = count === 0 ? 0 : sum / count;
      memoryOf("counts").words.set([count, hits]);
    },
  };
}

export function crossEntropyGradientCpu({ rows, classes, labelSmoothing }: CrossEntropyGradientSpec): CpuComputation {
  return {
    flops: 4 * rows * classes,
    run(memoryOf) {
      const logits = memoryOf("logits").floats;
      const targets = memoryOf("targets").words;
      const statistics = memoryOf("statistics").floats;
      const dLogits = memoryOf("dLogits").floats;
      const factor = memoryOf("dLoss").floats[0]! / memoryOf("counts").words[0]!;
      for (let row = 0; row < rows; row++) {
        const start = row * classes;
        const target = targets[row]!;
        if (target >= classes) {
          dLogits.fill(0, start, start + classes);
          continue;
        }
        for (let c = 0; c < classes; c++) {
          const p = Math.exp(logits[start + c]! - statistics[2 * row]! - statistics[2 * row + 1]!);
          dLogits[start + c] = factor * (p - labelSmoothing / classes - (c === target ? 1 - labelSmoothing : 0));
        }
      }
    },
  };
}

export function meanSquaredErrorCpu({ size }: MeanSquaredErrorSpec): CpuComputation {
  return {
    flops: 3 * size,
    run(memoryOf) {
      const x = memoryOf("x").floats;
      const y = memoryOf("y").floats;
      let sum = 0;
      for (let i = 0; i < size; i++) sum += (x[i]! - y[i]!) ** 2;
      memoryOf("loss").floats[0] = sum / size;
    },
  };
}

export function meanSquaredErrorGradientCpu({ size }: MeanSquaredErrorGradientSpec): CpuComputation {
  return {
    flops: 2 * size,
    run(memoryOf) {
      const x = memoryOf("x").floats;
      const y = memoryOf("y").floats;
      const dx = memoryOf("dx").floats;
      const factor = (2 * memoryOf("dLoss").floats[0]!) / size;
      for (let i = 0; i < size; i++) dx[i] = factor * (x[i]! - y[i]!);
    },
  };
}
