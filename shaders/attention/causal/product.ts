/** What the kernels share that make causal linear attention of the rows of chunks: attention/causal/apply.ts and attention/causal/patches.ts. */
import { type ChunkedStates, type KernelFeatureMap, UNSEEING } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { ofRow } from "../query-features.ts";
import type { KernelSource, Precision } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { loadVector, storeVector, type Strided, vectorElement } from "../../wgsl/rows.ts";
import { levelFunctions } from "./tiles.ts";
import { range, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface CausalProductSpec extends HeadShape, ChunkedStates, Strided {
  readonly featureMap: KernelFeatureMap;
  readonly variableLengths: boolean;
  readonly precision: { readonly queries: Precision; readonly keys: Precision; readonly values: Precision; readonly out: Precision };
  /** `"sum"` adds to what `out` holds. `"statistics"` writes the statistics of the rows, and no output. */
  readonly into: "out" | "sum" | "statistics";
}

/** Bindings, parameters and label of such a kernel. */
export function causalProduct(spec: CausalProductSpec, tile: string): Pick<KernelSource, "label" | "constants" | "bindings" | "params"> {
  const { headDim, valueDim, precision, strides = {} } = spec;
  const statistics = spec.into === "statistics";
  const into = { out: "", sum: " + bias", statistics: ", statistics" }[spec.into];
  return {
    label: `linear attention causal apply ${spec.featureMap}${into} ${tile} of ${spec.chunkRows}`,
    constants: spec,
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, precision.queries, strides["queries"]) },
      { name: "keys", access: "read", element: vectorElement(headDim, precision.keys, strides["keys"]) },
      { name: "values", access: "read", element: vectorElement(valueDim, precision.values, strides["values"]) },
      ...(spec.chunks > 1 ? [{ name: "states", access: "read", element: "vec4f" } as const] : []),
      ...(statistics
        ? ([
            { name: "gradients", access: "read", element: vectorElement(valueDim, "f32", strides["gradients"]) },
            { name: "statistics", access: "read_write", element: "vec4f" },
          ] as const)
        : [{ name: "out", access: "read_write", element: vectorElement(valueDim, precision.out, strides["out"]) } as const]),
      ...lengthBinding(spec),
    ],
    params: [
      "firstHead",
      "queriesBase",
      "keysBase",
      "valuesBase",
      ...(statistics ? ["gradientsBase", "statisticsBase"] : ["outBase"]),
      ...lengthParams(spec),
    ],
  };
}

/** Functions for its bindings besides queries, and those of levels. */
export function causalProductFunctions(spec: CausalProductSpec): string {
  const { headDim, valueDim, precision, into, strides = {} } = spec;
  return wgsl`${levelFunctions(spec.featureMap)}${loadVector("load_keys", "keys", headDim, precision.keys, strides["keys"])}${loadVector("load_values", "values", valueDim, precision.values, strides["values"])}${
    into === "statistics"
      ? loadVector("load_gradients", "gradients", valueDim, "f32", strides["gradients"])
      : storeVector("store_out", "out", valueDim, into === "sum", precision.out, strides["out"])
  }`;
}

/** Statements that write the statistics of `count` rows from the vectors `largest<v>`, `denominator<v>` and `product<v>`, the sum of gradients times output. */
export function storeStatistics({ featureMap }: CausalProductSpec, count: number, row: (i: number) => string): string {
  const sikf = featureMap === "sikf";
  return unroll(
    range(count),
    (i) => `  if (column == 0u && ${row(i)} < N) {
    let denominator = ${ofRow("denominator", i)};
    // A reference about as large as the sum keeps what is relative to it small.
    let shift = round(${sikf ? "log" : "log2"}(max(denominator, 1e-30)));
    let p = select(${sikf ? "exponential_of_parts4(vec4f(shift), vec4f()).x" : "times_power4(vec4f(1.0), vec4f(shift)).x"} / denominator, 0.0, denominator == 0.0 || ${row(i)} >= tokens);
    let n = select(-${ofRow("product", i)} * p, 0.0, p == 0.0);
    statistics[bh * N + ${row(i)} - params.statisticsBase] = vec4f(${sikf ? `${ofRow("largest", i)} + shift` : `select(${ofRow("largest", i)} + shift, ${UNSEEING}, p == 0.0)`}, p, n, 0.0);
  }`,
  );
}
