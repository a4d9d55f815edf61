/**
 * A relative bias in the logits, scale·q_i·k_j + b[place(j) − place(i) + CENTER]: weights `bias` [heads, (2H − 1)(2W − 1)] of a grid [H, W], [1, N] of a
 * sequence, [heads, N + M − 1] of N queries and M keys, with place(n) = ⌊n/W⌋·(2W − 1) + n mod W. Scores are products without the scale, in
 * units of their own, so b / scale is added to them in these. Where b is −∞, or below the floats that can be added, it is a mask: the score becomes
 * the lowest float, whose weight is zero, also in rows that see nothing else.
 */
import type { KernelBinding } from "../../wgsl/kernel.ts";
import { lengthParams } from "../../wgsl/lengths.ts";
import { LARGEST_SCALE, otherOffset, scoreUnit, type SoftmaxKernelSpec, type SoftmaxTile } from "./tiles.ts";
import { f32, LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

type Biased = Pick<SoftmaxKernelSpec, "biasGrid" | "biasBetween" | "scale">;

/** The binding `bias`, where there is one. */
export function biasBinding({ biasGrid }: Pick<Biased, "biasGrid">): readonly Omit<KernelBinding, "binding">[] {
  return biasGrid ? [{ name: "bias", access: "read", element: "f32" }] : [];
}

/** The parameter `heads`, where lengths, a bias or a mask need it. */
export function headParams({
  biasGrid,
  variableLengths,
  keyMask,
}: Pick<SoftmaxKernelSpec, "biasGrid" | "variableLengths" | "keyMask">): readonly string[] {
  return lengthParams({ variableLengths: variableLengths || biasGrid !== undefined || keyMask === true });
}

/** Declarations: `place`, and `load_bias(first, at)`, a weight of the head whose weights begin at `first`. */
export function biasDeclarations({ biasGrid, biasBetween, scale }: Biased): string {
  if (!biasGrid) return "";
  const [height, width] = biasGrid;
  const pitch = 2 * width - 1;
  const [before, after] = biasBetween ?? [width, width];
  return wgsl`
const BIAS_WEIGHTS = ${u32((2 * height - 1) * (before + after - 1))};
const BIAS_CENTER = ${u32((height - 1) * pitch + before - 1)};
const SCORE_OF_BIAS = ${f32(Math.min(1 / scale, LARGEST_SCALE) * scoreUnit(scale))};
#if ${height > 1}
fn place(token: u32) -> u32 { return token / ${u32(width)} * ${u32(pitch)} + token % ${u32(width)}; }
#else
fn place(token: u32) -> u32 { return token; }
#endif
// Of pairs that do not count, any weight.
fn load_bias(first: u32, at: u32) -> f32 { return bias[first + min(at, BIAS_WEIGHTS - 1u)]; }
fn with_bias(score: vec4f, b: vec4f) -> vec4f { return select(fma(b, vec4f(SCORE_OF_BIAS), score), vec4f(${LOWEST}), b < vec4f(-${f32(3e38)})); }
`;
}

/** Statements that add the bias to the scores `s<v>_<p>` of a tile. In a sequence, four rows and four others have seven weights between them. */
export function addLogitBias({ biasGrid }: Biased, tile: SoftmaxTile, rows: "queries" | "keys"): string {
  if (!biasGrid) return "";
  const [height] = biasGrid;
  const fours = range(tile.patchOthers / 4);
  const blocks = range(tile.rowVectors).flatMap((v) => fours.map((q) => ({ v, q })));
  const row = (v: number, r: number) => `first_row + ${u32(4 * v + r)}`;
  const other = (p: number) => `tile_first + 4u * other_group + ${u32(otherOffset(tile, p))}`;
  const difference = (ofRow: string, ofOther: string) => (rows === "queries" ? `${ofOther} - (${ofRow})` : `${ofRow} - (${ofOther})`);
  const weights = ({ v, q }: { readonly v: number; readonly q: number }) => {
    if (height > 1) {
      return unroll(range(4), (p) => {
        const four = range(4).map((r) => `load_bias(bias_first, ${difference(`place(${row(v, r)})`, `place(${other(4 * q + p)})`)} + BIAS_CENTER)`);
        return `      let b${v}_${4 * q + p} = vec4f(${four.join(", ")});`;
      });
    }
    // Weight m is that of the pairs whose tokens differ by m − 3 more than the first two do.
    const m = (r: number, p: number) => (rows === "queries" ? p - r : r - p) + 3;
    return wgsl`      let at${v}_${q} = ${difference(row(v, 0), other(4 * q))} + BIAS_CENTER - 3u;
${unroll(range(7), (i) => `      let weight${v}_${q}_${i} = load_bias(bias_first, at${v}_${q} + ${u32(i)});`)}
${unroll(
  range(4),
  (p) =>
    `      let b${v}_${4 * q + p} = vec4f(${range(4)
      .map((r) => `weight${v}_${q}_${m(r, p)}`)
      .join(", ")});`,
)}`;
  };
  return wgsl`
    {
      let bias_first = bh % params.heads * BIAS_WEIGHTS;
${unroll(blocks, weights)}
${unroll(blocks, ({ v, q }) => unroll(range(4), (p) => `      s${v}_${4 * q + p} = with_bias(s${v}_${4 * q + p}, b${v}_${4 * q + p});`))}
    }
`;
}
