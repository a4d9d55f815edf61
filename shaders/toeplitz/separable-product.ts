/**
 * The two Toeplitz products of a separable bias, as sums over all positions of an axis (toeplitz/separable.ts):
 *
 *   A[y] = Σ_z r[z − y] R[z],   B[x] = Σ_z c[z − x] C[z],
 *
 * of the sums R of rows and C of columns, or with r[y − z] and c[x − z] if transposed. Each run of positions is summed on its own before it joins the
 * sum of sixteen runs, and that the total; so are pieces. It keeps the rounding error of long axes down.
 *
 * Layout: sums of the heads of the dispatch, spectrum [heads, offsets], out their products. Workgroup → (head, part of an axis, channels), channels
 * fastest. Lane → (position, vector of channels), vector fastest; it has `outputs` positions, and brings one of each run into workgroup memory.
 * Bindings: 0 sums, 1 spectrum, 2 out, 3 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { vectorArray, vectorsOf } from "../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";
import { axisStatements, separableConstants, type SeparableShape } from "./separable.ts";

export interface SeparableProductKernelSpec extends SeparableShape {
  /** Vectors of channels of a workgroup, which divide its lanes. */
  readonly vectors: number;
  /** Positions of a lane. */
  readonly outputs: number;
  readonly transposed: boolean;
}

export function separableProductKernel(spec: SeparableProductKernelSpec): Kernel {
  const { height, width, lanes, vectors, outputs, transposed } = spec;
  const runs = lanes / vectors;
  const part = runs * outputs;
  const parts = Math.ceil(height / part) + Math.ceil(width / part);
  const each = (piece: (q: number) => string) => unroll(range(outputs), piece);
  const body = wgsl`  let channel_tile = group % CHANNEL_TILES;
  let part = group / CHANNEL_TILES % ${u32(parts)};
  let head = group / (CHANNEL_TILES * ${u32(parts)});
${axisStatements("part", "PART", (size) => size)}
  let vector = channel_tile * VECTORS + lane % VECTORS;
  let own = lane / VECTORS;
  let diagonal = (params.firstHead + head) % params.heads * OFFSETS + select(2u * H + W - 2u, H - 1u, along_rows);
${each((q) => `  let at${q} = min(first + own + ${u32(q * runs)}, size - 1u);\n  var total${q} = vec4f();\n  var sum${q} = vec4f();`)}
  for (var start = 0u; start < size; start += RUN) {
    var value = vec4f();
    var some = vec4f();
    if (start + own < size && vector < V) {
      for (var piece = 0u; piece < pieces; piece++) {
        some += sums[first_sum + (piece * size + start + own) * V + vector];
        if (piece % 16u == 15u) { value += some; some = vec4f(); }
      }
    }
    run[lane] = value + some;
    workgroupBarrier();
${each((q) => `    var part${q} = vec4f();`)}
    for (var i = 0u; i < min(RUN, size - start); i++) {
      let term = run[i * VECTORS + lane % VECTORS];
${each((q) => `      part${q} = fma(vec4f(spectrum[diagonal ${transposed ? `+ at${q} - (start + i)` : `+ (start + i) - at${q}`}]), term, part${q});`)}
    }
${each((q) => `    sum${q} += part${q};`)}
    if (start / RUN % 16u == 15u) {
${each((q) => `      total${q} += sum${q};\n      sum${q} = vec4f();`)}
    }
    workgroupBarrier();
  }
  let first_out = head * (H + W) * V + select(H * V, 0u, along_rows);
${each((q) => `  if (first + own + ${u32(q * runs)} < size && vector < V) { out[first_out + at${q} * V + vector] = total${q} + sum${q}; }`)}
`;
  return makeKernel({
    id: "toeplitz/separable-product",
    label: `separable bias product ${transposed ? "transposed " : ""}${height}×${width}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "sums", access: "read", element: "vec4f" },
      { name: "spectrum", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "vec4f" },
    ],
    params: ["firstHead", "heads"],
    declarations: [
      wgsl`${separableConstants(spec)}const VECTORS = ${u32(vectors)};
const CHANNEL_TILES = ${u32(Math.ceil(vectorsOf(spec.channels) / vectors))};
const RUN = ${u32(runs)};
const PART = ${u32(part)};`,
      vectorArray("run", lanes),
    ],
    body,
  });
}
