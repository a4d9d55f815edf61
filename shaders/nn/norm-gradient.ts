/**
 * The gradient of normalised rows in x: with n the normalised numbers, r the factor of the row, g = dOut · weight, and means over the row,
 * dX = r (g − mean(g) − n · mean(g n)), or for `"rms"` r (g − n · mean(g n)).
 *
 * Beyond the row g is 0, whatever n is.
 * Layout: x, dOut, dX [rows, width]; weight [width]; statistics, and which lane does what: nn/norm-rows.ts. A dispatch covers rows from `firstRow` to
 * before `endRow`.
 * Bindings: 0 x, 1 dOut, 2 weight, 3 statistics, 4 dX, 5 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { loadFunctions, readBindings, storeBindings, storeVector } from "../wgsl/rows.ts";
import { f32, u32, unroll, wgsl } from "../wgsl/wgsl.ts";
import {
  columnOf,
  laneVectors,
  loadRow,
  NORM_ROWS_PARAMS,
  NORM_ROWS_START,
  normalisedFunction,
  normRowsConstants,
  type NormRowsSpec,
  rowSums,
  STATISTICS,
  sumOfVectors,
  sumOverRow,
} from "./norm-rows.ts";

export function normGradientKernel(spec: NormRowsSpec): Kernel {
  const { kind, width } = spec;
  const vectors = laneVectors(spec);
  const share = f32(1 / width);
  const isLayer = kind === "layer";
  const reads = { x: width, dOut: width, weight: width };
  const products = sumOfVectors(vectors.map((k) => `g${k} * n${k}`));
  const body = wgsl`${NORM_ROWS_START}
${loadRow(spec, "n", (column) => `normalised(load_x(row, ${column}), row)`)}
${loadRow(spec, "g", (column) => `load_dOut(row, ${column}) * load_weight(0u, ${column})`)}
#if ${isLayer}
${sumOverRow(spec, "sums", `vec2f(${products}, ${sumOfVectors(vectors.map((k) => `g${k}`))})`)}
  let along = sums.x * ${share};
  let mean = sums.y * ${share};
#else
${sumOverRow(spec, "sums", products)}
  let along = sums * ${share};
#endif
  if (!is_row) { return; }
  let factor = statistics[row * ${u32(STATISTICS[kind])} + ${u32(STATISTICS[kind] - 1)} - params.statisticsBase];
${unroll(vectors, (k) => {
  const column = columnOf(spec, k);
  return `  if (4u * ${column} < WIDTH) { store_dX(row, ${column}, factor * (g${k}${isLayer ? " - mean" : ""} - n${k} * along)); }`;
})}
`;
  return makeKernel({
    id: "nn/norm-gradient",
    label: `${isLayer ? "layer norm" : "rms norm"} gradient ${width}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [...readBindings(reads), { name: "statistics", access: "read", element: "f32" }, ...storeBindings({ dX: width })],
    params: [...NORM_ROWS_PARAMS, ...Object.keys(reads).map((name) => `${name}Base`), "statisticsBase", "dXBase"],
    declarations: [
      normRowsConstants(spec),
      ...(spec.rowLanes === 1 ? [] : [rowSums(spec, "sums", isLayer ? "vec2f" : "f32")]),
      loadFunctions(reads),
      normalisedFunction(kind, "vec4f"),
      storeVector("store_dX", "dX", width, false),
    ],
    body,
  });
}
