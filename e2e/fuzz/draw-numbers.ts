/** Seeded choices. */
import { random } from "../../src/testing/random.ts";

/** Sizes at which tiles, chunks and passes begin and end. */
const EDGES = [4, 8, 12, 16, 20, 32, 48, 64, 96, 100, 128, 192, 256, 384, 512, 1024, 2048, 4096, 8192, 16384];
const PRIMES = [
  2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 61, 67, 79, 97, 101, 113, 127, 131, 257, 263, 521, 1031, 2053, 4099, 8209,
];

export class Draw {
  readonly uniform: () => number;

  constructor(...seeds: readonly number[]) {
    // Each seed goes through the generator, so that neighbours have nothing in common.
    this.uniform = random(seeds.reduce((state, seed) => Math.floor(random(state ^ Math.imul(seed, 0x9e3779b1))() * 2 ** 32), 0x6a09e667));
  }

  /** From `low` to `high`, both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  chance(share: number): boolean {
    return this.uniform() < share;
  }

  pick<const T>(items: readonly T[]): T {
    return items[this.int(0, items.length - 1)]!;
  }

  /** An index, by weights. */
  weighted(weights: readonly number[]): number {
    let rest = this.uniform() * weights.reduce((sum, weight) => sum + weight, 0);
    for (const [i, weight] of weights.entries()) {
      rest -= weight;
      if (rest < 0) return i;
    }
    return weights.length - 1;
  }

  seed(): number {
    return Math.floor(this.uniform() * 2 ** 32);
  }

  /** A size up to `most`, at edges more often than not: 1, small ones, primes, powers of two, and neighbours of tile sizes. */
  size(most: number): number {
    if (most <= 1) return 1;
    const below = (list: readonly number[]) => list.filter((n) => n <= most);
    const logarithmic = () => Math.min(most, Math.floor(2 ** (this.uniform() * Math.log2(most + 1))));
    const drawn = [
      () => 1,
      () => this.int(1, Math.min(most, 9)),
      () => this.pick(below(PRIMES)),
      () => 2 ** this.int(0, Math.floor(Math.log2(most))),
      () => this.pick([...below(EDGES), most]) + this.int(-1, 1),
      logarithmic,
    ][this.weighted([1, 3, 2, 2, 4, 4])]!();
    return Math.min(most, Math.max(1, drawn));
  }
}
