/**
 * Activations of four numbers, to about 2⁻²². The erfc of GELU is that of Press et al., Numerical Recipes, section 6.2 (`erfcc`): t·exp(−z² + P(t)) with
 * t = 1/(1 + z/2), off by 1.2e-7 of itself. tanh(u) is 2σ(2u) − 1, so the approximate GELU is x·σ(2u) (Hendrycks and Gimpel 2016).
 */
import { EXPONENTIAL4 } from "../wgsl/exponential.ts";
import { f32, unroll, wgsl } from "../wgsl/wgsl.ts";

export type Activation = "none" | "relu" | "gelu" | "gelu-tanh";

/** P, from the highest power down. */
const ERFC_COEFFICIENTS = [
  0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223,
];

/** `fn activate(x: vec4f) -> vec4f`, and what it calls; of `"none"` nothing. */
export function activation(kind: Activation): string {
  switch (kind) {
    case "none":
      return "";
    case "relu":
      return "fn activate(x: vec4f) -> vec4f { return select(x, vec4f(), x < vec4f()); }\n";
    case "gelu":
      return wgsl`${EXPONENTIAL4}
fn activate(x: vec4f) -> vec4f {
  let z = abs(x) * ${f32(Math.SQRT1_2)};
  let t = 1.0 / fma(z, vec4f(0.5), vec4f(1.0));
  var p = vec4f(${f32(ERFC_COEFFICIENTS[0]!)});
${unroll(ERFC_COEFFICIENTS.slice(1), (c) => `  p = fma(p, t, vec4f(${f32(c)}));`)}
  let tail = 0.5 * t * exponential4(fma(-z, z, p));
  return x * select(1.0 - tail, tail, x < vec4f());
}
`;
    case "gelu-tanh":
      return wgsl`${EXPONENTIAL4}
fn activate(x: vec4f) -> vec4f {
  let u = ${f32(2 * Math.sqrt(2 / Math.PI))} * fma(${f32(0.044715)} * x * x, x, x);
  let e = exponential4(-abs(u));
  return x * select(vec4f(1.0), e, u < vec4f()) / (1.0 + e);
}
`;
  }
}
