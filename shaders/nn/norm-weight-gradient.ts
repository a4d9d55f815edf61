/**
 * The gradients of normalised rows in weight and bias, of each chunk of rows: with n the normalised numbers,
 * dWeight[chunk, c] = Σ_r dOut[r, c] n[r, c] and dBias[chunk, c] = Σ_r dOut[r, c].
 *
 * Layout and lanes: nn/row-chunks.ts, of one matrix; x, dOut [rows, columns]; statistics: nn/norm-rows.ts; dWeight, dBias [chunks, columns].
 * Bindings: 0 x, 1 dOut, 2 statistics, 3 dWeight, then dBias where it is wanted, and params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { type NormKind, normalisedFunction } from "./norm-rows.ts";
import { elementOf } from "./elements.ts";
import { joinRows, ROW_CHUNK_PARAMS, ROW_CHUNK_START, rowChunkDeclarations, type RowChunksSpec } from "./row-chunks.ts";

export interface NormWeightGradientKernelSpec extends RowChunksSpec {
  readonly kind: NormKind;
  readonly bias: boolean;
}

export function normWeightGradientKernel(spec: NormWeightGradientKernelSpec): Kernel {
  const { kind, bias } = spec;
  const element = elementOf(spec);
  const sums = ["weights", ...(bias ? ["biases"] : [])];
  const body = wgsl`${ROW_CHUNK_START}
  var weights = ${element}();
  var biases = ${element}();
  if (column < params.columns) {
    let start = column - params.xBase;
    for (; row + HEIGHT < end; row += 2u * HEIGHT) {
      let at = start + row * params.columns;
      let next = at + HEIGHT * params.columns;
      let d = dOut[at];
      let d_next = dOut[next];
      weights += d * normalised(x[at], row) + d_next * normalised(x[next], row + HEIGHT);
      biases += d + d_next;
    }
    if (row < end) {
      let at = start + row * params.columns;
      let d = dOut[at];
      weights += d * normalised(x[at], row);
      biases += d;
    }
  }
${joinRows(sums)}
  if (lane < WIDTH && column < params.columns) {
    let at = chunk * params.columns + column;
    dWeight[at] = weights_of_lanes[lane];
${bias ? "    dBias[at] = biases_of_lanes[lane];" : ""}
  }
`;
  return makeKernel({
    id: "nn/norm-weight-gradient",
    label: `${kind === "layer" ? "layer norm" : "rms norm"} weight gradient`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "x", access: "read", element },
      { name: "dOut", access: "read", element },
      { name: "statistics", access: "read", element: "f32" },
      { name: "dWeight", access: "read_write", element },
      ...(bias ? [{ name: "dBias", access: "read_write", element } as const] : []),
    ],
    params: [...ROW_CHUNK_PARAMS, "xBase", "statisticsBase"],
    declarations: [...rowChunkDeclarations(spec, sums), normalisedFunction(kind, element)],
    body,
  });
}
