/**
 * What the kernels of softmax attention share. A workgroup has ROWS rows of its own and goes through the other side, OTHERS rows at a time:
 * queries through keys, or keys through queries. Nothing larger than such a tile exists of the N × N matrix.
 *
 * Lane → (row_group, other_group), other groups fastest. A lane has the 4·rowVectors rows from first_row on, and the others other_group +
 * p·OTHER_GROUPS of a tile: a patch of scores in registers, as vectors of four rows `s<v>_<p>`. For a product of weights and rows, it has
 * the same rows, and the columns other_group + c·OTHER_GROUPS in units of four: `sum<v>_<c>_<r>`.
 *
 * In workgroup memory row r of a lane's patch is in `own<r>` and other p in `other<p>`, so that one index serves a whole patch and is
 * checked once. Their pitch is odd: lanes that read different rows read different banks. `weights<v>_<p>` holds weights for products.
 *
 * A score is the sum over its numbers in blocks of at most `depth`, in one order in all kernels of the same depth: what is computed again
 * on the way back is the same number, also where an exponent of 1e10 would show any difference.
 */
import { workgroupBytes } from "../../wgsl/kernel.ts";
import { LOWEST, range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxTile {
  readonly rowGroups: number;
  readonly otherGroups: number;
  /** Rows of a lane, in fours. */
  readonly rowVectors: 1 | 2;
  /** Others of a lane. */
  readonly patchOthers: 1 | 2 | 4;
  /** Numbers of a row that stand in workgroup memory, in fours, at most. */
  readonly depth: number;
}

export function softmaxLanes({ rowGroups, otherGroups }: SoftmaxTile): number {
  return rowGroups * otherGroups;
}

export function softmaxRows({ rowGroups, rowVectors }: SoftmaxTile): number {
  return 4 * rowVectors * rowGroups;
}

export function softmaxOthers({ otherGroups, patchOthers }: SoftmaxTile): number {
  return patchOthers * otherGroups;
}

/** What the kernels of the gradient have in common. */
export interface SoftmaxGradientSpec {
  /** N */
  readonly length: number;
  /** D, E */
  readonly headDim: number;
  readonly valueDim: number;
  readonly scale: number;
  readonly causal: boolean;
  readonly variableLengths: boolean;
  /** Of the same depth in all of them. */
  readonly tile: SoftmaxTile;
}

/** A product of own and other rows that makes scores. */
export interface ScoreProduct {
  /** Bindings. */
  readonly own: string;
  readonly other: string;
  /** Numbers of a row. */
  readonly width: number;
  /** `<sum><v>_<p>` are the scores. */
  readonly sum: string;
}

/** Columns of a product of weights with other rows. */
export interface WeightedProduct {
  readonly other: string;
  /** Numbers of a row. */
  readonly width: number;
  readonly columnTiles: number;
  /** `<sum><v>_<c>_<r>` are the sums. */
  readonly sum: string;
}

/** vec4f of a row. */
export function vectorsOf(width: number): number {
  return Math.ceil(width / 4);
}

/** vec4f of a row in workgroup memory at a time: rows are cut into equal pieces. */
export function pieceDepth(tile: Pick<SoftmaxTile, "depth">, width: number): number {
  return Math.ceil(vectorsOf(width) / scorePieces(tile, width));
}

/** Pieces that a row goes through workgroup memory in. */
export function scorePieces({ depth }: Pick<SoftmaxTile, "depth">, width: number): number {
  return Math.ceil(vectorsOf(width) / depth);
}

/** vec4f of columns that a workgroup does, and that a lane does. */
export function columnVectors({ width, columnTiles }: Pick<WeightedProduct, "width" | "columnTiles">): number {
  return Math.ceil(vectorsOf(width) / columnTiles);
}

export function laneColumns({ otherGroups }: Pick<SoftmaxTile, "otherGroups">, product: Pick<WeightedProduct, "width" | "columnTiles">): number {
  return Math.ceil(columnVectors(product) / otherGroups);
}

/** Columns with those that only fill up the lanes. */
function filledColumns(tile: SoftmaxTile, product: Pick<WeightedProduct, "width" | "columnTiles">): number {
  const columns = laneColumns(tile, product);
  return columns === 1 ? columnVectors(product) : columns * tile.otherGroups;
}

type Layout = Pick<SoftmaxKernelLayout, "tile" | "scores" | "products">;

/** What decides the layout of a kernel's workgroup memory. */
export interface SoftmaxKernelLayout {
  readonly tile: SoftmaxTile;
  readonly scores: readonly Pick<ScoreProduct, "width">[];
  readonly products: readonly Pick<WeightedProduct, "width" | "columnTiles">[];
  /** Whether rows share a maximum while it runs, or sums at the end. */
  readonly shares: boolean;
  /** Whose statistics stand there. */
  readonly statistics: "own" | "other" | "none";
}

function pitch(depth: number): number {
  return depth | 1;
}

function ownSize({ tile, scores }: Layout): number {
  return tile.rowGroups * Math.max(...scores.map(({ width }) => pitch(pieceDepth(tile, width))));
}

function otherSize({ tile, scores, products }: Layout): number {
  const pieces = scores.map(({ width }) => tile.otherGroups * pitch(pieceDepth(tile, width)));
  return Math.max(...pieces, ...products.map((product) => filledColumns(tile, product)));
}

/** Rows of each `other<p>` that fit there at a time, for a product: a divisor of all. */
function productRows(layout: Layout, product: Pick<WeightedProduct, "width" | "columnTiles">): number {
  const columns = filledColumns(layout.tile, product);
  const size = otherSize(layout);
  return range(layout.tile.otherGroups)
    .map((i) => layout.tile.otherGroups - i)
    .find((rows) => layout.tile.otherGroups % rows === 0 && rows * columns <= size)!;
}

function weightPitch({ rowGroups }: SoftmaxTile): number {
  return rowGroups | 1;
}

/** Workgroup variables of vec4f, by name. */
function variables(layout: SoftmaxKernelLayout): readonly (readonly [name: string, size: number])[] {
  const { tile } = layout;
  const vectors = range(tile.rowVectors);
  const others = range(tile.patchOthers);
  const weights = tile.otherGroups * weightPitch(tile);
  const statistics = { own: softmaxRows(tile), other: softmaxOthers(tile), none: 0 }[layout.statistics];
  return [
    ...range(4 * tile.rowVectors).map((r) => [`own${r}`, ownSize(layout)] as const),
    ...others.map((p) => [`other${p}`, otherSize(layout)] as const),
    ...(layout.products.length > 0 ? vectors.flatMap((v) => others.map((p) => [`weights${v}_${p}`, weights] as const)) : []),
    ...(layout.shares ? vectors.map((v) => [`shared${v}`, softmaxLanes(tile)] as const) : []),
    ...(statistics > 0 ? [["statistics_tile", statistics] as const] : []),
  ];
}

/** Bytes of workgroup memory. */
export function softmaxBytes(layout: SoftmaxKernelLayout): number {
  return workgroupBytes(...variables(layout).map(([, size]) => 16 * size));
}

/** Constants and workgroup variables. */
export function softmaxDeclarations(layout: SoftmaxKernelLayout, length: number): string {
  const { tile } = layout;
  return wgsl`const N = ${u32(length)};
const ROWS = ${u32(softmaxRows(tile))};
const ROW_TILES = ${u32(Math.ceil(length / softmaxRows(tile)))};
const PATCH_ROWS = ${u32(4 * tile.rowVectors)};
const OTHERS = ${u32(softmaxOthers(tile))};
const OTHER_GROUPS = ${u32(tile.otherGroups)};
const WEIGHT_PITCH = ${u32(weightPitch(tile))};
${variables(layout)
  .map(([name, size]) => `var<workgroup> ${name}: array<vec4f, ${u32(size)}>;`)
  .join("\n")}
`;
}

/** Every vector of four rows with every other of a patch: their names end so. */
export function patch({ rowVectors, patchOthers }: SoftmaxTile): readonly { readonly v: number; readonly p: number; readonly name: string }[] {
  return range(rowVectors).flatMap((v) => range(patchOthers).map((p) => ({ v, p, name: `${v}_${p}` })));
}

/**
 * Fills `own<r>` with the pieces from vector `from` on of the rows below `tokens`. Statements; the tile must be free.
 *
 * @param from WGSL
 */
export function loadOwn({ tile }: Pick<Layout, "tile">, { own, width }: Pick<ScoreProduct, "own" | "width">, from: string): string {
  const depth = pieceDepth(tile, width);
  return wgsl`      for (var i = lane; i < ${u32(tile.rowGroups * depth)}; i += LANES) {
        let row = first + i / ${u32(depth)} * PATCH_ROWS;
        let column = ${from} + i % ${u32(depth)};
        let at = i / ${u32(depth)} * ${u32(pitch(depth))} + i % ${u32(depth)};
${range(4 * tile.rowVectors)
  .map(
    (r) => `        var vector${r} = vec4f();
        if (row + ${u32(r)} < tokens) { vector${r} = load_${own}(bh * N + row + ${u32(r)}, column); }
        own${r}[at] = vector${r};`,
  )
  .join("\n")}
      }`;
}

/**
 * Statements that set `<sum><v>_<p>` to the products of the lane's rows with the others of the tile that starts at `tile_first`, those from
 * `end` on being zero. Barriers before anything is written to workgroup memory, and after.
 *
 * @param resident `own<r>` holds the whole rows already
 */
export function scoreProduct(layout: Layout, product: ScoreProduct, resident: boolean): string {
  const { tile } = layout;
  const { other, width, sum } = product;
  const depth = pieceDepth(tile, width);
  const rows = range(4 * tile.rowVectors);
  const others = range(tile.patchOthers);
  return wgsl`${patch(tile)
    .map(({ name }) => `    var ${sum}${name} = vec4f();`)
    .join("\n")}
    for (var piece = 0u; piece < ${u32(vectorsOf(width))}; piece += ${u32(depth)}) {
      workgroupBarrier();
#if ${!resident}
${loadOwn(layout, product, "piece")}
#endif
      for (var i = lane; i < ${u32(tile.otherGroups * depth)}; i += LANES) {
        let row = tile_first + i / ${u32(depth)};
        let column = piece + i % ${u32(depth)};
        let at = i / ${u32(depth)} * ${u32(pitch(depth))} + i % ${u32(depth)};
${others
  .map(
    (p) => `        var vector${p} = vec4f();
        if (row + ${u32(p)} * OTHER_GROUPS < end) { vector${p} = load_${other}(bh * N + row + ${u32(p)} * OTHER_GROUPS, column); }
        other${p}[at] = vector${p};`,
  )
  .join("\n")}
      }
      workgroupBarrier();
${patch(tile)
  .map(({ name }) => `      var piece_${sum}${name} = vec4f();`)
  .join("\n")}
      for (var c = 0u; c < ${u32(depth)}; c++) {
        let own_at = row_group * ${u32(pitch(depth))} + c;
        let other_at = other_group * ${u32(pitch(depth))} + c;
${others.map((p) => `        let b${p} = other${p}[other_at];`).join("\n")}
${rows.map((r) => `        let a${r} = own${r}[own_at];`).join("\n")}
${patch(tile)
  .map(({ v, p, name }) => {
    const score = (r: number) => range(4).reduce((inner, x) => `fma(a${4 * v + r}[${x}], b${p}[${x}], ${inner})`, `piece_${sum}${name}[${r}]`);
    return `        piece_${sum}${name} = vec4f(${range(4).map(score).join(", ")});`;
  })
  .join("\n")}
      }
${patch(tile)
  .map(({ name }) => `      ${sum}${name} += piece_${sum}${name};`)
  .join("\n")}
    }`;
}

/** Declares the sums of a product. */
export function declareSums({ rowVectors, otherGroups }: SoftmaxTile, product: WeightedProduct): string {
  return sumNames({ rowVectors, otherGroups }, product)
    .map(({ name }) => `  var ${name} = vec4f();`)
    .join("\n");
}

export function sumNames(
  { rowVectors, otherGroups }: Pick<SoftmaxTile, "rowVectors" | "otherGroups">,
  product: WeightedProduct,
): readonly { readonly v: number; readonly c: number; readonly r: number; readonly name: string }[] {
  return range(rowVectors).flatMap((v) =>
    range(laneColumns({ otherGroups }, product)).flatMap((c) => range(4).map((r) => ({ v, c, r, name: `${product.sum}${v}_${c}_${r}` }))),
  );
}

/** WGSL condition that a row takes part with another, in a tile where not all do; `diagonal` says so. */
export type Visible = (row: string, other: string) => string;

/**
 * Statements that add to the sums of a product the weights `<weight><v>_<p>` times the other rows. `other<p>` and `weights<v>_<p>` must be
 * free; barriers follow. Each tile is summed on its own before it joins the total, which keeps the rounding error of long sums down.
 *
 * @param visible where some take no part: they have no influence, not even as NaN
 */
export function weightedProduct(layout: Layout, product: WeightedProduct, weight: string, visible: Visible | undefined): string {
  const { tile } = layout;
  const { otherGroups } = tile;
  const others = range(tile.patchOthers);
  const columns = filledColumns(tile, product);
  const rowsAtOnce = productRows(layout, product);
  const parts = otherGroups / rowsAtOnce;
  const busy = Math.min(otherGroups, columnVectors(product));
  const column = product.columnTiles === 1 ? "" : `column_tile * ${u32(columnVectors(product))} + `;
  const load = wgsl`    for (var i = lane; i < ${u32(rowsAtOnce * columns)}; i += LANES) {
      let row = tile_first + part + i / ${u32(columns)};
      let column = ${column}i % ${u32(columns)};
${others
  .map(
    (p) => `      var vector${p} = vec4f();
      if (${padded(product, tile) ? `i % ${u32(columns)} < ${u32(columnVectors(product))} && ` : ""}row + ${u32(p)} * OTHER_GROUPS < end) { vector${p} = load_${product.other}(bh * N + row + ${u32(p)} * OTHER_GROUPS, column); }
      other${p}[i] = vector${p};`,
  )
  .join("\n")}
    }`;
  // Two vectors of sums share what is read.
  const together = tile.rowVectors === 1 ? 2 : 1;
  const names = sumNames(tile, product);
  const sums = range(Math.ceil(laneColumns(tile, product) / together)).map((i) => names.filter(({ c }) => Math.floor(c / together) === i));
  const terms = (group: typeof names, guarded: boolean) => {
    const cs = [...new Set(group.map(({ c }) => c))];
    return wgsl`      for (var j = 0u; j < ${u32(rowsAtOnce)}; j++) {
        let weight_at = (part + j) * WEIGHT_PITCH + row_group;
${cs.map((c) => `        let at${c} = j * ${u32(columns)} + other_group + ${u32(c * otherGroups)};`).join("\n")}
${others
  .flatMap((p) => [
    ...cs.map((c) => `        let x${c}_${p} = other${p}[at${c}];`),
    ...(guarded ? [`        let other${p}_row = tile_first + part + j + ${u32(p)} * OTHER_GROUPS;`] : []),
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
  const add = sums
    .map(
      (group) => wgsl`      {
${group.map(({ name }) => `      var part_${name} = vec4f();`).join("\n")}
#if ${visible !== undefined}
      if (diagonal) {
${visible === undefined ? "" : terms(group, true)}
      } else {
${terms(group, false)}
      }
#else
${terms(group, false)}
#endif
${group.map(({ name }) => `      ${name} += part_${name};`).join("\n")}
      }`,
    )
    .join("\n");
  return wgsl`    {
    let weight_at = other_group * WEIGHT_PITCH + row_group;
${patch(tile)
  .map(({ name }) => `    weights${name}[weight_at] = ${weight}${name};`)
  .join("\n")}
    }
    for (var part = 0u; part < OTHER_GROUPS; part += ${u32(rowsAtOnce)}) {
#if ${parts > 1}
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
function padded(product: Pick<WeightedProduct, "width" | "columnTiles">, tile: SoftmaxTile): boolean {
  return product.columnTiles > 1 && filledColumns(tile, product) > columnVectors(product);
}

/**
 * Statements that store the sums of a product, `scaled`, by `store_<binding>`; rows from `tokens` on are zero, or left as they are.
 *
 * @param scaled WGSL of a sum, from its name and where it is
 */
export function storeSums(
  tile: SoftmaxTile,
  product: WeightedProduct,
  binding: string,
  accumulate: boolean,
  scaled: (name: string, v: number, r: number) => string,
): string {
  const columns = columnVectors(product);
  return sumNames(tile, product)
    .map(({ v, c, r, name }) => {
      const column = `other_group + ${u32(c * tile.otherGroups)}`;
      const row = `first_row + ${u32(4 * v + r)}`;
      const at = product.columnTiles === 1 ? column : `column_tile * ${u32(columns)} + ${column}`;
      const within = product.columnTiles === 1 ? "" : `${column} < ${u32(columns)} && `;
      const value = accumulate ? scaled(name, v, r) : `select(vec4f(), ${scaled(name, v, r)}, ${row} < tokens)`;
      return `  if (${within}${at} < ${u32(vectorsOf(product.width))} && ${row} < ${accumulate ? "tokens" : "N"}) { store_${binding}(bh * N + ${row}, ${at}, ${value}); }`;
    })
    .join("\n");
}

/** Statements that replace `<names><v>` of each lane by the sums over the lanes of a row. Barriers before and between. */
export function sumOverOthers({ rowVectors }: SoftmaxTile, names: readonly string[]): string {
  const vectors = range(rowVectors);
  return names
    .map(
      (name) => wgsl`  workgroupBarrier();
${vectors.map((v) => `  shared${v}[lane] = ${name}${v};`).join("\n")}
  workgroupBarrier();
${vectors.map((v) => `  ${name}${v} = vec4f();`).join("\n")}
  for (var i = row_group * OTHER_GROUPS; i < (row_group + 1u) * OTHER_GROUPS; i++) {
${vectors.map((v) => `    ${name}${v} += shared${v}[i];`).join("\n")}
  }`,
    )
    .join("\n");
}

interface Sequence {
  readonly causal: boolean;
  readonly variableLengths: boolean;
}

/** Statements that start a kernel: which rows and columns are the workgroup's, and which are the lane's. Needs COLUMN_TILES where there are some. */
export function softmaxStart({ variableLengths }: Sequence, columnTiles: number, longestLast: boolean): string {
  const place = columnTiles === 1 ? "group" : "group / COLUMN_TILES";
  return wgsl`#if ${columnTiles > 1}
  let column_tile = group % COLUMN_TILES;
#endif
#if ${longestLast}
  let row_tile = ROW_TILES - 1u - ${place} % ROW_TILES;
#else
  let row_tile = ${place} % ROW_TILES;
#endif
  let bh = params.firstHead + ${place} / ROW_TILES;
  let tokens = ${variableLengths ? "length_of(bh)" : "N"};
  let first = row_tile * ROWS;
  let row_group = lane / OTHER_GROUPS;
  let other_group = lane % OTHER_GROUPS;
  let first_row = first + row_group * PATCH_ROWS;
`;
}

/** The same where rows are queries, and others keys: `end` is where the keys end that any of them sees. */
export function overKeys(sequence: Sequence, columnTiles: number): string {
  return wgsl`${softmaxStart(sequence, columnTiles, sequence.causal)}
  let end = select(${sequence.causal ? "min(tokens, first + ROWS)" : "tokens"}, 0u, first >= tokens);
`;
}

/**
 * `fn weight(difference)`: exp(SCALE · difference), for differences from the maximum. Needs {@link EXPONENTIAL4}. What is left out lies at
 * the lowest float: its difference may be beyond the floats.
 */
export const SOFTMAX_WEIGHT = wgsl`
fn weight(difference: vec4f) -> vec4f { return exponential4(max(SCALE * difference, vec4f(-100.0))); }
`;

/** WGSL: which of the four rows of vector `v` see `key<p>`, causally. */
export function seesKey(v: number, p: number): string {
  return `vec4u(key${p}) <= vec4u(first_row + ${u32(4 * v)}) + vec4u(0u, 1u, 2u, 3u)`;
}

/**
 * Statements that raise `maximum<v>` to the maxima of the scores `s<v>_<p>` of the tile, among the keys that a row sees, and say by which
 * factor what has been summed so far shrinks (`factor<v>`). Other scores become the lowest float. One barrier.
 */
export function raiseMaximum(tile: SoftmaxTile, causal: boolean): string {
  const vectors = range(tile.rowVectors);
  const others = range(tile.patchOthers);
  return wgsl`${others.map((p) => `    let key${p} = tile_first + other_group + ${u32(p)} * OTHER_GROUPS;`).join("\n")}
${patch(tile)
  .map(({ v, p, name }) => {
    const sees = causal ? seesKey(v, p) : `key${p} < end`;
    return `    s${name} = select(vec4f(${LOWEST}), s${name}, ${sees});`;
  })
  .join("\n")}
${vectors.map((v) => `    shared${v}[lane] = ${others.slice(1).reduce((largest, p) => `max(${largest}, s${v}_${p})`, `s${v}_0`)};`).join("\n")}
    workgroupBarrier();
${vectors.map((v) => `    var largest${v} = maximum${v};`).join("\n")}
    for (var i = row_group * OTHER_GROUPS; i < (row_group + 1u) * OTHER_GROUPS; i++) {
${vectors.map((v) => `      largest${v} = max(largest${v}, shared${v}[i]);`).join("\n")}
    }
${vectors
  .map(
    (v) => `    let factor${v} = weight(maximum${v} - largest${v});
    maximum${v} = largest${v};`,
  )
  .join("\n")}`;
}
