import type { ActivationKind } from "../../../shaders/nn/activation.ts";
import { normalDensity, normalDistribution } from "../../math/normal.ts";
import type { CpuComputation } from "../operation.ts";
import {
  type AccumulateSpec,
  type ActivationGradientSpec,
  type ActivationSpec,
  type AddSpec,
  type CopySpec,
  type MultiplySpec,
  slopeSource,
} from "./spec.ts";

interface Activation {
  readonly value: (x: number) => number;
  /** Of ReLU, from its result. */
  readonly slope: (x: number) => number;
}

/** 2y of {@link ActivationKind} `"gelu-tanh"`, which is x·σ(2y), and its derivative. */
const twice = (x: number) => 2 * Math.sqrt(2 / Math.PI) * x * (1 + 0.044715 * x * x);
const twiceSlope = (x: number) => 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

const ACTIVATIONS: Readonly<Record<ActivationKind, Activation>> = {
  relu: { value: (x) => (x < 0 ? 0 : x), slope: (x) => (x > 0 ? 1 : 0) },
  gelu: { value: (x) => x * normalDistribution(x), slope: (x) => normalDistribution(x) + x * normalDensity(x) },
  "gelu-tanh": {
    value: (x) => x * sigmoid(twice(x)),
    slope: (x) => sigmoid(twice(x)) * (1 + x * twiceSlope(x) * sigmoid(-twice(x))),
  },
};

export function combineCpu({ operation, size, period }: AddSpec | MultiplySpec): CpuComputation {
  return {
    flops: size,
    run(memoryOf) {
      const [x, y, out] = [memoryOf("x").floats, memoryOf("y").floats, memoryOf("out").floats];
      if (operation === "add") for (let i = 0; i < size; i++) out[i] = x[i]! + y[i % period]!;
      else for (let i = 0; i < size; i++) out[i] = x[i]! * y[i % period]!;
    },
  };
}

export function activationCpu({ size, kind }: ActivationSpec): CpuComputation {
  const { value } = ACTIVATIONS[kind];
  return {
    flops: size,
    run(memoryOf) {
      const [x, out] = [memoryOf("x").floats, memoryOf("out").floats];
      for (let i = 0; i < size; i++) out[i] = value(x[i]!);
    },
  };
}

export function activationGradientCpu(spec: ActivationGradientSpec): CpuComputation {
  const { size, kind } = spec;
  const { slope } = ACTIVATIONS[kind];
  return {
    flops: size,
    run(memoryOf) {
      const [x, dOut, dX] = [memoryOf(slopeSource(spec)).floats, memoryOf("dOut").floats, memoryOf("dX").floats];
      for (let i = 0; i < size; i++) dX[i] = dOut[i]! * slope(x[i]!);
    },
  };
}

export function accumulateCpu({ size }: AccumulateSpec): CpuComputation {
  return {
    flops: size,
    run(memoryOf) {
      const [x, out] = [memoryOf("x").floats, memoryOf("out").floats];
      for (let i = 0; i < size; i++) out[i]! += x[i]!;
    },
  };
}

export function copyCpu(_spec: CopySpec): CpuComputation {
  return { flops: 0, run: (memoryOf) => memoryOf("out").floats.set(memoryOf("x").floats) };
}
