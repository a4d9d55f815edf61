import { ALL_FINITE, type FindNonFiniteSpec } from "../specs.ts";
import { type CpuOperation, FLOAT_BYTES } from "../cpu.ts";

export function findNonFiniteOperation({ numbers }: FindNonFiniteSpec): CpuOperation {
  const bytes = FLOAT_BYTES * numbers;
  return {
    label: "findNonFinite",
    bytes: { source: bytes, found: FLOAT_BYTES },
    bytesMinimum: bytes + 2 * FLOAT_BYTES,
    flops: 0,
    run(binding) {
      const first = binding("source").floats.findIndex((value) => !Number.isFinite(value));
      binding("found").words[0] = first < 0 ? ALL_FINITE : first;
    },
  };
}
