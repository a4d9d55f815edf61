/**
 * Activations and their slopes, to a few units in the last place also where they are small. With t = |x| and the upper tail of the normal distribution
 * Q(t) = exp(−t²/2) R(t), exact GELU (Hendrycks and Gimpel 2016) is x·Q(t) below 0 and x − x·Q(t) above; its slope is s(t) = exp(−t²/2) (R(t) − t/√(2π))
 * below and 1 − s(t) above. R is a polynomial in 1/(1 + t/4.75) without a constant term, fitted for the least relative error on 0 ≤ t ≤ 14: 1.4e-8.
 * The other GELU is x·σ(2y), y = √(2/π) (x + 0.044715 x³).
 */
import { EXPONENTIAL, EXPONENTIAL4, EXPONENTIAL_OF_PARTS, EXPONENTIAL_OF_PARTS4 } from "../wgsl/exponential.ts";
import { f32, unroll, wgsl } from "../wgsl/wgsl.ts";

export type ActivationKind = "relu" | "gelu" | "gelu-tanh";

/** Of what may have an activation on its way out. */
export type Activation = "none" | ActivationKind;

type Float = "f32" | "vec4f";

const TAIL_SCALE = 4.75;
/** Of R, from the highest power down to the first. */
const TAIL = [-0.0702885923, 0.2749386778, -0.3147190831, 0.3338381465, -0.0845429565, 0.1214900322, 0.0701815844, 0.0851749145, 0.0839272735];

/** `fn normal_tail(t) -> R(t)` and `fn half_square_exponential(t) -> exp(−t²/2)`, whose argument is split so that t² is not rounded. */
function tailFunctions(float: Float): string {
  const [unsigned, exponential] = float === "f32" ? ["u32", "exponential_of_parts"] : ["vec4u", "exponential_of_parts4"];
  return wgsl`${float === "f32" ? EXPONENTIAL_OF_PARTS : EXPONENTIAL_OF_PARTS4}
fn normal_tail(t: ${float}) -> ${float} {
  let u = ${f32(TAIL_SCALE)} / (${f32(TAIL_SCALE)} + t);
  var r = ${float}(${f32(TAIL[0]!)});
${unroll(TAIL.slice(1), (c) => `  r = fma(r, u, ${float}(${f32(c)}));`)}
  return r * u;
}

fn half_square_exponential(t: ${float}) -> ${float} {
  let high = bitcast<${float}>(bitcast<${unsigned}>(t) & ${unsigned}(0xfffff000u)); // its square is exact
  return ${exponential}(-0.5 * high * high, -0.5 * (t - high) * (t + high));
}
`;
}

/** Beyond, exp(−t²/2) and σ(−2y) are 0. */
const FAR = 16;

/** Statements that leave exp(−2|y|) in `e` and σ(2y) in `sigmoid`, of an x that is `near` enough for both to be of use. */
function sigmoidStart(float: Float): string {
  return wgsl`  let near = clamp(x, ${float}(${f32(-FAR)}), ${float}(${f32(FAR)}));
  let y2 = ${f32(2 * Math.sqrt(2 / Math.PI))} * near * fma(near * near, ${float}(0.044715f), ${float}(1.0));
  let e = ${float === "f32" ? "exponential" : "exponential4"}(-abs(y2));
  let sigmoid = select(${float}(1.0), e, y2 < ${float}()) / (1.0 + e);`;
}

/** `fn activate(x) -> float`, and what it calls. */
export function activationFunction(kind: ActivationKind, float: Float): string {
  switch (kind) {
    case "relu":
      return wgsl`
fn activate(x: ${float}) -> ${float} { return select(x, ${float}(), x < ${float}()); }
`;
    case "gelu":
      return wgsl`${tailFunctions(float)}
fn activate(x: ${float}) -> ${float} {
  let t = min(abs(x), ${float}(${f32(FAR)}));
  let tail = x * (half_square_exponential(t) * normal_tail(t));
  return select(x - tail, tail, x < ${float}());
}
`;
    case "gelu-tanh":
      return wgsl`${float === "f32" ? EXPONENTIAL : EXPONENTIAL4}
fn activate(x: ${float}) -> ${float} {
${sigmoidStart(float)}
  return x * sigmoid;
}
`;
  }
}

/** `fn activation_slope(x) -> float`, the derivative, and what it calls; of ReLU also from its result. */
export function activationSlope(kind: ActivationKind, float: Float): string {
  switch (kind) {
    case "relu":
      return wgsl`
fn activation_slope(x: ${float}) -> ${float} { return select(${float}(), ${float}(1.0), x > ${float}()); }
`;
    case "gelu":
      return wgsl`${tailFunctions(float)}
fn activation_slope(x: ${float}) -> ${float} {
  let t = min(abs(x), ${float}(${f32(FAR)}));
  let slope = half_square_exponential(t) * (normal_tail(t) - ${f32(1 / Math.sqrt(2 * Math.PI))} * t);
  return select(1.0 - slope, slope, x < ${float}());
}
`;
    case "gelu-tanh":
      return wgsl`${float === "f32" ? EXPONENTIAL : EXPONENTIAL4}
fn activation_slope(x: ${float}) -> ${float} {
${sigmoidStart(float)}
  let y2_slope = ${f32(2 * Math.sqrt(2 / Math.PI))} * fma(near * near, ${float}(${f32(3 * 0.044715)}), ${float}(1.0));
  return sigmoid + near * y2_slope * (e / ((1.0 + e) * (1.0 + e)));
}
`;
  }
}
