/**
 * A matrix product by tiles: out = activation(a·b + bias) + residual, or a part of the sums over k: outer products from workgroup memory (Volkov and
 * Demmel 2008), each lane a patch of the tile.
 *
 * Layout: a [items, m, k] or transposed [items, k, m], b [items, k, n] or [items, n, k], bias [n], residual and out [items, m, n]; each matrix may be cut
 * into heads (nn/matrix.ts). Partial sums are [splits, items, rows, n] with n filled up to whole vectors, rows those of the dispatch.
 * Workgroup → (split over k, item, rows of the tile, columns of the tile), columns fastest. The lanes load four rows of four numbers at a time, the next
 * ones while they compute, turn those over that lie along k, and store them so that for each k four rows, or columns, are one vector. Lane → patch of rows
 * 4·(y + g·LANES_DOWN) + 0…3 and vectors x + c·LANES_ACROSS of columns.
 * Beyond the end the last row or column stands in; what is beyond the end of k is zero in both operands.
 * Bindings: 0 a, 1 b, then bias, residual, out; then params.
 */
import { END_PARAMS, endBindings, endFunctions, type MatmulEnd } from "./matmul-end.ts";
import { columnPlace, itemPlace, matrixElement, matrixParams, type MatrixPlaces, rowPlace } from "./matrix.ts";
import { type Declarations, type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { vectorArray } from "../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

/** The part of a product that a workgroup makes, all of them powers of two from 4 on. */
export interface MatmulTile {
  readonly rows: number;
  readonly columns: number;
  /** Of k, how much is in workgroup memory at a time. */
  readonly depth: number;
  /** The patch of a lane: 4 or 8. */
  readonly patchRows: number;
  readonly patchColumns: number;
  /** Of k, how much is unrolled; all of the depth when left out. */
  readonly unroll?: number;
  /** Two, so that one barrier is enough for a depth; one when left out. */
  readonly buffers?: 1 | 2;
}

export interface MatmulOperand extends MatrixPlaces {
  /** Whether its stored rows run along k. */
  readonly deep: boolean;
}

export interface MatmulKernelSpec {
  readonly tile: MatmulTile;
  readonly a: MatmulOperand;
  readonly b: MatmulOperand;
  /** Whether all that a workgroup goes over is whole depths. */
  readonly wholeDepths: boolean;
  readonly end: MatmulEnd | "partials";
}

export function tileLanes({ rows, columns, patchRows, patchColumns }: MatmulTile): number {
  return (rows / patchRows) * (columns / patchColumns);
}

export function tileBytes({ rows, columns, depth, buffers = 1 }: MatmulTile): number {
  return 4 * (rows + columns) * depth * buffers;
}

/** An operand as the tile has it. */
interface Side {
  readonly name: "a" | "b";
  readonly places: MatmulOperand;
  /** Workgroup variables `<variable>0` to 3, for k modulo 4. */
  readonly variable: "rows" | "columns";
  /** Vectors of the tile, and lanes over them. */
  readonly vectors: number;
  readonly lanes: number;
  /** WGSL: the first row or column of the tile, and the last of the matrix. */
  readonly first: string;
  readonly last: string;
}

/** What neighbouring fours of k are moved by in workgroup memory, by an exclusive or, so that lanes that turn numbers over meet different banks. */
function swizzle({ places, lanes }: Side, fours: number, q: string): string {
  const period = Math.min(8, lanes);
  if (!places.deep || period < 2) return "";
  return ` ^ ((${q} * ${u32(Math.max(1, period / fours))}) & ${u32(period - 1)})`;
}

export function matmulKernel(spec: MatmulKernelSpec): Kernel {
  const { tile, wholeDepths, end } = spec;
  const { rows, columns, depth, patchRows, patchColumns, buffers = 1 } = tile;
  const lanes = tileLanes(tile);
  const [across, down] = [columns / patchColumns, rows / patchRows];
  const fours = depth / 4;
  const unrolled = Math.min(fours, (tile.unroll ?? depth) / 4);
  const [rowGroups, columnGroups] = [range(patchRows / 4), range(patchColumns / 4)];
  const four = range(4);
  const sides: readonly [Side, Side] = [
    { name: "a", places: spec.a, variable: "rows", vectors: rows / 4, lanes: down, first: "first_row", last: "params.endRow - 1u" },
    { name: "b", places: spec.b, variable: "columns", vectors: columns / 4, lanes: across, first: "first_column", last: "params.columns - 1u" },
  ];

  // Loading: blocks of 4 × 4 numbers, those of a first.
  const blocks = sides.map(({ vectors }) => vectors * fours) as [number, number];
  const turns = range(Math.ceil((blocks[0] + blocks[1]) / lanes));
  /** Statements for the blocks of the lanes in a turn, `i` of those of an operand. */
  const forBlock = (turn: number, piece: (side: Side) => string) => {
    const [from, to] = [turn * lanes, (turn + 1) * lanes];
    const [ofA, all] = [blocks[0], blocks[0] + blocks[1]];
    const a = () => `    let i = lane + ${u32(from)};\n${piece(sides[0])}`;
    const b = () => `    let i = lane + ${u32(from)} - ${u32(ofA)};\n${piece(sides[1])}`;
    const guarded = to > all ? `if (lane < ${u32(all - from)}) ` : "";
    if (to <= ofA) return `  {\n${a()}\n  }`;
    if (from >= ofA) return `  ${guarded}{\n${b()}\n  }`;
    return `  if (lane < ${u32(ofA - from)}) {\n${a()}\n  } else ${guarded}{\n${b()}\n  }`;
  };
  /** WGSL names of the block's four of k, and of its vector of the tile. Neighbouring lanes load what lies together. */
  const block = ({ places, vectors }: Side) =>
    places.deep
      ? `    let q = i % ${u32(fours)};\n    let v = i / ${u32(fours)};`
      : `    let q = i / ${u32(vectors)};\n    let v = i % ${u32(vectors)};`;
  /** Where the rows, or columns, of a block are, whatever k. */
  const placed = (turn: number) =>
    forBlock(turn, (side) => {
      const { name, places, first, last } = side;
      const start = itemPlace(name, "item");
      const at = (r: number) => {
        if (places.deep) return `${start} + ${rowPlace(name, places, `min(${first} + 4u * v + ${u32(r)}, ${last})`)}`;
        if (places.vectors) return `${start} + ${columnPlace(places, `min(${first} / 4u + v, (${last}) / 4u)`)}`;
        return `${start} + ${columnPlace(places, `min(${first} + 4u * v + ${u32(r)}, ${last})`)}`;
      };
      return `${block(side)}\n${unroll(places.deep || !places.vectors ? four : [0], (r) => `    at${turn}_${r} = ${at(r)};`)}`;
    });
  const load = (turn: number) =>
    forBlock(turn, (side) => {
      const { name, places } = side;
      const within = (k: string) => (wholeDepths ? k : `min(${k}, end - 1u)`);
      const masked = (vector: string, condition: string) => (wholeDepths ? vector : `select(vec4f(), ${vector}, ${condition})`);
      const number = (r: number) => {
        const k = `(k + ${u32(r)})`;
        if (!places.deep) {
          const row = rowPlace(name, places, within(k));
          const vector = places.vectors ? `${name}[at${turn}_0 + ${row}]` : `vec4f(${four.map((j) => `${name}[at${turn}_${j} + ${row}]`)})`;
          return masked(vector, `${k} < end`);
        }
        if (places.vectors) return masked(`${name}[at${turn}_${r} + ${columnPlace(places, `(${within("k")} / 4u)`)}]`, "k < end");
        const parts = four.map((j) => `${name}[at${turn}_${r} + ${columnPlace(places, within(`(k + ${u32(j)})`))}]`);
        return masked(`vec4f(${parts})`, "vec4u(k) + vec4u(0u, 1u, 2u, 3u) < vec4u(end)");
      };
      return `${block(side)}\n    let k = k0 + 4u * q;\n${unroll(four, (r) => `    next${turn}_${r} = ${number(r)};`)}`;
    });
  const bufferOf = ({ vectors }: Side) => (buffers === 1 ? "" : `buffer * ${u32(fours * vectors)} + `);
  const store = (turn: number) =>
    forBlock(turn, (side) => {
      const { places, variable, vectors } = side;
      const of = (j: number) => (places.deep ? `vec4f(${four.map((r) => `next${turn}_${r}[${j}]`)})` : `next${turn}_${j}`);
      return `${block(side)}
    let at = ${bufferOf(side)}q * ${u32(vectors)} + (v${swizzle(side, fours, "q")});
${unroll(four, (j) => `    ${variable}${j}[at] = ${of(j)};`)}`;
    });
  const compute = (u: number) => {
    const q = unrolled === fours ? u32(u) : `(q + ${u32(u)})`;
    const from = (side: Side, own: string) => `${bufferOf(side)}${q} * ${u32(side.vectors)} + (${own}${swizzle(side, fours, q)})`;
    return `    {
      let row_at = ${from(sides[0], "y")};
      let column_at = ${from(sides[1], "x")};
${unroll(
  four,
  (j) => `      {
${unroll(rowGroups, (g) => `        let a${g} = rows${j}[row_at + ${u32(g * down)}];`)}
${unroll(columnGroups, (c) => `        let b${c} = columns${j}[column_at + ${u32(c * across)}];`)}
${unroll(range(patchRows), (r) => columnGroups.map((c) => `        sum${r}_${c} = fma(vec4f(a${r >> 2}[${r & 3}]), b${c}, sum${r}_${c});`).join("\n"))}
      }`,
)}
    }`;
  };
  const steps = unroll(range(unrolled), compute);
  const products = unrolled === fours ? steps : `    for (var q = 0u; q < ${u32(fours)}; q += ${u32(unrolled)}) {\n${steps}\n    }`;

  // Two warps' widths of lanes in a row would read twice as much of the columns as of the rows: a warp has 8 × 4 patches.
  const warps = across % 8 === 0 && down % 4 === 0;
  const body = wgsl`  let tile_column = group % params.tilesAcross;
  let tile_row = group / params.tilesAcross % params.tilesDown;
  let slice_item = group / params.tilesAcross / params.tilesDown % params.items;
  let split = group / params.tilesAcross / params.tilesDown / params.items;
  let item = params.firstItem + slice_item;
  let first_row = params.firstRow + tile_row * ${u32(rows)};
  let first_column = tile_column * ${u32(columns)};
  let begin = params.firstDepth + split * params.splitDepth;
  let end = min(begin + params.splitDepth, params.endDepth);
#if ${warps}
  let x = lane % 8u + lane / 32u % ${u32(Math.max(1, across / 8))} * 8u;
  let y = lane / 8u % 4u + lane / ${u32(4 * across)} * 4u;
#else
  let x = lane % ${u32(across)};
  let y = lane / ${u32(across)};
#endif
${unroll(range(patchRows), (r) => columnGroups.map((c) => `  var sum${r}_${c} = vec4f();`).join("\n"))}
${unroll(turns, (t) => four.map((r) => `  var next${t}_${r} = vec4f();\n  var at${t}_${r} = 0u;`).join("\n"))}
${unroll(turns, placed)}
#if ${buffers === 2}
  var buffer = 0u;
#endif
  for (var k0 = begin; ; k0 += ${u32(depth)}) {
    if (k0 < end) {
${unroll(turns, load)}
    }
    if (k0 > begin) {
${products}
    }
    if (k0 >= end) { break; }
#if ${buffers === 1}
    workgroupBarrier();
#else
    buffer = 1u - buffer;
#endif
${unroll(turns, store)}
    workgroupBarrier();
  }
#if ${end === "partials"}
  let vectors = (params.columns + 3u) / 4u;
  let origin = (split * params.items + slice_item) * params.sliceRows;
#else
  let origin = ${itemPlace("out", "item")};
#endif
${unroll(columnGroups, (c) => {
  const column = `column${c}`;
  const finish = (r: number) => {
    const row = `first_row + 4u * (y + ${u32((r >> 2) * down)}) + ${u32(r & 3)}`;
    if (end !== "partials") return `  finish(origin, ${row}, ${column}, sum${r}_${c}, bias${c});`;
    return `  keep(origin, ${row}, ${column}, vectors, sum${r}_${c});`;
  };
  return `  let ${column} = first_column / 4u + x + ${u32(c * across)};
${end === "partials" ? "" : `  let bias${c} = bias_of(${column});`}
${unroll(range(patchRows), finish)}`;
})}
`;
  const keep = `
fn keep(origin: u32, row: u32, column: u32, vectors: u32, sum: vec4f) {
  if (row < params.endRow && column < vectors) { out[(origin + row - params.firstRow) * vectors + column] = sum; }
}
`;
  const declarations: Declarations = [
    ...sides.flatMap(({ variable, vectors }) => four.map((j) => vectorArray(`${variable}${j}`, buffers * fours * vectors))),
    end === "partials" ? keep : endFunctions(end),
  ];
  return makeKernel({
    id: "nn/matmul",
    label: `matmul ${rows}×${columns}${end === "partials" ? " partial sums" : ""}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "a", access: "read", element: matrixElement(spec.a) },
      { name: "b", access: "read", element: matrixElement(spec.b) },
      ...(end === "partials" ? ([{ name: "out", access: "read_write", element: "vec4f" }] as const) : endBindings(end)),
    ],
    params: [
      "tilesAcross",
      "tilesDown",
      "items",
      "firstItem",
      "firstRow",
      "sliceRows",
      "firstDepth",
      "endDepth",
      "splitDepth",
      ...matrixParams("a"),
      ...matrixParams("b"),
      ...END_PARAMS,
    ],
    declarations,
    body,
  });
}
