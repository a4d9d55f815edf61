/** The prime factors for which there are FFT codelets. */
export const SMALL_PRIMES = [2, 3, 5, 7] as const;

/** Whether every prime factor of `n` is at most 7. */
export function isSmooth(n: number): boolean {
  for (const prime of SMALL_PRIMES) while (n % prime === 0) n /= prime;
  return n === 1;
}

/** The smallest 7-smooth integer ≥ `n`. It is less than 7 % above for n > 100, so the search is short. */
export function nextSmooth(n: number): number {
  while (!isSmooth(n)) n++;
  return n;
}
