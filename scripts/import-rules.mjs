// Which room may import which. Imports run one way: a room knows only rooms that stand above it in this table. oxlint.imports.mjs gives it to
// Oxlint, as overrides of no-restricted-imports, one for each folder: `npm run lint`.
import { posix } from "node:path";

const PLANNING = ["shaders/**", "src/core", "src/math", "src/program"];
const SMALL_OPERATIONS = ["src/operations", "src/operations/complex-multiply", "src/operations/find-non-finite", "src/operations/fft"];
const LARGE_OPERATIONS = [...SMALL_OPERATIONS, "src/operations/convolve", "src/operations/toeplitz"];
const ALL_OPERATIONS = ["src/operations", "src/operations/**"];
const BELOW_BACKENDS = ["src/core", "src/math", "src/program", ...ALL_OPERATIONS, "src/graph"];
const BACKENDS = ["src/gpu", "src/cpu"];
const LIBRARY = [...BELOW_BACKENDS, ...BACKENDS, "src/runtime", "src/nn"];

/**
 * A room is a folder, or several (`folders`), or one file. What lies below a folder is another folder, and one that is in no room fails, with all
 * that is in it. A room may import itself and the rooms that it names: in `imports`, or in `types` their types alone. `"x/**"` is every room below
 * x. `packages` may be patterns, or `"any"`; a room without them imports none.
 */
export const ROOMS = [
  { room: "shaders/wgsl", imports: [] },
  { room: "shaders/complex-multiply", imports: ["shaders/wgsl"] },
  { room: "shaders/find-non-finite", imports: ["shaders/wgsl"] },
  { room: "shaders/fft", imports: ["shaders/wgsl"] },
  { room: "shaders/toeplitz", imports: ["shaders/wgsl", "shaders/fft"] },
  { room: "shaders/attention", imports: ["shaders/wgsl"] },
  { room: "shaders/attention/softmax", imports: ["shaders/wgsl", "shaders/attention"] },
  { room: "shaders/attention/linear", imports: ["shaders/wgsl", "shaders/attention"] },
  { room: "shaders/attention/decode", imports: ["shaders/wgsl", "shaders/attention"] },
  { room: "shaders/attention/causal", imports: ["shaders/wgsl", "shaders/attention", "shaders/attention/linear"] },
  {
    room: "shaders/attention/multiplicative",
    imports: ["shaders/wgsl", "shaders/toeplitz", "shaders/attention", "shaders/attention/linear", "shaders/attention/causal"],
  },

  { room: "shaders/nn", imports: ["shaders/wgsl"] },

  { room: "src/core", imports: [] },
  { room: "src/math", folders: ["src/math", "src/math/fft"], imports: ["src/core"] },
  { room: "src/program", imports: ["shaders/**", "src/core", "src/math"] },

  // What all operations share; then the operations.
  { room: "src/operations", imports: PLANNING },
  { room: "src/operations/complex-multiply", imports: [...PLANNING, "src/operations"] },
  { room: "src/operations/find-non-finite", imports: [...PLANNING, "src/operations"] },
  { room: "src/operations/fft", imports: [...PLANNING, "src/operations"] },
  { room: "src/operations/convolve", imports: [...PLANNING, ...SMALL_OPERATIONS] },
  { room: "src/operations/toeplitz", imports: [...PLANNING, ...SMALL_OPERATIONS] },
  { room: "src/operations/attention", imports: [...PLANNING, ...LARGE_OPERATIONS] },
  { room: "src/operations/attention/linear", imports: [...PLANNING, ...LARGE_OPERATIONS, "src/operations/attention"] },
  {
    room: "src/operations/attention/softmax",
    imports: [...PLANNING, ...LARGE_OPERATIONS, "src/operations/attention", "src/operations/attention/linear"],
  },
  {
    room: "src/operations/attention/decode",
    imports: [...PLANNING, ...LARGE_OPERATIONS, "src/operations/attention", "src/operations/attention/linear"],
  },
  {
    room: "src/operations/attention/causal",
    imports: [...PLANNING, ...LARGE_OPERATIONS, "src/operations/attention", "src/operations/attention/linear"],
  },
  {
    room: "src/operations/attention/multiplicative",
    imports: [...PLANNING, ...LARGE_OPERATIONS, "src/operations/attention", "src/operations/attention/linear", "src/operations/attention/causal"],
  },

  // Of models: layers, losses, optimisers.
  ...["reductions", "elementwise", "matmul", "layer-norm", "embedding", "dropout", "mean-over-tokens", "cross-entropy", "optimizers"].map((name) => ({
    room: `src/operations/${name}`,
    imports: [...PLANNING, "src/operations", ...(name === "reductions" ? [] : ["src/operations/reductions"])],
    types: name === "matmul" ? ["src/operations/elementwise"] : [],
  })),

  { room: "src/graph", imports: ["src/core", "src/math", "src/program", ...ALL_OPERATIONS] },
  // The backends do not know each other.
  { room: "src/gpu", imports: BELOW_BACKENDS, types: ["shaders/**"] },
  { room: "src/cpu", imports: BELOW_BACKENDS },
  { room: "src/runtime", imports: [...BELOW_BACKENDS, ...BACKENDS] },
  { room: "src/nn", imports: [...BELOW_BACKENDS, ...BACKENDS, "src/runtime"] },

  // For tests: no room names it but e2e.
  { room: "src/testing", folders: ["src/testing", "src/testing/fixtures"], imports: ["shaders/**", ...LIBRARY] },

  // The entry points.
  { room: "src/index.ts", imports: LIBRARY },
  { room: "src/nn.ts", imports: LIBRARY },

  // The scripts, and the configurations of tools, which stand at the root.
  { room: "scripts", imports: [], packages: "any" },
  { room: ".", imports: ["scripts"], packages: "any" },

  // They know the library as its users do.
  { room: "demo", folders: ["demo", "demo/sections", "demo/tasks"], imports: ["src/index.ts"], packages: ["uplot"] },
  {
    room: "bench",
    folders: ["bench", "bench/command", "bench/dist/command", "bench/dist/measure", "bench/measure", "bench/page", "bench/peers"],
    imports: ["src/index.ts", "src/nn.ts", "scripts"],
    packages: "any",
  },
  {
    room: "e2e",
    folders: ["e2e", "e2e/cases", "e2e/dawn", "e2e/fuzz", "e2e/fuzz/operations", "e2e/long"],
    imports: ["shaders/**", "src/**", "scripts"],
    packages: "any",
  },
];

/** Unit tests stand beside what they test. Those in the rooms below a folder may import this, too. */
export const TESTS = [
  { below: "shaders", imports: ["shaders/**", "src/**"], packages: ["vitest", "node:*"] },
  { below: "src", imports: ["shaders/**", "src/**"], packages: ["vitest", "node:*"] },
  { below: "demo", imports: [], packages: ["vitest", "node:*"] },
];

/** Files that may import more than their room. */
export const EXCEPTIONS = [
  // Directives in templates are the preprocessor's; the build takes it in.
  { file: "shaders/wgsl/wgsl.ts", imports: [], packages: ["wgsl-preprocessor/*"] },
  // It draws what the planner made, which the library does not publish.
  { file: "demo/tasks/program-picture.ts", imports: ["src/program", "src/operations", "src/runtime"], packages: [] },
  // They test functions of the page without the page, or name their types.
  { file: "e2e/demo-cost.spec.ts", imports: ["demo"], packages: [] },
  { file: "e2e/demo-inside.spec.ts", imports: ["demo"], packages: [] },
];

const TABLE = "scripts/import-rules.mjs";

/** Oxlint's. Where several match a file, the last one holds. */
export function overrides() {
  return [
    // Outside the rooms a file may have 0 lines, and import nothing.
    { files: ["**/*"], rules: { "max-lines": ["error", 0], ...restricted([{ group: ["**"], message: `This folder has no room in ${TABLE}.` }]) } },
    { files: ROOMS.flatMap(filesOf), rules: { "max-lines": "off" } },
    ...ROOMS.flatMap(overridesOf),
    ...EXCEPTIONS.map((exception) => overrideOf(exception.file, withMore(roomOf(exception.file), exception))),
  ];
}

/** The rooms that an entry of `imports` names. */
export function roomsOf(entry) {
  const rooms = ROOMS.filter(({ room }) => (entry.endsWith("/**") ? room.startsWith(entry.slice(0, -"**".length)) : room === entry));
  if (rooms.length === 0) throw new Error(`${TABLE}: no room is named ${entry}`);
  return rooms;
}

/** Patterns for the files of a room. */
export function filesOf({ room, folders = [room] }) {
  return isFile(room) ? [room] : folders.map((folder) => `${folder}/*`);
}

function isFile(room) {
  return room.endsWith(".ts");
}

function roomOf(file) {
  return ROOMS.find((room) => filesOf(room).includes(`${posix.dirname(file)}/*`));
}

function overridesOf(room) {
  const more = isFile(room.room) ? undefined : TESTS.find(({ below }) => `${room.room}/`.startsWith(`${below}/`));
  return filesOf(room).flatMap((files) => [
    overrideOf(files, room),
    ...(more ? [overrideOf(`${posix.dirname(files)}/*.test.ts`, withMore(room, more))] : []),
  ]);
}

function withMore(room, { imports, packages }) {
  return {
    ...room,
    imports: [...room.imports, ...imports],
    types: room.types?.filter((entry) => !imports.includes(entry)),
    packages: room.packages === "any" ? "any" : [...(room.packages ?? []), ...packages],
  };
}

/** What the files of one folder may import. */
function overrideOf(files, { room, imports, types = [], packages = [] }) {
  const pathsTo = (entries) => [...new Set(entries.flatMap(roomsOf))].flatMap(filesOf).map((target) => pathTo(posix.dirname(files), target));
  const [forbidden, named] = packages === "any" ? [["./**", "../**"], []] : [["**"], packages];
  const allowed = [...pathsTo([room, ...imports, ...types]), ...named].map((pattern) => `!${pattern}`);
  const words = [...new Set(imports), ...types.map((entry) => `types of ${entry}`), ...named].join(", ") || "nothing";
  const typePaths = pathsTo(types).map((pattern) => pattern.replaceAll(".", "\\.").replace("*", "[^/]*"));
  const onlyTypes = {
    regex: `^(${typePaths.join("|")})$`,
    allowTypeImports: true,
    message: `${room} may import only types of ${types.join(", ")}: ${TABLE}.`,
  };
  const patterns = [
    // There and back, as in ../math/../gpu/open.ts, what is named first is not what is meant.
    { regex: "^\\.\\.?/?$|^\\./\\.|/\\./|[^./][^/]*/\\.\\.(/|$)", message: "Write the shortest path to the file." },
    ...(types.length > 0 ? [onlyTypes] : []),
    // The last one: where a group allows a path, Oxlint looks no further.
    { group: [...forbidden, ...allowed], message: `${room} may import itself and ${words}: ${TABLE}.` },
  ];
  return { files: [files], rules: restricted(patterns) };
}

/** A path as a file in `folder` writes it. */
function pathTo(folder, target) {
  const path = posix.relative(folder, target);
  return path.startsWith("../") ? path : `./${path}`;
}

function restricted(patterns) {
  return { "no-restricted-imports": ["error", { patterns }] };
}
