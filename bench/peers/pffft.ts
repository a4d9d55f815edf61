/** pffft compiled to WebAssembly with SIMD, in float32; the data stay in its memory. */
import load from "@echogarden/pffft-wasm/simd";
import type { Competitor, Prepared } from "../measure/competitor.ts";
import type { CpuFftRow } from "../measure/rows.ts";

const COMPLEX = 1;
const FORWARD = 0;

export const pffft: Competitor = {
  name: "pffft-wasm",
  package: "@echogarden/pffft-wasm",
  supports: (row) => row.kind === "cpu-fft",

  async prepare(row, data): Promise<Prepared> {
    const module = await load();
    const x = data["x"]!;
    const setup = module._pffft_new_setup((row as CpuFftRow).length, COMPLEX);
    const [input, output, work] = [0, 1, 2].map(() => module._pffft_aligned_malloc(x.byteLength));
    module.HEAPF32.set(x, input! / 4);
    return {
      run: () => module._pffft_transform_ordered(setup, input!, output!, work!, FORWARD),
      finish: async () => {},
      read: async () => module.HEAPF32.slice(output! / 4, output! / 4 + x.length),
      dispose() {
        for (const pointer of [input!, output!, work!]) module._pffft_aligned_free(pointer);
        module._pffft_destroy_setup(setup);
      },
    };
  },
};
