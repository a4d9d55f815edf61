/** Which tiles a matrix product goes by, and into how many parts its sums over k are split. */
import { type MatmulTile, tileBytes, tileLanes } from "../../../shaders/nn/matmul.ts";
import { type Planner, limitError } from "../../program/ranges.ts";
import { CAUTION, MOST_DISPATCH_SECONDS } from "../../program/duration.ts";
import { floorPowerOfTwo, mostLanes } from "../../program/workgroups.ts";

const tile = (rows: number, columns: number, depth: number, patchRows: number, patchColumns: number): MatmulTile =>
  Object.freeze({ rows, columns, depth, patchRows, patchColumns, unroll: 4 });

/** What {@link chooseTile} chooses from; the last are for devices with hardly any lanes or memory. */
export const MATMUL_TILES: readonly MatmulTile[] = [
  tile(128, 128, 16, 8, 8),
  tile(128, 64, 16, 8, 8),
  tile(64, 128, 16, 8, 8),
  tile(64, 64, 16, 8, 8),
  tile(64, 64, 16, 4, 4),
  tile(64, 32, 16, 4, 4),
  tile(32, 64, 16, 4, 4),
  tile(32, 32, 16, 4, 4),
  tile(128, 16, 16, 8, 4),
  tile(16, 128, 16, 4, 8),
  tile(16, 16, 8, 4, 4),
  tile(8, 8, 4, 4, 4),
];

/** A GPU of the size that large products are planned for: cores, lanes that keep one busy, and what one does in a clock. */
const CORES = 132;
const BUSY_LANES = 128;
const MOST_LANES_OF_CORE = 1024;
const PRODUCTS = 128;
const BYTES = 24;
/** Clocks from loading a depth to having it, of a kernel, and of one that adds up the parts. */
const LOAD_CLOCKS = 600;
const KERNEL_CLOCKS = 5000;

/** Sums of more terms than this have too large errors, one by one: √(k/2)·0.41·2⁻²⁴ is 8e-7. */
const MOST_TERMS = 2048;

export interface MatmulShape {
  /** Products of the kind that are made together. */
  readonly items: number;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
}

export interface TileChoice {
  readonly tile: MatmulTile;
  /** Parts of the sums over k, which other workgroups make; each is a whole number of the tile's depths, but the last. */
  readonly splits: number;
  readonly splitDepth: number;
}

/**
 * The tile and the number of splits that take the least time, by a rough model of a large GPU: cores take turns with whole workgroups, lanes wait for
 * loads where there are few of them, and parts have to be written and read.
 *
 * @param partials bytes that the parts may take
 * @throws FastRpbError code `"limit"` where no tile fits
 */
export function chooseTile(planner: Planner, shape: MatmulShape, partials: number, candidates: readonly MatmulTile[] = MATMUL_TILES): TileChoice {
  const { limits } = planner;
  const fitting = candidates.filter((each) => tileLanes(each) <= mostLanes(limits) && tileBytes(each) <= limits.maxComputeWorkgroupStorageSize);
  let best: (TileChoice & { readonly clocks: number }) | undefined;
  for (const each of fitting) {
    for (const choice of splitsOf(each, shape, mostDepth(planner, each), partials)) {
      const clocks = clocksOf(choice, shape);
      if (!best || clocks < best.clocks) best = { ...choice, clocks };
    }
  }
  if (best) return best;
  throw limitError(planner, "maxComputeWorkgroupStorageSize", Math.min(...candidates.map(tileBytes)), "a tile of a matrix product");
}

/** Of k, what one workgroup may go over: as far as sums are exact enough and a slow device has the time. Powers of two: bits should not follow each measured speed. */
function mostDepth({ limits }: Planner, { rows, columns, depth }: MatmulTile): number {
  const { flopsPerSecond, workgroupShare, paces } = limits.speed;
  const pace = paces?.["nn/matmul"] ?? 1;
  const inTime = (CAUTION * MOST_DISPATCH_SECONDS * flopsPerSecond * workgroupShare * pace) / (2 * rows * columns);
  return Math.max(depth, Math.min(MOST_TERMS, floorPowerOfTwo(inTime)));
}

/** Without splits, and the splits that are worth a thought. */
function splitsOf(each: MatmulTile, { items, rows, columns, depth }: MatmulShape, most: number, partials: number): readonly TileChoice[] {
  const choices: TileChoice[] = [{ tile: each, splits: 1, splitDepth: Math.min(most, each.depth * Math.ceil(depth / each.depth)) }];
  const bytes = 16 * items * rows * Math.ceil(columns / 4);
  for (let wanted = 2; wanted <= 1024; wanted += Math.ceil(wanted / 4)) {
    const splitDepth = each.depth * Math.ceil(depth / wanted / each.depth);
    const splits = Math.ceil(depth / splitDepth);
    if (splits < 2 || splitDepth < 2 * each.depth || splits * bytes > partials) break;
    if (splitDepth <= most) choices.push({ tile: each, splits, splitDepth });
  }
  return choices;
}

function clocksOf({ tile: each, splits, splitDepth }: TileChoice, { items, rows, columns, depth }: MatmulShape): number {
  const { patchRows, patchColumns } = each;
  const lanes = tileLanes(each);
  const groups = items * Math.ceil(rows / each.rows) * Math.ceil(columns / each.columns) * splits;
  const ofCore = Math.ceil(groups / CORES);
  const atOnce = Math.min(ofCore, Math.max(1, Math.floor(MOST_LANES_OF_CORE / 2 / lanes)));
  const WARP = 32;
  const efficiency = Math.min(1, lanes / WARP) / (1 + (2.1 * (patchRows + patchColumns)) / (patchRows * patchColumns));
  const products = (each.rows * each.columns) / (PRODUCTS * efficiency * Math.min(1, (atOnce * lanes) / BUSY_LANES));
  const traffic = (4 * (each.rows + each.columns)) / BYTES;
  // Two more, for what a workgroup does before and after.
  const turns = 2 + Math.ceil((splits > 1 ? splitDepth : depth) / each.depth);
  const work = ofCore * each.depth * (Math.max(products, traffic) + 0.3 * Math.min(products, traffic));
  const ofTurns = turns * Math.max(Math.ceil(ofCore / atOnce) * LOAD_CLOCKS, work);
  const parts = splits > 1 ? KERNEL_CLOCKS + (2 * 4 * splits * items * rows * columns) / (BYTES * CORES) : 0;
  return ofTurns + KERNEL_CLOCKS + parts;
}
