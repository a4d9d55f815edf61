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
import { ensureChromium } from "./chromium.mjs";
import { ensureFirefox } from "./firefox.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const reports = mkdtempSync(join(tmpdir(), "fastrpb-test-"));

// What the fuzzer draws unless the caller wants other cases: a seed that passes, so that what fails was changed. Fresh ones, and more, are for
// `npm run fuzz`.
process.env.FUZZ_SEED ??= "1795533957";
const FUZZ_CASES = "1500";

/** A step counts as one, or as the tests in its report. */
const STEPS = {
  typecheck: { run: () => npm("typecheck") },
  lint: { run: () => npm("lint") },
  format: { run: () => npm("format:check") },
  unit: vitest("unit"),
  python: python(),
  build: { run: () => npm("build") },
  // In Chromium's SwiftShader: what is downloaded is seen in a run.
  package: { run: () => npm("test:package"), browser: ensureChromium },
  // Dawn in Node runs a sample, because SwiftShader compiles slowly, and Firefox what is quick there. Chromium has the same Dawn.
  dawn: { ...vitest("dawn", { CASES: "sample" }), browser: ensureChromium },
  fuzz: fuzz(),
  e2e: { ...playwright("e2e"), browser: ensureChromium },
  firefox: { ...playwright("firefox"), browser: ensureFirefox },
};

const total = { passed: 0, failed: 0 };
try {
  main();
} finally {
  rmSync(reports, { recursive: true, force: true });
}

function main() {
  const steps = chooseSteps();
  for (const ensure of new Set(steps.flatMap((name) => STEPS[name].browser ?? []))) {
    const missing = ensure();
    if (missing === undefined) continue;
    console.log(missing);
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

/** Each operation counts as a test. */
function fuzz() {
  const report = join(reports, "fuzz.json");
  return {
    run: () => command("npm", ["run", "--silent", "fuzz", "--", "--seed", process.env.FUZZ_SEED, "--cases", FUZZ_CASES, "--report", report]),
    count: ({ operations }) => {
      const all = Object.values(operations);
      const failed = all.filter((operation) => operation.failed > 0).length;
      return { passed: all.length - failed, failed };
    },
    report,
    browser: ensureChromium,
  };
}

/** None, where there is no Python with PyTorch. */
function python() {
  const report = join(reports, "python.json");
  return {
    run: () => command("npm", ["run", "--silent", "test:python", "--", "--report", report]),
    count: (counts) => counts,
    report,
  };
}

function playwright(script) {
  return { run: () => npm(`test:${script}`), count: countPlaywright, report: join(root, "test-results/report.json") };
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
