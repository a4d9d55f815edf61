import { float64Array } from "../../math/memory.ts";
import type { CpuComputation } from "../operation.ts";
import type { ColumnSumsSpec } from "./spec.ts";

export function columnSumsCpu({ matrices, rows, columns }: ColumnSumsSpec): CpuComputation {
  const sums = float64Array("cpu column sums", matrices * columns);
  return {
    flops: matrices * rows * columns,
    run(memoryOf) {
      const x = memoryOf("x").floats;
      sums.fill(0);
      for (let r = 0, i = 0; r < matrices * rows; r++) {
        const first = Math.floor(r / rows) * columns;
        for (let c = 0; c < columns; c++, i++) sums[first + c]! += x[i]!;
      }
      memoryOf("out").floats.set(sums);
    },
  };
}
