/**
 * The GPU cases in Node, `CASES=sample` those of the sample, which has every kernel: Firefox runs them all, and Chromium has the same Dawn. `LIMITS` names a smaller
 * device: "default", "compatibility", or the seed of a drawn one. What is smaller than any device may refuse shapes that others take.
 */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { CaseContext, isRefusedByLimits } from "../cases/case.ts";
import { isSampled, runsInNode, SUITES } from "../cases/index.ts";
import { isDrawn, namedLimits } from "../fuzz/limits.ts";
import { dawn } from "./gpu.ts";

const limits = process.env["LIMITS"];
const gpu = dawn();
const compiled = compiledKernels();
const context = new CaseContext(gpu, namedLimits(limits));
const sample = process.env["CASES"] === "sample";
let ran = 0;
const refused: string[] = [];

afterAll(async () => {
  await context.dispose();
  if (!isDrawn(limits)) return;
  console.log(`limits of seed ${limits} refused ${refused.length} of ${ran} cases${refused.map((what) => `\n  ${what}`).join("")}`);
  expect(refused.length, "more than half of the cases do not fit: a test of too little").toBeLessThanOrEqual(ran / 2);
});

for (const suite of SUITES) {
  describe(suite.name, () => {
    for (const entry of suite.cases) {
      const { name, run } = entry;
      test.runIf(runsInNode(suite, entry, sample))(name, async ({ skip: leave }) => {
        ran++;
        const error: unknown = await run(context).then(
          () => undefined,
          (reason: unknown) => reason,
        );
        if (isDrawn(limits) && isRefusedByLimits(error)) {
          refused.push(`${suite.name}, ${name}: ${error.message}`);
          leave("too small for these limits");
        }
        if (error !== undefined) throw error;
      });
    }
  });
}

test.runIf(sample && limits === undefined)("the sample compiles every kernel, and has cases of every suite", async ({ skip: leave }) => {
  const chosen = SUITES.flatMap((suite) => suite.cases.filter((entry) => runsInNode(suite, entry, sample)));
  if (ran < chosen.length) leave("only some of the sample ran");
  expect(SUITES.filter((suite) => !suite.cases.some((entry) => isSampled(suite, entry))).map(({ name }) => name)).toEqual(["self-test"]);
  const kernels = await kernelIds();
  expect(kernels.length).toBeGreaterThan(30);
  expect(kernels.filter((id) => !compiled.has(id))).toEqual([]);
});

/** Ids of the kernels that are compiled from now on. */
function compiledKernels(): ReadonlySet<string> {
  const ids = new Set<string>();
  const createModule = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    ids.add(descriptor.label ?? "");
    return createModule.call(this, descriptor);
  };
  return ids;
}

/** The modules of shaders/ that make a kernel, by path: what kernels have for an id. */
async function kernelIds(): Promise<string[]> {
  const folder = fileURLToPath(new URL("../../shaders/", import.meta.url));
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => name.replaceAll("\\", "/"));
  const ids = files.filter((name) => name.endsWith(".ts") && !/\.(test|d)\.ts$|^wgsl\//.test(name));
  const made = await Promise.all(
    ids.map(async (name) => {
      const exported = (await import(`../../shaders/${name}`)) as object;
      return Object.keys(exported).some((entry) => entry.endsWith("Kernel")) ? [name.replace(/\.ts$/, "")] : [];
    }),
  );
  return made.flat();
}
