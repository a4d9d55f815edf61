/** Complex arithmetic on `vec2f(re, im)`. */
export const COMPLEX = `
fn complex_multiply(a: vec2f, b: vec2f) -> vec2f {
  return vec2f(fma(a.x, b.x, -(a.y * b.y)), fma(a.x, b.y, a.y * b.x));
}
`;
