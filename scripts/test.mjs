// Runs every check in order, stops after the first step that fails, and ends with one line: N passed, N failed.
//
//   npm test                         everything
//   npm test -- --only unit,dawn     some steps
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { findChromium } from "./chromium.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const reports = mkdtempSync(join(tmpdir(), "fastrpb-test-"));

/** A step counts as one, or as the tests in its report. */
const STEPS = {
  typecheck: { run: () => npm("typecheck") },
  lint: { run: () => npm("lint") },
  format: { run: () => npm("format:check") },
  unit: vitest("unit"),
  build: { run: () => npm("build") },
  // In Chromium's SwiftShader: what is downloaded is seen in a run.
  package: { run: () => npm("test:package"), needsChromium: true },
  // All cases run in Chromium; the same Dawn in Node runs a sample.
  dawn: { ...vitest("dawn", { CASES: "sample" }), needsChromium: true },
  e2e: { run: () => npm("test:e2e"), count: countPlaywright, report: join(root, "test-results/report.json"), needsChromium: true },
};

const total = { passed: 0, failed: 0 };
try {
  main();
} finally {
  rmSync(reports, { recursive: true, force: true });
}

function main() {
  const steps = chooseSteps();
  if (steps.some((name) => STEPS[name].needsChromium) && !ensureChromium()) {
    console.log(
      "There is no Chromium and it could not be installed: set CHROMIUM_PATH to one, or run `npx playwright install --with-deps chromium`.",
    );
    process.exitCode = 1;
    return;
  }
  for (const name of steps) {
    if (!runStep(name)) {
      const left = steps.slice(steps.indexOf(name) + 1);
      console.log(`\n${name} failed${left.length > 0 ? `; not run: ${left.join(", ")}` : ""}`);
      break;
    }
  }
  console.log(`\n${total.passed} passed, ${total.failed} failed`);
  process.exitCode = total.failed > 0 ? 1 : 0;
}

function chooseSteps() {
  const { values } = parseArgs({ options: { only: { type: "string" } } });
  const names = Object.keys(STEPS);
  const chosen = values.only?.split(",") ?? names;
  const unknown = chosen.filter((name) => !names.includes(name));
  if (unknown.length > 0) {
    console.error(`--only takes ${names.join(", ")}; got ${unknown.join(", ")}`);
    process.exit(2);
  }
  return names.filter((name) => chosen.includes(name));
}

function runStep(name) {
  const { run, count, report } = STEPS[name];
  console.log(`\n== ${name}`);
  if (report) rmSync(report, { force: true });
  const started = performance.now();
  const ok = run();
  const { passed, failed } = tally(ok, count, report);
  total.passed += passed;
  total.failed += failed;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`== ${name}: ${count ? `${passed} passed, ${failed} failed` : ok ? "passed" : "failed"} (${seconds} s)`);
  return failed === 0;
}

/** A step that fails without a failed test, such as a test file that does not load, counts as one failure. */
function tally(ok, count, report) {
  if (!count) return ok ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  let counts = { passed: 0, failed: 0 };
  try {
    counts = count(JSON.parse(readFileSync(report, "utf8")));
  } catch {
    ok = false; // it ended without a report
  }
  return ok ? counts : { ...counts, failed: Math.max(counts.failed, 1) };
}

function vitest(project, env = {}) {
  const report = join(reports, `${project}.json`);
  return {
    run: () =>
      command("npm", ["run", "--silent", `test:${project}`, "--", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`], env),
    count: ({ numPassedTests, numFailedTests }) => ({ passed: numPassedTests, failed: numFailedTests }),
    report,
  };
}

function countPlaywright({ stats, errors }) {
  return { passed: stats.expected, failed: stats.unexpected + stats.flaky + errors.length };
}

function npm(script) {
  return command("npm", ["run", "--silent", script]);
}

function command(name, args, env = {}) {
  return spawnSync(name, args, { cwd: root, stdio: "inherit", shell: process.platform === "win32", env: { ...process.env, ...env } }).status === 0;
}

/** Finds Chromium, or installs it: Debian's package, which root may install, or else Playwright's build. */
function ensureChromium() {
  if (findChromium()) return true;
  console.log("== installing Chromium");
  const linuxRoot = process.platform === "linux" && process.getuid() === 0;
  if (linuxRoot && command("apt-get", ["update"]) && command("apt-get", ["install", "-y", "chromium"]) && findChromium()) return true;
  command("npx", ["playwright", "install", ...(linuxRoot ? ["--with-deps"] : []), "chromium"]);
  return findChromium() !== undefined;
}
