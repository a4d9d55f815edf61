/**
 * The product of a few rows with a matrix, which is read once: out = activation(a·b + bias) + residual.
 *
 * Layout as in nn/matmul.ts; all m rows of an item in one dispatch.
 * Workgroup → (item, columns); lane → (slice of k, columns). Where b runs along k, a lane has one column and four of k at a time, neighbours the next four;
 * else it has four columns, neighbours the next four. What the slices have found is added up by halves.
 * Bindings: 0 a, 1 b, then bias, residual, out; then params.
 */
import type { MatmulOperand } from "./matmul.ts";
import { END_PARAMS, endBindings, endFunctions, type MatmulEnd } from "./matmul-end.ts";
import { columnPlace, itemPlace, matrixElement, matrixParams, rowPlace } from "./matrix.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { vectorArray } from "../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

export interface MatmulRowsKernelSpec {
  readonly rows: number;
  readonly lanes: number;
  /** Of k, a power of two. Lanes are so many times the columns of a workgroup where b runs along k, else so many times the vectors of its columns. */
  readonly slices: number;
  readonly a: MatmulOperand;
  readonly b: MatmulOperand;
  readonly end: MatmulEnd;
}

/** How many vectors of four columns a workgroup makes. */
export function rowsColumnVectors({ lanes, slices, b }: Pick<MatmulRowsKernelSpec, "lanes" | "slices" | "b">): number {
  return lanes / slices / (b.deep ? 4 : 1);
}

export function matmulRowsKernel(spec: MatmulRowsKernelSpec): Kernel {
  const { rows, lanes, slices, a, b, end } = spec;
  const four = range(4);
  const vectors = rowsColumnVectors(spec);
  /** Four numbers of a row of a from k on, as far as they are there. */
  const fourOfA = (row: number) => {
    if (a.deep && a.vectors) return `a[a_item + ${rowPlace("a", a, u32(row))} + ${columnPlace(a, "(k / 4u)")}]`;
    const one = (k: string) =>
      a.deep ? `${rowPlace("a", a, u32(row))} + ${columnPlace(a, k)}` : `${rowPlace("a", a, k)} + ${columnPlace(a, u32(row))}`;
    const numbers = four.map((j) => `a[a_item + ${one(`min(k + ${u32(j)}, last)`)}]`);
    return `select(vec4f(), vec4f(${numbers}), vec4u(k) + vec4u(0u, 1u, 2u, 3u) <= vec4u(last))`;
  };
  const fourOfB = b.vectors
    ? `b[b_column + ${columnPlace(b, "(k / 4u)")}]`
    : `select(vec4f(), vec4f(${four.map((j) => `b[b_column + ${columnPlace(b, `min(k + ${u32(j)}, last)`)}]`)}), vec4u(k) + vec4u(0u, 1u, 2u, 3u) <= vec4u(last))`;
  const oneOfA = (row: number) => {
    if (!a.deep) return `a[a_item + ${rowPlace("a", a, "k")} + ${columnPlace(a, u32(row))}]`;
    return `a[a_item + ${rowPlace("a", a, u32(row))} + ${columnPlace(a, "k")}]`;
  };
  const columnsOfB = b.vectors
    ? `b[b_item + ${rowPlace("b", b, "k")} + ${columnPlace(b, "min(column, (params.columns - 1u) / 4u)")}]`
    : `vec4f(${four.map((j) => `b[b_item + ${rowPlace("b", b, "k")} + ${columnPlace(b, `min(4u * column + ${u32(j)}, params.columns - 1u)`)}]`)})`;
  const body = wgsl`  let groups_across = ((params.columns + 3u) / 4u + ${u32(vectors - 1)}) / ${u32(vectors)};
  let item = params.firstItem + group / groups_across;
  let first = group % groups_across * ${u32(vectors)};
  let a_item = ${itemPlace("a", "item")};
  let b_item = ${itemPlace("b", "item")};
  let last = params.depth - 1u;
${unroll(range(rows), (r) => `  var sum${r} = vec4f();`)}
#if ${b.deep}
  let slice = lane % ${u32(slices)};
  let own = lane / ${u32(slices)};
  let b_column = b_item + ${rowPlace("b", b, "min(4u * first + own, params.columns - 1u)")};
  for (var k = 4u * slice; k <= last; k += ${u32(4 * slices)}) {
    let x = ${fourOfB};
${unroll(range(rows), (r) => `    sum${r} = fma(${fourOfA(r)}, x, sum${r});`)}
  }
#else
  let own = lane % ${u32(vectors)};
  let slice = lane / ${u32(vectors)};
  let column = first + own;
  for (var k = slice; k <= last; k += ${u32(slices)}) {
    let x = ${columnsOfB};
${unroll(range(rows), (r) => `    sum${r} = fma(vec4f(${oneOfA(r)}), x, sum${r});`)}
  }
#endif
${unroll(range(rows), (r) => `  sums[${u32(r * lanes)} + lane] = sum${r};`)}
  workgroupBarrier();
  for (var half = ${u32(slices / 2)}; half > 0u; half /= 2u) {
    if (slice < half) {
${unroll(range(rows), (r) => `      sums[${u32(r * lanes)} + lane] += sums[${u32(r * lanes)} + lane + half * ${u32(b.deep ? 1 : vectors)}];`)}
    }
    workgroupBarrier();
  }
  for (var i = lane; i < ${u32(rows * vectors)}; i += LANES) {
    let row = i / ${u32(vectors)};
    let place = i % ${u32(vectors)};
#if ${b.deep}
    let sum = vec4f(${four.map((j) => `dot(sums[row * LANES + (4u * place + ${u32(j)}) * ${u32(slices)}], vec4f(1.0))`).join(", ")});
#else
    let sum = sums[row * LANES + place];
#endif
    finish(${itemPlace("out", "item")}, row, first + place, sum, bias_of(first + place));
  }
`;
  return makeKernel({
    id: "nn/matmul-rows",
    label: `matmul ${rows} ${rows === 1 ? "row" : "rows"}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "a", access: "read", element: matrixElement(a) },
      { name: "b", access: "read", element: matrixElement(b) },
      ...endBindings(end),
    ],
    params: ["depth", "firstItem", ...matrixParams("a"), ...matrixParams("b"), ...END_PARAMS],
    declarations: [vectorArray("sums", rows * lanes), endFunctions(end)],
    body,
  });
}
