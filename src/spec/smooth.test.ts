import { expect, test } from "vitest";
import { smoothNumbers } from "../testing/planning.ts";
import { isSmooth, nextSmooth } from "./smooth.ts";

test("isSmooth knows the products of 2, 3, 5 and 7 from the others", () => {
  const smooth = new Set(smoothNumbers(1, 20_000));
  for (let n = 1; n <= 20_000; n++) expect(isSmooth(n), `${n}`).toBe(smooth.has(n));
});

test("nextSmooth is the smallest one that is not below, and never far", () => {
  const smooth = smoothNumbers(1, 300_000);
  let at = 0;
  for (let n = 1; n <= 2 ** 18; n++) {
    while (smooth[at]! < n) at++;
    // One comparison a number: an expect each would take a while.
    if (nextSmooth(n) !== smooth[at]) expect(nextSmooth(n), `${n}`).toBe(smooth[at]);
    if (n > 100 && smooth[at]! >= 1.07 * n) expect(smooth[at]! / n, `${n}`).toBeLessThan(1.07);
  }
  expect(nextSmooth(2 ** 18)).toBe(2 ** 18);
});
