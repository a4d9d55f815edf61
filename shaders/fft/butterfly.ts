/**
 * Butterflies: in-place forward DFTs of 2, 3, 4, 5, 7, 8, 11, 13 and 16 complex values in registers, in natural order. They know no memory.
 * An inverse transform swaps re and im before and after.
 *
 * Odd radices pair x_j with x_{R−j}: with t_j = x_j + x_{R−j} and d_j = x_j − x_{R−j},
 *   y_k = x_0 + Σ_j cos(2πjk/R) t_j − i Σ_j sin(2πjk/R) d_j,   y_{R−k} the same with +i   (j = 1 … (R−1)/2).
 * Radix 8 is 2 × 4 and radix 16 is 4 × 4, by the usual decimation (Cooley and Tukey 1965).
 *
 * Fused butterflies of powers of two take twiddles on the way: x_r exp(−iφr) instead of x_r. As layers of radix 2 they turn one value of two in
 * each, in the same multiply-adds that add it, a ± w·b: 6 operations for two complex values.
 */
import { f32, range, wgsl, unroll } from "../wgsl/wgsl.ts";

/** The radices that have a butterfly; 1 is the identity, for a transform of length 1. */
export const RADICES = [1, 2, 3, 4, 5, 7, 8, 11, 13, 16] as const;
/** A radix that has a butterfly. */
export type Radix = (typeof RADICES)[number];

const ODD_RADICES = [3, 5, 7, 11, 13] as const;
type OddRadix = (typeof ODD_RADICES)[number];

const BUTTERFLY_2 = wgsl`
fn butterfly2(a: ptr<function, vec2f>, b: ptr<function, vec2f>) {
  let difference = *a - *b;
  *a = *a + *b;
  *b = difference;
}
`;

const BUTTERFLY_4 = wgsl`
fn butterfly4(a: ptr<function, vec2f>, b: ptr<function, vec2f>, c: ptr<function, vec2f>, d: ptr<function, vec2f>) {
  let s0 = *a + *c;
  let s1 = *a - *c;
  let s2 = *b + *d;
  let s3 = rotate(*b - *d);
  *a = s0 + s2;
  *b = s1 + s3;
  *c = s0 - s2;
  *d = s1 - s3;
}
`;

const BUTTERFLY_8 = wgsl`
fn butterfly8(
  a: ptr<function, vec2f>, b: ptr<function, vec2f>, c: ptr<function, vec2f>, d: ptr<function, vec2f>,
  e: ptr<function, vec2f>, f: ptr<function, vec2f>, g: ptr<function, vec2f>, h: ptr<function, vec2f>,
) {
  butterfly4(a, c, e, g);
  butterfly4(b, d, f, h);
  // The odd half times exp(−2πi k/8), k = 0 … 3.
  let o0 = *b;
  let o1 = vec2f((*d).x + (*d).y, (*d).y - (*d).x) * ${f32(Math.SQRT1_2)};
  let o2 = rotate(*f);
  let o3 = vec2f((*h).y - (*h).x, -(*h).x - (*h).y) * ${f32(Math.SQRT1_2)};
  let e0 = *a;
  let e1 = *c;
  let e2 = *e;
  let e3 = *g;
  *a = e0 + o0;
  *b = e1 + o1;
  *c = e2 + o2;
  *d = e3 + o3;
  *e = e0 - o0;
  *f = e1 - o1;
  *g = e2 - o2;
  *h = e3 - o3;
}
`;

/** exp(−2πi/16) − 1 and exp(+2πi/16) − 1, as fft/roots.ts has them. */
const SIXTEENTH = [Math.cos(Math.PI / 8) - 1, Math.sin(Math.PI / 8)] as const;
const TURN_DOWN = `vec2f(${f32(SIXTEENTH[0])}, ${f32(-SIXTEENTH[1])})`;
const TURN_UP = `vec2f(${f32(SIXTEENTH[0])}, ${f32(SIXTEENTH[1])})`;
const EIGHTH = f32(Math.SQRT1_2);

/** z exp(−2πi power/16), by quarter turns and the nearest easy angle. */
function turnSixteenth(z: string, power: number): string {
  const quarters = (count: number, value: string) => ["", "rotate(", "-(", "-rotate("][count % 4] + value + (count % 4 === 0 ? "" : ")");
  const quarter = Math.floor(power / 4);
  switch (power % 4) {
    case 0:
      return quarters(quarter, z);
    case 1:
      return quarters(quarter, `${z} + complex_multiply(${z}, ${TURN_DOWN})`);
    case 2:
      return quarters(quarter, `vec2f(${z}.x + ${z}.y, ${z}.y - ${z}.x) * ${EIGHTH}`);
    default:
      return quarters(quarter + 1, `${z} + complex_multiply(${z}, ${TURN_UP})`);
  }
}

/** v_{j + 4k} times exp(−2πi jk/16) between the two layers of radix 4; the trivial ones are left out. */
const TWIDDLES_16 = unroll(
  range(16)
    .map((i) => ({ i, power: (i % 4) * Math.floor(i / 4) }))
    .filter(({ power }) => power !== 0),
  ({ i, power }) => `  { let z = *p${i}; *p${i} = ${turnSixteenth("z", power)}; }`,
);

const BUTTERFLY_16 = wgsl`
fn butterfly16(
${unroll(range(16), (i) => `  p${i}: ptr<function, vec2f>,`)}
) {
${unroll(range(4), (j) => `  butterfly4(p${j}, p${j + 4}, p${j + 8}, p${j + 12});`)}
${TWIDDLES_16}
${unroll(range(4), (k) => `  butterfly4(p${4 * k}, p${4 * k + 1}, p${4 * k + 2}, p${4 * k + 3});`)}
  // Output k1 + 4 k2 stands at 4 k1 + k2: transpose.
  var t = *p1;
${unroll(
  [
    [1, 4],
    [2, 8],
    [3, 12],
    [6, 9],
    [7, 13],
    [11, 14],
  ],
  ([a, b]) => `  t = *p${a}; *p${a} = *p${b}; *p${b} = t;`,
)}
}
`;

function oddButterfly(radix: OddRadix): string {
  const half = (radix - 1) / 2;
  const js = range(half).map((j) => j + 1);
  const angle = (j: number, k: number) => (2 * Math.PI * ((j * k) % radix)) / radix;
  return wgsl`
fn butterfly${radix}(
${unroll(range(radix), (i) => `  x${i}: ptr<function, vec2f>,`)}
) {
${unroll(js, (j) => `  let t${j} = *x${j} + *x${radix - j};\n  let d${j} = *x${j} - *x${radix - j};`)}
${unroll(js, (k) => {
  const cosines = weightedSum(js.map((j) => [Math.cos(angle(j, k)), `t${j}`]));
  const sines = weightedSum(js.map((j) => [Math.sin(angle(j, k)), `d${j}`]));
  return `  let c${k} = *x0 + ${cosines};\n  let s${k} = rotate(${sines});`;
})}
  *x0 = *x0 + (${js.map((j) => `t${j}`).join(" + ")});
${unroll(js, (k) => `  *x${k} = c${k} + s${k};\n  *x${radix - k} = c${k} - s${k};`)}
}
`;
}

/** Weights above this are ±1 and a small rest: the product of a rest rounds, and the rest itself is rounded, in proportion to its size. */
const NEARLY_ONE = 0.8;

/** Σ weight·value, the value of a weight near ±1 added as a whole. */
function weightedSum(terms: readonly (readonly [weight: number, value: string])[]): string {
  const whole = (weight: number) => (Math.abs(weight) > NEARLY_ONE ? Math.sign(weight) : 0);
  const [only] = terms;
  if (terms.length === 1 && whole(only![0]) === 1) {
    // As a sum of product and value, compilers would fold it back into one product.
    return `fma(vec2f(${f32(only![0] - 1)}), ${only![1]}, ${only![1]})`;
  }
  const products = terms.map(([weight, value]) => `${f32(weight - whole(weight))} * ${value}`).join(" + ");
  const wholes = terms.map(([weight, value]) => (whole(weight) === 0 ? "" : `${whole(weight) > 0 ? " + " : " - "}${value}`)).join("");
  return `((${products})${wholes})`;
}

/**
 * `fn fused<radix>(p0, …, t0, …)` for each of the radices, powers of two. The R/2 roots t are layer by layer, over 2, 4, … R points, the
 * exp(−i(φR + 2πj)/points) for j < max(1, points/4); the others are these times −i. It needs `rotate`.
 */
export function fusedButterflies(radices: readonly Radix[]): string {
  return `
// a + w b and a - w b
fn plus_minus(a: ptr<function, vec2f>, b: ptr<function, vec2f>, w: vec2f) {
  let sum = fma(vec2f(w.x), *b, fma(vec2f(w.y), vec2f(-(*b).y, (*b).x), *a));
  *b = fma(vec2f(2.0), *a, -sum);
  *a = sum;
}
${[...new Set(radices)].map(fusedButterfly).join("")}`;
}

/** The binary digits of a number below `count`, a power of two, in reversed order. */
function reversed(digits: number, count: number): number {
  return count === 1 ? 0 : (digits % 2) * (count / 2) + reversed(digits >> 1, count / 2);
}

function fusedButterfly(radix: Radix): string {
  const layers = range(Math.log2(radix)).flatMap((layer) => {
    const count = 2 ** layer; // pairs of each transform of this layer
    const distance = radix / count / 2;
    const firsts = range(radix).filter((i) => (i & distance) === 0);
    return firsts.map((i) => {
      const j = reversed(Math.floor(i / distance / 2), count);
      const own = Math.ceil(count / 2);
      const root = `t${(count >> 1) + (j % own)}`;
      return `  plus_minus(p${i}, p${i + distance}, ${j < own ? root : `rotate(${root})`});`;
    });
  });
  const swaps = range(radix).filter((i) => i < reversed(i, radix));
  return `fn fused${radix}(
${unroll(range(radix), (i) => `  p${i}: ptr<function, vec2f>,`)}
${unroll(range(radix / 2), (i) => `  t${i}: vec2f,`)}
) {
${layers.join("\n")}
${unroll(swaps, (i) => `  { let moved = *p${i}; *p${i} = *p${reversed(i, radix)}; *p${reversed(i, radix)} = moved; }`)}
}
`;
}

/** WGSL of the butterflies for the given radices, each once, with what they build on. */
export function butterflies(radices: readonly Radix[]): string {
  const uses = new Set<number>(radices);
  const pieces: string[] = [];
  if (uses.has(2)) pieces.push(BUTTERFLY_2);
  if (uses.has(4) || uses.has(8) || uses.has(16)) pieces.push(BUTTERFLY_4);
  if (uses.has(8)) pieces.push(BUTTERFLY_8);
  if (uses.has(16)) pieces.push(BUTTERFLY_16);
  for (const radix of ODD_RADICES) if (uses.has(radix)) pieces.push(oddButterfly(radix));
  return pieces.join("");
}
