/** π in two parts: 24 bits, whose products with 24 others are exact, and the rest. */
const PI_HIGH = 3.1415927410125732;
const PI_LOW = -8.742278000372485e-8;

/**
 * Writes exp(−2πi k/order) to `target[at]` and `target[at + 1]`. The angle is reduced in integers to an eighth of a turn, and its rounding
 * error made up for: zeros, ones and equal parts come out exactly, the rest to a unit in the last place however large `order` is.
 *
 * @param k an integer of any sign; 4k and 4 · `order` must be exact
 */
export function writeRoot(target: Float64Array, at: number, k: number, order: number): void {
  const rest = k % order;
  // The nearest multiple of a quarter turn, and 4 · order times the turn that is left.
  const quarters = Math.round((4 * rest) / order);
  const left = 4 * rest - quarters * order;
  const half = 2 * order;
  const high = Math.fround(left / half);
  const low = (left - high * half) / half;
  const exact = high * PI_HIGH;
  const more = high * PI_LOW + low * Math.PI;
  const angle = exact + more;
  const error = more - (angle - exact);
  const eighth = 2 * Math.abs(left) === order;
  const c = Math.cos(angle);
  const s = Math.sin(angle);
  const cos = eighth ? Math.SQRT1_2 : c - error * s;
  const sin = eighth ? Math.sign(left) * Math.SQRT1_2 : s + error * c;
  // (−i)^quarters turns cos − i sin.
  const odd = (quarters & 1) !== 0;
  const re = odd ? -sin : cos;
  const im = odd ? -cos : -sin;
  const sign = (quarters & 2) !== 0 ? -1 : 1;
  // Without negative zeros.
  target[at] = sign * re + 0;
  target[at + 1] = sign * im + 0;
}
