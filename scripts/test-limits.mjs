// Runs the GPU cases in Node (Dawn) on devices with other limits, one after the other:
//
//   npm run test:limits                        the guaranteed ones, compatibility mode's, the adapter's, and 20 drawn sets of lower ones
//   npm run test:limits -- compatibility 7     some of them; a number is the seed of a drawn set
//   CASES=sample npm run test:limits           the sample of the cases
//
// What follows `--` once more goes to vitest: npm run test:limits -- 7 -- -t toeplitz
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const DRAWN = 20;

const root = fileURLToPath(new URL("..", import.meta.url));
const given = process.argv.slice(2);
const end = given.includes("--") ? given.indexOf("--") : given.length;
const named = given.slice(0, end);
const sets = named.length > 0 ? named : ["default", "compatibility", "adapter", ...Array.from({ length: DRAWN }, (_, i) => String(i + 1))];
const vitest = join(root, "node_modules/vitest/vitest.mjs");
const colour = process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}; // vitest writes to a pipe
const failed = [];
const refused = [];
for (const set of sets) {
  console.log(`\n== limits: ${set}`);
  const { status, output } = await run(set);
  if (status !== 0) failed.push(set);
  const counts = [...output.matchAll(/refused (\d+) of (\d+) cases/g)];
  const sum = (group) => counts.reduce((all, count) => all + Number(count[group]), 0);
  if (counts.length > 0) refused.push(`${set}: ${sum(1)} of ${sum(2)}`);
}
if (refused.length > 0) console.log(`\nCases that do not fit the drawn limits: ${refused.join(", ")}`);
console.log(`${sets.length - failed.length} sets of limits passed, ${failed.length} failed${failed.length > 0 ? `: ${failed.join(", ")}` : ""}`);
process.exitCode = failed.length > 0 ? 1 : 0;

/** Runs the cases, and shows what they print. */
async function run(set) {
  const child = spawn(
    process.execPath,
    [
      vitest,
      "run",
      "--project",
      "dawn",
      ...["faults", "runtime", "kernels"].map((part) => `e2e/dawn/${part}.test.ts`),
      "--reporter=default",
      ...given.slice(end + 1),
    ],
    { cwd: root, stdio: ["inherit", "pipe", "inherit"], env: { ...process.env, ...colour, LIMITS: set } },
  );
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    output += text;
    process.stdout.write(text);
  });
  const [status] = await once(child, "close");
  return { status, output };
}
