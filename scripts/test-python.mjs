// Runs the tests of python/ where there is a Python with PyTorch, and says so where there is none. PYTHON names another interpreter.
//
//   npm run test:python                      everything
//   npm run test:python -- -k safetensors    what follows goes to unittest
//   npm run test:python -- --report FILE     counts as JSON
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../python", import.meta.url));
const given = process.argv.slice(2);
const at = given.indexOf("--report");
const report = at < 0 ? undefined : given.splice(at, 2)[1];

// /usr/bin has Debian's python3-torch, also where a python3 of another kind comes first.
const candidates = process.env.PYTHON ? [process.env.PYTHON] : ["python3", "/usr/bin/python3", "python"];
const python = candidates.find((name) => spawnSync(name, ["-c", "import torch"], { stdio: "ignore" }).status === 0);
const count = { passed: 0, failed: 0 };
if (python === undefined) {
  console.log(`skipped: none of ${candidates.join(", ")} has PyTorch (Debian: python3-torch, elsewhere: pip install torch)`);
} else {
  const env = { ...process.env, OMP_NUM_THREADS: "1", PYTHONDONTWRITEBYTECODE: "1" };
  const { status, stderr } = spawnSync(python, ["-W", "ignore", "-m", "unittest", "discover", "-s", "tests", ...given], {
    cwd: folder,
    encoding: "utf8",
    env,
    stdio: ["ignore", "inherit", "pipe"],
  });
  const bad = [...stderr.matchAll(/(?:failures|errors)=(\d+)/g)].reduce((sum, match) => sum + Number(match[1]), 0);
  count.failed = status === 0 ? 0 : Math.max(1, bad);
  // A test may fail in several of its parts.
  count.passed = Math.max(0, Number(/^Ran (\d+) test/m.exec(stderr)?.[1] ?? 0) - count.failed);
  if (count.failed > 0) console.error(stderr);
}
console.log(`${count.passed} passed, ${count.failed} failed`);
if (report) writeFileSync(report, JSON.stringify(count));
process.exitCode = count.failed > 0 ? 1 : 0;
