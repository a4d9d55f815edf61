import { u32, wgsl } from "./wgsl.ts";

/** Complex arithmetic on `vec2f(re, im)`. */
export const COMPLEX = wgsl`
fn complex_multiply(a: vec2f, b: vec2f) -> vec2f {
  return vec2f(fma(a.x, b.x, -(a.y * b.y)), fma(a.x, b.y, a.y * b.x));
}
`;

/**
 * `fn scale(z)`: z times a constant s = p (1 + r), p the power of two nearest in ratio. z + z·r rounds at full size once, and the rounding
 * of r counts only in proportion to r. The constants come from the table entry (r, p): compilers turn literals, and divisions by
 * them, back into one product with the rounded s, which may be off by half a unit in its last place.
 */
export function scaleFunction(offset: number): string {
  return wgsl`
fn scale(z: vec2f) -> vec2f {
  let factor = tables[${u32(offset)}];
  return fma(z, vec2f(factor.x), z) * factor.y;
}
`;
}
