import { float64Array } from "../../math/memory.ts";
import type { CpuComputation } from "../operation.ts";
import type { ColumnSumsSpec } from "./spec.ts";

export function columnSumsCpu({ matrices, rows, columns }: ColumnSumsSpec): CpuComputation {
  const sums = float64Array("cpu column sums", columns);
  return {
    flops: matrices * rows * columns,
    run(memoryOf) {
      const x = memoryOf("x").floats;
      const out = memoryOf("out").floats;
      for (let matrix = 0, i = 0; matrix < matrices; matrix++) {
        sums.fill(0);
        for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++, i++) sums[c]! += x[i]!;
        out.set(sums, matrix * columns);
      }
    },
  };
}
