/** Prime factors of the lengths that a convolution may be padded to. */
export const SMALL_PRIMES = [2, 3, 5, 7] as const;

/** The prime factors for which there are FFT codelets. */
export const CODELET_PRIMES = [...SMALL_PRIMES, 11, 13] as const;

/** Whether every prime factor of `n` is at most 7, or one of `primes`. */
export function isSmooth(n: number, primes: readonly number[] = SMALL_PRIMES): boolean {
  for (const prime of primes) while (n % prime === 0) n /= prime;
  return n === 1;
}

/** The smallest 7-smooth integer ≥ `n`. It is less than 7 % above for n > 100, so the search is short. */
export function nextSmooth(n: number): number {
  while (!isSmooth(n)) n++;
  return n;
}
