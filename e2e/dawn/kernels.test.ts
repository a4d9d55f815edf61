/** The GPU cases that are about kernels, in Node: those of the sample compile every one. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { isSampled, partOf, runsInNode, SUITES } from "../cases/index.ts";
import { LIMITS, SAMPLE, testSuites } from "./suites.ts";

const ran = testSuites("kernels");
const compiled = compiledKernels();

test.runIf(SAMPLE && LIMITS === undefined)("the sample compiles every kernel, and has cases of every suite", async ({ skip: leave }) => {
  const suites = SUITES.filter((suite) => partOf(suite) === "kernels");
  const chosen = suites.flatMap((suite) => suite.cases.filter((entry) => runsInNode(suite, entry, SAMPLE)));
  if (ran() < chosen.length) leave("only some of the sample ran");
  expect(suites.filter((suite) => !suite.cases.some((entry) => isSampled(suite, entry))).map(({ name }) => name)).toEqual(["self-test"]);
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
