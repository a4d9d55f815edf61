/** What the planner counts in. */
import { ELEMENT_BYTES } from "../../shaders/wgsl/kernel.ts";

export const FLOAT_BYTES = ELEMENT_BYTES.f32;
export const COMPLEX_BYTES = ELEMENT_BYTES.vec2f;
/** Real operations of a complex product. */
export const MULTIPLY_FLOPS = 6;
