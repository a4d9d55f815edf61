import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

test("codelets.ts is what its generator prints", () => {
  const generator = fileURLToPath(new URL("../../../scripts/generate-fft-codelets.mjs", import.meta.url));
  const printed = execFileSync(process.execPath, [generator], { encoding: "utf8" });
  expect(readFileSync(new URL("codelets.ts", import.meta.url), "utf8")).toBe(printed);
});
