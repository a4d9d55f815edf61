/**
 * Normalised rows (Ba, Kiros and Hinton 2016; Zhang and Sennrich 2019): out = (x − mean) r · weight + bias with r = 1/√(variance + ε), or for `"rms"`
 * x r · weight with r = 1/√(mean of x² + ε).
 *
 * A first sum has the mean m roughly, a second one those of x − m and (x − m)²: the mean beyond m, and the variance.
 * Layout: x, out [rows, width]; weight, bias [width]; statistics, and which lane does what: nn/norm-rows.ts. A dispatch covers rows from `firstRow` to
 * before `endRow`.
 * Bindings: 0 x, 1 weight, then bias where there is one, then out, statistics, params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { loadFunctions, readBindings, storeBindings, storeVector } from "../wgsl/rows.ts";
import { f32, unroll, wgsl } from "../wgsl/wgsl.ts";
import {
  columnOf,
  laneVectors,
  loadRow,
  masked,
  NORM_ROWS_PARAMS,
  NORM_ROWS_START,
  normRowsConstants,
  type NormRowsSpec,
  rowSums,
  sumOfVectors,
  sumOverRow,
} from "./norm-rows.ts";

export interface NormKernelSpec extends NormRowsSpec {
  readonly epsilon: number;
  readonly bias: boolean;
}

export function normKernel(spec: NormKernelSpec): Kernel {
  const { kind, width, epsilon, bias } = spec;
  const vectors = laneVectors(spec);
  const share = f32(1 / width);
  const reads = { x: width, weight: width, ...(bias && { bias: width }) };
  const body = wgsl`${NORM_ROWS_START}
${loadRow(spec, "x", (column) => `load_x(row, ${column})`)}
#if ${kind === "layer"}
${sumOverRow(spec, "sum", sumOfVectors(vectors.map((k) => `x${k}`)))}
  let mean = sum * ${share};
${unroll(vectors, (k) => `  x${k} = ${masked(spec, k, `x${k} - mean`)};`)}
  let own_sum = ${sumOfVectors(vectors.map((k) => `x${k}`))};
  let own_squares = ${sumOfVectors(vectors.map((k) => `x${k} * x${k}`))};
${sumOverRow(spec, "sums", "vec2f(own_sum, own_squares)")}
  let rest = sums.x * ${share};
  let factor = inverseSqrt(max(sums.y * ${share} - rest * rest, 0.0) + ${f32(epsilon)});
  if (!is_row) { return; }
  if (part == 0u) {
    let at = row * 3u - params.statisticsBase;
    statistics[at] = mean;
    statistics[at + 1u] = rest;
    statistics[at + 2u] = factor;
  }
#else
${sumOverRow(spec, "squares", sumOfVectors(vectors.map((k) => `x${k} * x${k}`)))}
  let factor = inverseSqrt(squares * ${share} + ${f32(epsilon)});
  if (!is_row) { return; }
  if (part == 0u) { statistics[row - params.statisticsBase] = factor; }
#endif
${unroll(vectors, (k) => {
  const column = columnOf(spec, k);
  const product = `${kind === "layer" ? `(x${k} - rest)` : `x${k}`} * factor * load_weight(0u, ${column})${bias ? ` + load_bias(0u, ${column})` : ""}`;
  return `  if (4u * ${column} < WIDTH) { store_out(row, ${column}, ${product}); }`;
})}
`;
  return makeKernel({
    id: "nn/norm",
    label: `${kind === "layer" ? "layer norm" : "rms norm"} ${width}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [...readBindings(reads), ...storeBindings({ out: width }), { name: "statistics", access: "read_write", element: "f32" }],
    params: [...NORM_ROWS_PARAMS, ...Object.keys(reads).map((name) => `${name}Base`), "outBase", "statisticsBase"],
    declarations: [
      normRowsConstants(spec),
      ...(spec.rowLanes === 1
        ? []
        : kind === "layer"
          ? [rowSums(spec, "sum", "f32"), rowSums(spec, "sums", "vec2f")]
          : [rowSums(spec, "squares", "f32")]),
      loadFunctions(reads),
      storeVector("store_out", "out", width, false),
    ],
    body,
  });
}
