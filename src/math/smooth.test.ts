import { expect, test } from "vitest";
import { smoothNumbers } from "../testing/planning.ts";
import { CODELET_PRIMES, isSmooth, nextSmooth } from "./smooth.ts";

test("isSmooth knows the products of 2, 3, 5 and 7 from the others", () => {
  const smooth = new Set(smoothNumbers(1, 20_000));
  for (let n = 1; n <= 20_000; n++) expect(isSmooth(n), `${n}`).toBe(smooth.has(n));
});

test("with other primes it knows their products", () => {
  const smooth = smoothNumbers(1, 5000);
  const products = new Set(smooth.flatMap((n) => [1, 11, 13, 121, 143, 169, 1331, 1573, 1859, 2197].map((factor) => factor * n)));
  for (let n = 1; n <= 5000; n++) expect(isSmooth(n, CODELET_PRIMES), `${n}`).toBe(products.has(n));
  for (let n = 1; n <= 100; n++) expect(isSmooth(n, [2]), `${n}`).toBe(Number.isInteger(Math.log2(n)));
});

test("nextSmooth is the smallest one that is not below, and never far", () => {
  const smooth = smoothNumbers(1, 300_000);
  for (const [i, above] of smooth.entries()) {
    const below = smooth[i - 1] ?? 0;
    if (above > 2 ** 18) break;
    // Of a long gap both ends and the middle; each search takes its time.
    const numbers =
      above < 5000 ? Array.from({ length: above - below }, (_, n) => below + 1 + n) : [below + 1, Math.ceil((below + above) / 2), above];
    for (const n of numbers) if (nextSmooth(n) !== above) expect(nextSmooth(n), `${n}`).toBe(above);
    if (below >= 100) expect(above / (below + 1), `${below + 1}`).toBeLessThan(1.07);
  }
  expect(nextSmooth(2 ** 18)).toBe(2 ** 18);
});
