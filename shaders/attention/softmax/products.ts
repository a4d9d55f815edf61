/**
 * Products of own rows and others, and of weights and others, through the tiles of attention/softmax/tiles.ts.
 *
 * A score is the sum over its numbers in their order, in all kernels: what is computed again on the way back is the same number, also where
 * an exponent of 1e10 would show any difference.
 */
import { vectorsOf } from "../../wgsl/rows.ts";
import {
  columnVectors,
  filledColumns,
  laneColumns,
  otherOffset,
  ownName,
  patch,
  pieceDepth,
  piecePitch,
  type ProductColumns,
  productRows,
  type SoftmaxKernelLayout,
  type SoftmaxTile,
} from "./tiles.ts";
import { othersOf, type Visible } from "./visible.ts";
import { range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

/** A product of own and other rows that makes scores. */
export interface ScoreProduct {
  /** Binding of the own rows. */
  readonly own: string;
  /** Binding of the others. */
  readonly other: string;
  /** Numbers of a row. */
  readonly width: number;
  /** How the variables of the scores begin: `<sum><v>_<p>`. */
  readonly sum: string;
}

/** A product of weights and other rows. */
export interface WeightedProduct extends ProductColumns {
  /** Binding of the others. */
  readonly other: string;
  /** How the variables of the sums begin: `<sum><v>_<c>_<r>`. */
  readonly sum: string;
}

/** Statements that fill `own<r>` with the piece of own rows that begins at vector `piece`, in the unit of scores if it is for these. */
function loadOwn(layout: SoftmaxKernelLayout, { own, width }: ScoreProduct): string {
  const { tile } = layout;
  const depth = pieceDepth(tile, width);
  const rows = range(4 * tile.rowVectors);
  const unit = own === "queries" || own === "keys" ? " * SCORE_UNIT" : "";
  return wgsl`      for (var i = lane; i < ${u32(tile.rowGroups * depth)}; i += LANES) {
        let row = first + i / ${u32(depth)} * PATCH_ROWS;
        let column = piece + i % ${u32(depth)};
        let at = i / ${u32(depth)} * ${u32(piecePitch(depth))} + i % ${u32(depth)};
${unroll(rows, (r) => `        let vector${r} = load_${own}(bh * N + min(row + ${u32(r)}, tokens - 1u), column)${unit};`)}
${transposed(rows, (r) => ownName(layout, r))}
      }`;
}

/** Statements that put vectors of four numbers of four rows each into `name(4·i + x)` at `at`, as number x of the four rows. */
function transposed(rows: readonly number[], name: (r: number) => string): string {
  return unroll(rows, (r) => {
    const first = r - (r % 4);
    return `        ${name(r)}[at] = vec4f(${range(4)
      .map((i) => `vector${first + i}[${r % 4}]`)
      .join(", ")});`;
  });
}

/**
 * Statements that set `<sum><v>_<p>` to the products of the lane's rows with the others of the tile that starts at `tile_first`; where one of
 * them is beyond the end, the last one stands for it, which takes no branch. They hold barriers, before anything is written to workgroup memory, and after.
 */
export function scoreProduct(layout: SoftmaxKernelLayout, product: ScoreProduct): string {
  const { tile } = layout;
  const { other, width, sum } = product;
  const depth = pieceDepth(tile, width);
  const others = range(tile.patchOthers);
  return wgsl`${unroll(patch(tile), ({ name }) => `    var ${sum}${name} = vec4f();`)}
    for (var piece = 0u; piece < ${u32(vectorsOf(width))}; piece += ${u32(depth)}) {
      workgroupBarrier();
${loadOwn(layout, product)}
      for (var i = lane; i < ${u32(tile.otherGroups * depth)}; i += LANES) {
        let row = tile_first + 4u * (i / ${u32(depth)});
        let column = piece + i % ${u32(depth)};
        let at = i / ${u32(depth)} * ${u32(piecePitch(depth))} + i % ${u32(depth)};
${unroll(others, (p) => `        let vector${p} = load_${other}(bh * ${othersOf(layout)} + min(row + ${u32(otherOffset(tile, p))}, end - 1u), column);`)}
${transposed(others, (p) => `other${p}`)}
      }
      workgroupBarrier();
      for (var c = 0u; c < ${u32(depth)}; c++) {
        let own_at = row_group * ${u32(piecePitch(depth))} + c;
        let other_at = other_group * ${u32(piecePitch(depth))} + c;
${unroll(range(4), (x) => {
  const own = range(tile.rowVectors).map((v) => `        let a${v}_${x} = ${ownName(layout, 4 * v + x)}[own_at];`);
  const fours = range(tile.patchOthers / 4).map((q) => `        let b${q}_${x} = other${4 * q + x}[other_at];`);
  const add = patch(tile).map(
    ({ v, p, name }) => `        ${sum}${name} = fma(a${v}_${x}, vec4f(b${Math.floor(p / 4)}_${x}[${p % 4}]), ${sum}${name});`,
  );
  return [...own, ...fours, ...add].join("\n");
})}
      }
    }`;
}

/** Statements that declare the sums of a product. */
export function declareSums({ rowVectors, otherGroups }: SoftmaxTile, product: WeightedProduct): string {
  return unroll(sumNames({ rowVectors, otherGroups }, product), ({ name }) => `  var ${name} = vec4f();`);
}

/** The sums that a lane has of a product: of row 4·v + r of its own, and its vec4f c of columns. */
export function sumNames(
  { rowVectors, otherGroups }: Pick<SoftmaxTile, "rowVectors" | "otherGroups">,
  product: WeightedProduct,
): readonly { readonly v: number; readonly c: number; readonly r: number; readonly name: string }[] {
  return range(rowVectors).flatMap((v) =>
    range(laneColumns({ otherGroups }, product)).flatMap((c) => range(4).map((r) => ({ v, c, r, name: `${product.sum}${v}_${c}_${r}` }))),
  );
}

/**
 * Statements that add to the sums of a product the weights `<weight><v>_<p>` times the other rows. `other<p>` and `weights<v>_<p>` must be
 * free; barriers follow. Each tile is summed on its own before it joins the total, which keeps the rounding error of long sums down.
 *
 * @param visible for tiles where not all take part, where `diagonal` is true: the others have no influence, not even as NaN
 */
export function weightedProduct(layout: SoftmaxKernelLayout, product: WeightedProduct, weight: string, visible: Visible | undefined): string {
  const { tile } = layout;
  const { otherGroups } = tile;
  const others = range(tile.patchOthers);
  const columns = filledColumns(tile, product);
  const rowsAtOnce = productRows(layout, product);
  const turns = otherGroups / rowsAtOnce;
  const busy = Math.min(otherGroups, columnVectors(product));
  const column = product.columnTiles === 1 ? "" : `column_tile * ${u32(columnVectors(product))} + `;
  const load = wgsl`    for (var i = lane; i < ${u32(rowsAtOnce * columns)}; i += LANES) {
      let row = tile_first + 4u * (part + i / ${u32(columns)});
      let column = ${column}i % ${u32(columns)};
${unroll(others, (p) => `      let vector${p} = load_${product.other}(bh * ${othersOf(layout)} + min(row + ${u32(otherOffset(tile, p))}, end - 1u), column);`)}
${unroll(
  others,
  (p) =>
    `      other${p}[i] = select(vec4f(), vector${p}, ${padded(product, tile) ? `i % ${u32(columns)} < ${u32(columnVectors(product))} && ` : ""}row + ${u32(otherOffset(tile, p))} < end);`,
)}
    }`;
  // Two vectors of sums share what is read.
  const together = 2;
  const names = sumNames(tile, product);
  const sums = range(Math.ceil(laneColumns(tile, product) / together)).map((i) => names.filter(({ c }) => Math.floor(c / together) === i));
  const terms = (group: typeof names, guarded: boolean) => {
    const cs = [...new Set(group.map(({ c }) => c))];
    return wgsl`      for (var j = 0u; j < ${u32(rowsAtOnce)}; j++) {
        let weight_at = (part + j) * WEIGHT_PITCH + row_group;
${unroll(cs, (c) => `        let at${c} = j * ${u32(columns)} + other_group + ${u32(c * otherGroups)};`)}
${others
  .flatMap((p) => [
    ...cs.map((c) => `        let x${c}_${p} = other${p}[at${c}];`),
    ...(guarded ? [`        let other${p}_row = tile_first + 4u * (part + j) + ${u32(otherOffset(tile, p))};`] : []),
    ...range(tile.rowVectors).map((v) => `        let w${v}_${p} = weights${v}_${p}[weight_at];`),
    ...group.map(({ v, c, r, name }) => {
      const sum = `fma(vec4f(w${v}_${p}[${r}]), x${c}_${p}, part_${name})`;
      if (!guarded) return `        part_${name} = ${sum};`;
      return `        part_${name} = select(part_${name}, ${sum}, ${visible!(`first_row + ${u32(4 * v + r)}`, `other${p}_row`)});`;
    }),
  ])
  .join("\n")}
      }`;
  };
  const add = unroll(
    sums,
    (group) => wgsl`      {
${unroll(group, ({ name }) => `      var part_${name} = vec4f();`)}
#if ${visible !== undefined}
      if (diagonal) {
${visible === undefined ? "" : terms(group, true)}
      } else {
${terms(group, false)}
      }
#else
${terms(group, false)}
#endif
${unroll(group, ({ name }) => `      ${name} += part_${name};`)}
      }`,
  );
  return wgsl`    {
    let weight_at = other_group * WEIGHT_PITCH + row_group;
${unroll(patch(tile), ({ name }) => `    weights${name}[weight_at] = ${weight}${name};`)}
    }
    for (var part = 0u; part < OTHER_GROUPS; part += ${u32(rowsAtOnce)}) {
#if ${turns > 1}
    if (part > 0u) { workgroupBarrier(); }
#endif
${load}
    workgroupBarrier();
#if ${busy < otherGroups}
    if (other_group < ${u32(busy)}) {
#endif
${add}
#if ${busy < otherGroups}
    }
#endif
    }`;
}

/** Whether rows of the product's tile have columns that belong to the next one. */
function padded(product: ProductColumns, tile: SoftmaxTile): boolean {
  return product.columnTiles > 1 && filledColumns(tile, product) > columnVectors(product);
}

/**
 * Statements that store the sums of a product, `scaled`, by `store_<binding>`; rows from `tokens` on are zero, or left as they are.
 *
 * @param rows what is added to the number of a row
 * @param scaled WGSL of a sum, from its name and where it is
 */
export function storeSums(
  tile: SoftmaxTile,
  product: WeightedProduct,
  binding: string,
  rows: string,
  leave: boolean,
  scaled: (name: string, v: number, r: number) => string,
): string {
  const columns = columnVectors(product);
  return unroll(sumNames(tile, product), ({ v, c, r, name }) => {
    const column = `other_group + ${u32(c * tile.otherGroups)}`;
    const row = `first_row + ${u32(4 * v + r)}`;
    const at = product.columnTiles === 1 ? column : `column_tile * ${u32(columns)} + ${column}`;
    const within = product.columnTiles === 1 ? "" : `${column} < ${u32(columns)} && `;
    const value = leave ? scaled(name, v, r) : `select(vec4f(), ${scaled(name, v, r)}, ${row} < tokens)`;
    return `  if (${within}${at} < ${u32(vectorsOf(product.width))} && ${row} < ${leave ? "tokens" : "N"}) { store_${binding}(${rows} + ${row}, ${at}, ${value}); }`;
  });
}
