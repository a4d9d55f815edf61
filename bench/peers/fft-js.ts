/** fft.js: radix 4 in plain JavaScript, in float64. */
import FFT from "fft.js";
import type { Competitor, Prepared } from "../measure/competitor.ts";
import type { CpuFftRow } from "../measure/rows.ts";

export const fftJs: Competitor = {
  name: "fft.js",
  package: "fft.js",
  supports: (row) => row.kind === "cpu-fft",

  async prepare(row, data): Promise<Prepared> {
    const plan = new FFT((row as CpuFftRow).length);
    const input = Float64Array.from(data["x"]!);
    const output = new Float64Array(input.length);
    return {
      run: () => plan.transform(output, input),
      finish: async () => {},
      read: async () => Float32Array.from(output),
      dispose: () => {},
    };
  },
};
