import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { EXCEPTIONS, filesOf, ROOMS, roomsOf, TESTS } from "./import-rules.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const oxlint = join(dirname(createRequire(import.meta.url).resolve("oxlint/package.json")), "bin/oxlint");

/** What Oxlint finds in a tree of these files, as `file: rule: message`. */
function lint(files, config) {
  const tree = mkdtempSync(join(tmpdir(), "fastrpb-import-rules-"));
  try {
    for (const file of ["scripts/import-rules.mjs", "oxlint.imports.mjs", ".oxlintrc.json"]) cpSync(join(root, file), join(tree, file));
    for (const [file, code] of Object.entries(files)) {
      mkdirSync(dirname(join(tree, file)), { recursive: true });
      writeFileSync(join(tree, file), code);
    }
    const options = { cwd: tree, encoding: "utf8", maxBuffer: 2 ** 27 };
    const { stdout, stderr } = spawnSync(process.execPath, [oxlint, "--config", config, "--format", "json"], options);
    if (!stdout.startsWith("{")) throw new Error(`Oxlint did not run: ${stdout}${stderr}`);
    // An import may break two patterns of a rule.
    return [...new Set(JSON.parse(stdout).diagnostics.map(({ filename, code, message }) => `${filename}: ${code}: ${message}`))].sort();
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

function lintImports(files) {
  return lint(files, "oxlint.imports.mjs");
}

function refused(file, path) {
  return `${file}: eslint(no-restricted-imports): '${path}' import is restricted from being used by a pattern.`;
}

/** A file in each folder of a room. */
function filesIn(room, name) {
  return filesOf(room).map((files) => posix.normalize(files.replace("*", name)));
}

/** How a file writes the path of another. */
function pathFrom(file, target) {
  const path = posix.relative(posix.dirname(file), target);
  return path.startsWith("../") ? path : `./${path}`;
}

test("each room names only rooms above it, and no folder is in two", () => {
  for (const [index, { room, imports, types = [] }] of ROOMS.entries()) {
    for (const other of [...imports, ...types].flatMap(roomsOf)) {
      expect(ROOMS.indexOf(other), `${room} imports ${other.room}`).toBeLessThan(index);
    }
  }
  const files = ROOMS.flatMap(filesOf);
  expect(new Set(files).size).toBe(files.length);
});

test("Oxlint refuses what the table does not allow, and nothing else, from each folder to each other", () => {
  const files = {};
  const expected = [];
  const importAll = (file, allowed, statement) => {
    // What is built is not linted.
    if (file.includes("/dist/")) return;
    const targets = ROOMS.flatMap((room) => filesIn(room, "target.ts").map((target) => ({ room, path: pathFrom(file, target) })));
    files[file] = targets.map(({ path }, index) => statement(path, index)).join("\n");
    for (const { room, path } of targets) if (!allowed.has(room)) expected.push(refused(file, path));
  };
  const value = (path) => `import "${path}";`;
  const type = (path, index) => `import type { T${index} } from "${path}";`;
  for (const room of ROOMS) {
    const values = [room, ...room.imports.flatMap(roomsOf)];
    const types = [...values, ...(room.types ?? []).flatMap(roomsOf)];
    const tests = TESTS.find(({ below }) => room.room.startsWith(`${below}/`) || room.room === below);
    for (const file of filesIn(room, "values.ts")) importAll(file, new Set(values), value);
    if (room.room.endsWith(".ts")) continue;
    for (const file of filesIn(room, "types.ts")) importAll(file, new Set(types), type);
    for (const file of tests ? filesIn(room, "values.test.ts") : []) importAll(file, new Set([...values, ...tests.imports.flatMap(roomsOf)]), value);
  }
  expect(lintImports(files)).toEqual(expected.sort());
});

test("files with more rights than their room have them alone", () => {
  const files = {};
  const expected = [];
  for (const { file, imports, packages } of EXCEPTIONS) {
    const paths = [...imports.flatMap(roomsOf).flatMap((room) => filesIn(room, "target.ts").map((target) => pathFrom(file, target))), ...packages];
    const beside = `${posix.dirname(file)}/beside.ts`;
    files[file] = files[beside] = paths.map((path) => `import "${path}";`).join("\n");
    expected.push(...paths.map((path) => refused(beside, path)));
  }
  // Both specifications of the page may import the same.
  expect(lintImports(files)).toEqual([...new Set(expected)].sort());
});

test("a file outside the rooms fails, whatever is in it", () => {
  const outside = ["src/new/a.ts", "src/new/a.test.ts", "src/core/new/a.ts", "src/new.ts", "shaders/new/a.ts", "demo/new/a.ts", "new/a.mjs"];
  const inside = ["src/core/a.ts", "src/core/a.test.ts", "shaders/fft/a.ts", "demo/a.ts", "scripts/a.mjs", "vite.config.ts"];
  const files = [...outside, ...inside];
  expect(lintImports(Object.fromEntries(files.map((file) => [file, "export const a = 1;\n"])))).toEqual(
    outside.map((file) => `${file}: eslint(max-lines): File has too many lines (1).`).sort(),
  );
  const found = lintImports(Object.fromEntries(files.map((file) => [file, 'export { b } from "./b.ts";\n'])));
  expect(found.filter((line) => line.includes("no-restricted-imports"))).toEqual(outside.map((file) => refused(file, "./b.ts")).sort());
});

test("an import that goes up is seen in every form", () => {
  const path = "../gpu/b.ts";
  const forms = {
    value: `import { b } from "${path}";\nb();\n`,
    type: `import type { B } from "${path}";\nexport type A = B;\n`,
    export: `export { b } from "${path}";\n`,
    all: `export * from "${path}";\n`,
    dynamic: `export const b = () => import("${path}");\n`,
  };
  const inRoom = (room) => Object.fromEntries(Object.entries(forms).map(([name, code]) => [`${room}/${name}.ts`, code]));
  expect(lintImports({ ...inRoom("src/core"), ...inRoom("src/runtime") })).toEqual(
    Object.keys(inRoom("src/core"))
      .map((file) => refused(file, path))
      .sort(),
  );
});

test("an import cannot take a way around", () => {
  const paths = ["../math/../gpu/b.ts", "./../gpu/b.ts", "..", "."];
  expect(lintImports({ "src/program/a.ts": paths.map((path) => `import "${path}";\n`).join("") })).toEqual(
    paths.map((path) => refused("src/program/a.ts", path)).sort(),
  );
});

describe("types of shaders/ in src/gpu", () => {
  const path = "../../shaders/wgsl/kernel.ts";

  test("are all that it may import of them", () => {
    const files = {
      "src/gpu/a.ts": `import type { Kernel } from "${path}";\nexport type A = Kernel;\n`,
      "src/gpu/b.ts": `export * from "${path}";\n`,
      "src/gpu/c.ts": `export const c = () => import("${path}");\n`,
      "src/cpu/a.ts": `import type { Kernel } from "${path}";\nexport type A = Kernel;\n`,
    };
    expect(lintImports(files)).toEqual(["src/cpu/a.ts", "src/gpu/b.ts", "src/gpu/c.ts"].map((file) => refused(file, path)));
  });

  test("do not load the file", () => {
    const code = `import { type Kernel } from "${path}";\nexport type A = Kernel;\n`;
    expect(lint({ "src/gpu/a.ts": code }, ".oxlintrc.json")).toEqual([
      expect.stringContaining("src/gpu/a.ts: typescript(no-import-type-side-effects)"),
    ]);
  });
});

test("the library imports no package, and its tests vitest and Node", () => {
  const code = 'import "node:fs";\nimport "vitest";\nimport "vite";\n';
  expect(lintImports({ "src/core/a.ts": code, "src/core/a.test.ts": code, "e2e/a.ts": code })).toEqual([
    refused("src/core/a.test.ts", "vite"),
    ...["node:fs", "vite", "vitest"].map((path) => refused("src/core/a.ts", path)),
  ]);
});

test("a cycle of types is a cycle", () => {
  const files = {
    "src/core/a.ts": 'import type { B } from "./b.ts";\nexport type A = B | undefined;\n',
    "src/core/b.ts": 'import type { A } from "./a.ts";\nexport type B = A | null;\n',
    "src/core/c.ts": 'import type { A } from "./a.ts";\nexport type C = A;\n',
  };
  expect(lint(files, ".oxlintrc.json")).toEqual(
    ["src/core/a.ts", "src/core/b.ts"].map((file) => `${file}: import(no-cycle): Dependency cycle detected`),
  );
});
