import type { CpuComputation, CpuMemory, Floats } from "../operation.ts";
import {
  type AdamWSpec,
  type AverageSpec,
  HISTORY_COLUMNS,
  HISTORY_ROWS,
  type RecordSpec,
  type SgdSpec,
  type SumOfSquaresSpec,
  type UpdateSpec,
} from "./spec.ts";

export function sumOfSquaresCpu({ size }: SumOfSquaresSpec): CpuComputation {
  return {
    flops: 2 * size,
    run(memoryOf) {
      const x = memoryOf("x").floats;
      let sum = 0;
      for (let i = 0; i < size; i++) sum += x[i]! * x[i]!;
      memoryOf("out").floats[0] = sum;
    },
  };
}

export function guardCpu(): CpuComputation {
  return {
    flops: 0,
    run(memoryOf) {
      const fails = (name: string) => !Number.isFinite(memoryOf(name).floats[0]);
      const found = (fails("loss") ? 1 : 0) + (fails("norm") ? 2 : 0);
      const health = memoryOf("health").words;
      if (health[0] !== 0 || found === 0) return;
      health[0] = memoryOf("clock").words[2]! + 1;
      health[1] = found;
    },
  };
}

export function recordCpu({ isFirst, isLast, counts }: RecordSpec): CpuComputation {
  return {
    flops: 0,
    run(memoryOf) {
      const step = memoryOf("clock").words[2]!;
      const first = (step % HISTORY_ROWS) * HISTORY_COLUMNS;
      const row = memoryOf("history").floats.subarray(first, first + HISTORY_COLUMNS);
      if (isFirst) row.fill(0);
      row[0] = step;
      row[3]! += memoryOf("loss").floats[0]!;
      if (counts) for (const [i, count] of memoryOf("counts").words.entries()) row[4 + i]! += count;
      if (!isLast) return;
      row[1] = memoryOf("health").words[0]!;
      row[2] = memoryOf("norm").floats[0]!;
    },
  };
}

export function adamWCpu(spec: AdamWSpec): CpuComputation {
  const { beta1, beta2, epsilon, rateIndex } = spec;
  return update(spec, (memoryOf, rates) => {
    const [mean, square, parameters] = [memoryOf("mean").floats, memoryOf("square").floats, memoryOf("parameters").floats];
    const [correction, root] = [rates[rateIndex + 1]!, rates[rateIndex + 2]!];
    return (i, gradient, rate, decay) => {
      const m = beta1 * mean[i]! + (1 - beta1) * gradient;
      const v = beta2 * square[i]! + (1 - beta2) * gradient * gradient;
      mean[i] = m;
      square[i] = v;
      parameters[i] = parameters[i]! * (1 - rate * decay) - ((rate / correction) * m) / (Math.sqrt(v) / root + epsilon);
    };
  });
}

export function sgdCpu(spec: SgdSpec): CpuComputation {
  const { momentum, nesterov } = spec;
  return update(spec, (memoryOf) => {
    const parameters = memoryOf("parameters").floats;
    const running = momentum === 0 ? undefined : memoryOf("momentum").floats;
    return (i, gradient, rate, decay) => {
      const slope = gradient + decay * parameters[i]!;
      const sum = running ? momentum * running[i]! + slope : slope;
      if (running) running[i] = sum;
      parameters[i] = parameters[i]! - rate * (nesterov ? slope + momentum * sum : sum);
    };
  });
}

export function averageCpu({ size, decay }: AverageSpec): CpuComputation {
  return {
    flops: 3 * size,
    run(memoryOf) {
      if (memoryOf("health").words[0] !== 0) return;
      const [average, parameters] = [memoryOf("average").floats, memoryOf("parameters").floats];
      for (let i = 0; i < size; i++) average[i] = decay * average[i]! + (1 - decay) * parameters[i]!;
    },
  };
}

type MemoryOf = (name: string) => CpuMemory;

/** Goes through the parameters, group by group. */
function update(
  spec: UpdateSpec,
  stepOf: (memoryOf: MemoryOf, rates: Floats) => (i: number, gradient: number, rate: number, decay: number) => void,
): CpuComputation {
  const { size, groups, clipNorm, rateIndex } = spec;
  return {
    flops: 20 * size,
    run(memoryOf) {
      if (memoryOf("health").words[0] !== 0) return;
      const [gradients, rates] = [memoryOf("gradients").floats, memoryOf("rates").floats];
      // As PyTorch's clip_grad_norm_.
      const scale = clipNorm === undefined ? 1 : Math.min(1, clipNorm / (Math.sqrt(memoryOf("norm").floats[0]!) + 1e-6));
      const step = stepOf(memoryOf, rates);
      let i = 0;
      for (const { end, weightDecay, rateFactor } of groups) {
        for (; i < end; i++) step(i, scale * gradients[i]!, rateFactor * rates[rateIndex]!, weightDecay);
      }
    },
  };
}
