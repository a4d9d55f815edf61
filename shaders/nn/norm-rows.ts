/**
 * What kernels share that normalise rows, or go back from normalised rows. A row of `width` numbers is ROW_LANES lanes': lane `part` has its vectors of
 * four numbers part, part + ROW_LANES, … in registers; a workgroup has LANES / ROW_LANES rows. Sums over a row meet in workgroup memory, by eights in a
 * fixed order.
 *
 * `statistics` of a row: of `"layer"` its mean m as a float32, what the mean is beyond that, δ, and r = 1/√(variance + ε); of `"rms"` r = 1/√(mean
 * square + ε) alone. x − m is exact where the mean is large, so that with δ nothing of a row is lost beside its mean.
 */
import type { WorkgroupVariable } from "../wgsl/kernel.ts";
import { vectorsOf, withinRow } from "../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

export type NormKind = "layer" | "rms";

export interface NormRowsSpec {
  readonly kind: NormKind;
  /** Numbers of a row. */
  readonly width: number;
  /** Lanes of a workgroup, and of a row: powers of two. */
  readonly lanes: number;
  readonly rowLanes: number;
}

/** Numbers that a row has in `statistics`. */
export const STATISTICS: Readonly<Record<NormKind, number>> = { layer: 3, rms: 1 };

/** Vectors of a lane, by number. */
export function laneVectors({ width, rowLanes }: NormRowsSpec): readonly number[] {
  return range(Math.ceil(vectorsOf(width) / rowLanes));
}

export function normRowsConstants(spec: NormRowsSpec): string {
  return `const WIDTH = ${u32(spec.width)};\nconst ROW_LANES = ${u32(spec.rowLanes)};`;
}

export const NORM_ROWS_PARAMS = ["firstRow", "endRow"] as const;

/** Statements that say which `row` is the lane's, if it `is_row`, and which `part` of it. */
export const NORM_ROWS_START = wgsl`  let part = lane % ROW_LANES;
  let row = params.firstRow + group * (LANES / ROW_LANES) + lane / ROW_LANES;
  let is_row = row < params.endRow;`;

/** Statements that leave in `<name>0`, `<name>1`, … what `load` gives for the vectors of a lane, zero beyond the row, and where there is no row. */
export function loadRow(spec: NormRowsSpec, name: string, load: (column: string) => string): string {
  return `${unroll(laneVectors(spec), (k) => `  var ${name}${k} = vec4f();`)}
  if (is_row) {
${unroll(laneVectors(spec), (k) => `    ${name}${k} = ${load(columnOf(spec, k))};`)}
  }`;
}

/** WGSL expression of the number of a lane's vector in its row. */
export function columnOf({ rowLanes }: NormRowsSpec, k: number): string {
  return `(part + ${u32(k * rowLanes)})`;
}

/** WGSL expression of `vector`, which is vector `k` of a lane, with zero beyond the row. */
export function masked(spec: NormRowsSpec, k: number, vector: string): string {
  const { width, rowLanes } = spec;
  const isWhole = width % (4 * rowLanes) === 0;
  return isWhole ? vector : `select(vec4f(), ${vector}, ${withinRow(columnOf(spec, k), "WIDTH")})`;
}

/** WGSL expression of the sum of vector expressions, each number of it. */
export function sumOfVectors(vectors: readonly string[]): string {
  return `dot(${vectors.join(" + ")}, vec4f(1.0))`;
}

/** What is summed at a time by one lane. */
const FOLD = 8;

/** The workgroup variable of {@link sumOverRow}. */
export function rowSums(spec: NormRowsSpec, name: string, element: "f32" | "vec2f"): WorkgroupVariable {
  return { name: `${name}_of_lanes`, element, count: spec.lanes };
}

/** Statements that leave in `name` the sum of `value` over the lanes of a row. They hold barriers; a name is for one sum. */
export function sumOverRow({ rowLanes }: NormRowsSpec, name: string, value: string): string {
  if (rowLanes === 1) return `  let ${name} = ${value};`;
  const array = `${name}_of_lanes`;
  const terms = (from: string, count: number, step: number) => range(count).map((j) => `${array}[${from} + ${u32(j * step)}]`);
  let text = `  ${array}[lane] = ${value};\n  workgroupBarrier();\n`;
  let left = rowLanes;
  while (left > FOLD) {
    left /= FOLD;
    text += `  if (part < ${u32(left)}) { ${array}[lane] = ${terms("lane", FOLD, left).join(" + ")}; }\n  workgroupBarrier();\n`;
  }
  return `${text}  let ${name} = ${terms("(lane - part)", left, 1).join(" + ")};`;
}

/** WGSL function `normalised(x: <float>, row: u32) -> <float>`: what `norm` made of numbers of a row, before weight and bias, by its statistics. */
export function normalisedFunction(kind: NormKind, float: "f32" | "vec4f"): string {
  return wgsl`
fn normalised(x: ${float}, row: u32) -> ${float} {
  let at = row * ${u32(STATISTICS[kind])} - params.statisticsBase;
#if ${kind === "layer"}
  return ((x - statistics[at]) - statistics[at + 1u]) * statistics[at + 2u];
#else
  return x * statistics[at];
#endif
}
`;
}
