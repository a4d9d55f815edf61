/**
 * `fn pcg4d(counter: vec4u) -> vec4u`: four random words of four that count, each in its own way (Jarzynski and Olano, "Hash Functions for GPU
 * Rendering", JCGT 9(3), 2020). src/math/counter-random.ts has the same.
 */
export const PCG4D = `
fn pcg4d(counter: vec4u) -> vec4u {
  var v = counter * 1664525u + 1013904223u;
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  v ^= v >> vec4u(16u);
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  return v;
}
`;
