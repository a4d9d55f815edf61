/**
 * Toeplitz product in one dispatch, for lengths whose FFT fits into workgroup memory:
 *
 *   T v = F⁻¹ Ĉ F v + D* F⁻¹ Ŝ F D v,   D = diag(exp(−iπn/M)),
 *
 * with T = C + S, circulant plus skew-circulant of size M ≥ N (toeplitz-embed.ts makes Ĉ and Ŝ, 1/M included). v is read once and
 * the result written once: both branches stay in registers. One body of stages serves both branches and both directions, because an
 * inverse transform is a forward one of swapped re and im; unrolling it four times would cost compile time and instruction cache.
 *
 * Layout: values, out [B·H, N, D]; spectrum [H, 2, M]. A column is a pair of channels of one head, pairs fastest.
 * A workgroup does `shape.columns` columns; lane → (slot, thread) as in stockham.ts.
 * Bindings: 0 values, 1 spectrum, 2 tables (twiddles, roots of order 2M), 3 out, 4 params.
 */
import { loadPair, pairElement, storePair } from "./channel-pairs.ts";
import { type Kernel, makeKernel } from "./kernel.ts";
import { rootFunction, type RootTable } from "./roots.ts";
import {
  declareRegisters,
  eachInput,
  eachOutput,
  everyRegister,
  stockhamDeclarations,
  stockhamRegisters,
  stockhamRewind,
  type StockhamShape,
  stockhamStages,
  workgroupLanes,
} from "./stockham.ts";
import { u32, wgsl } from "./wgsl.ts";

export interface ToeplitzFusedKernelSpec {
  /** Transform of length M. */
  readonly shape: StockhamShape;
  readonly twiddleOffset: number;
  readonly roots: RootTable;
  /** N */
  readonly length: number;
  readonly channels: number;
}

export function toeplitzFusedKernel(spec: ToeplitzFusedKernelSpec): Kernel {
  const { shape } = spec;
  const body = wgsl`${stockhamRegisters(shape)}
${declareRegisters(shape, "held")}
  let local_column = group * ${u32(shape.columns)} + slot;
  let active_column = local_column < params.columns;
  let column = params.firstColumn + local_column;
  let pair = column % PAIRS;
  let bh = column / PAIRS;
  let row = bh * N;
  let spectrum_row = (bh % params.heads) * 2u * M - params.spectrumBase;
${eachInput(shape, (i) => `if (active_column && point < N) { v${i} = load_pair(row + point, pair); } held${i} = v${i};`)}
  for (var branch = 0u; branch < 2u; branch++) { // circulant, skew-circulant
    for (var direction = 0u; direction < 2u; direction++) { // forward, inverse
${stockhamStages(shape, spec.twiddleOffset)}
      if (direction == 0u) {
${eachOutput(shape, (i) => `v${i} = complex_multiply(v${i}, spectrum[spectrum_row + branch * M + point]).yx;`)}
${stockhamRewind(shape)}
      }
    }
    if (branch == 0u) {
      // The input goes back into the registers, turned by D, and its place is taken by this branch's result.
${everyRegister(shape, (i) => `{ let result = v${i}.yx; v${i} = held${i}; held${i} = result; }`)}
${eachInput(shape, (i) => `v${i} = turn_root(v${i}, point);`)}
    }
  }
  if (active_column) {
${eachOutput(shape, (i) => `if (point < N) { store_pair(row + point, pair, held${i} + turn_root(v${i}, point).yx); }`)}
  }
`;
  return makeKernel({
    label: `toeplitz fused ${spec.length} (${shape.radices.join("·")})`,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "values", access: "read", element: pairElement(spec.channels) },
      { name: "spectrum", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: pairElement(spec.channels) },
    ],
    params: ["columns", "firstColumn", "heads", "valuesBase", "spectrumBase", "outBase"],
    declarations: wgsl`const N = ${u32(spec.length)};
const M = ${u32(shape.length)};
const PAIRS = ${u32(Math.ceil(spec.channels / 2))};
${stockhamDeclarations(shape)}${rootFunction(spec.roots)}${loadPair(spec.channels)}${storePair(spec.channels)}`,
    body,
  });
}
