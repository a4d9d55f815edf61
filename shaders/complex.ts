import { f32, wgsl } from "./wgsl.ts";

/** Complex arithmetic on `vec2f(re, im)`. */
export const COMPLEX = `
fn complex_multiply(a: vec2f, b: vec2f) -> vec2f {
  return vec2f(fma(a.x, b.x, -(a.y * b.y)), fma(a.x, b.y, a.y * b.x));
}
`;

/**
 * `fn scale(z)`: z times a constant s, with s = p (1 + r), p the power of two that is nearest in ratio. z + z·r rounds at full size once,
 * and the rounding of r itself counts only in proportion to r; 1/N as a float32 would be off by up to half a unit in its last place.
 */
export function scaleFunction(factor: number): string {
  const power = 2 ** Math.round(Math.log2(Math.abs(factor)));
  const rest = Math.abs(factor) / power - 1;
  return wgsl`
fn scale(z: vec2f) -> vec2f {
#if ${rest === 0}
  return z * ${f32(Math.sign(factor) * power)};
#else
  return fma(z, vec2f(${f32(rest)}), z) * ${f32(Math.sign(factor) * power)};
#endif
}
`;
}
