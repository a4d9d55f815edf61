/** How parameters start: each number from the seed, the parameter and its place, so that Python can draw the same ones. */
import { elementCount } from "../core/check.ts";
import { pcg4d } from "../math/counter-random.ts";
import { float64Array } from "../math/memory.ts";
import type { Parameter } from "./recorder.ts";

/** "init", so that nothing else that is drawn from the same seed is the same. */
const STREAM = 0x696e6974;

const unit = (word: number) => (word + 0.5) / 2 ** 32;

/**
 * The first numbers of a parameter, each a float32.
 *
 * @param seed an unsigned integer of 32 bits
 * @param index how many parameters the model names before this one
 */
export function initialNumbers({ name, shape, initial }: Parameter, seed: number, index: number): Float64Array {
  const numbers = float64Array(name, elementCount(shape));
  if (initial.kind === "constant") return numbers.fill(initial.value);
  for (let i = 0; i < numbers.length; i++) {
    const [first, second] = pcg4d(seed, index, i, STREAM);
    // By Box and Muller, where it is normal.
    const drawn = initial.kind === "uniform" ? 2 * unit(first) - 1 : Math.sqrt(-2 * Math.log(unit(first))) * Math.cos(2 * Math.PI * unit(second));
    numbers[i] = Math.fround(drawn * initial.scale);
  }
  return numbers;
}
