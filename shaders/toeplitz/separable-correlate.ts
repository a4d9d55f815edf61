/**
 * Correlations of sums of rows, and of sums of columns (toeplitz/separable.ts), over vectors of channels: for every offset o of an axis
 *
 *   correlations[o] = Σ_z G[z]·R[z + o],
 *
 * with G of the gradients and R of the values. Layout: gradients, values: sums of the heads of the dispatch; correlations [B·H, offsets], from minus
 * the `…Base` on. Workgroup → (head, part of the offsets of an axis). Lane → offset, and while it loads, position.
 * Bindings: 0 gradients, 1 values, 2 correlations, 3 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { vectorArray } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { axisStatements, separableConstants, type SeparableShape } from "./separable.ts";

export function separableCorrelateKernel(spec: SeparableShape): Kernel {
  const { height, width, lanes } = spec;
  const parts = Math.ceil((2 * height - 1) / lanes) + Math.ceil((2 * width - 1) / lanes);
  const sumOf = (binding: string, at: string) =>
    `for (var piece = 0u; piece < pieces; piece++) { value += ${binding}[first_sum + (piece * size + ${at}) * V + vector]; }`;
  const body = wgsl`  let part = group % ${u32(parts)};
  let head = group / ${u32(parts)};
${axisStatements("part", "LANES", (size) => `2u * ${size} - 1u`)}
  var total = 0.0;
  for (var vector = 0u; vector < V; vector++) {
    for (var start = 0u; start < size; start += LANES) {
      var value = vec4f();
      if (start + lane < size) { ${sumOf("gradients", "start + lane")} }
      gradient_run[lane] = value;
      for (var i = lane; i < 2u * LANES; i += LANES) {
        // Of the smallest offset, the first position is size − 1 before the start.
        let at = start + first + i - (size - 1u);
        value = vec4f();
        if (at < size) { ${sumOf("values", "at")} }
        value_run[i] = value;
      }
      workgroupBarrier();
      var sum = 0.0;
      for (var i = 0u; i < LANES; i++) { sum += dot(gradient_run[i], value_run[i + lane]); }
      total += sum;
      workgroupBarrier();
    }
  }
  if (first + lane < 2u * size - 1u) {
    correlations[(params.firstHead + head) * OFFSETS + select(2u * H - 1u, 0u, along_rows) + first + lane - params.correlationsBase] = total;
  }
`;
  return makeKernel({
    id: "toeplitz/separable-correlate",
    label: `separable bias correlate ${height}×${width}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "gradients", access: "read", element: "vec4f" },
      { name: "values", access: "read", element: "vec4f" },
      { name: "correlations", access: "read_write", element: "f32" },
    ],
    params: ["firstHead", "correlationsBase"],
    declarations: [separableConstants(spec), vectorArray("gradient_run", lanes), vectorArray("value_run", 2 * lanes)],
    body,
  });
}
