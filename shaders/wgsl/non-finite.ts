import { u32 } from "./literals.ts";

/**
 * Numbers that WGSL has no constants for, and what tells them from others: bits, because its arithmetic may take for granted that there are none.
 * A function makes a number of bits, since WGSL refuses what it can evaluate to one of them: `of_bits(NO_NUMBER)`.
 */
export const NON_FINITE = `
const NO_NUMBER = 0x7fc00000u;
const INFINITE = 0x7f800000u;
const MINUS_INFINITE = 0xff800000u;

fn of_bits(bits: u32) -> f32 { return bitcast<f32>(bits); }
`;

/** Bits of the exponent of a float32, in WGSL: all of them are ones where it is infinite or no number. */
export const EXPONENT_BITS = u32(0x7f800000);
