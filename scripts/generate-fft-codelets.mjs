// Prints src/math/fft/codelets.ts. To write it anew:
//
//     node scripts/generate-fft-codelets.mjs > src/math/fft/codelets.ts
//
// Codelets are copies of a few patterns because V8 keeps a butterfly in registers only within one function, and slows a function down that meets two
// types of array. In their text, number j of a butterfly is xj and its twiddle wj; r and i are their parts, R and I those before the twiddle.

const each = (first, end, text) => Array.from({ length: end - first }, (_, index) => text(first + index)).join("\n");
const both = (text) => `${text("r")}\n${text("i")}`;
/** Where number j of a butterfly lies: leg1, leg2, … from the first in what it is read from, way1, way2, … in what it is written to. */
const place = (base, name, j) => (j === 0 ? base : `${base} + ${name}${j}`);

/** The mask tells V8 that an index and its sums stay in a machine word. It has to be a literal. */
const masked = (index) => `(${index}) & 0x3fffffff`;
const steps = (...sums) => sums.map((sum) => `${sum.split(" ")[0]} = ${masked(sum)}`).join(", ");
const distances = (name, first, radix) => each(1, radix, (j) => `${name}${j} = ${masked(j === 1 ? first : `${j} * ${name}1`)};`);

const twiddles = (first, radix, table, factor = "") =>
  each(2 * first, 2 * radix, (n) => `w${n >> 1}${"ri"[n & 1]} = ${factor}${table}[${n === 2 * first ? "t" : `t + ${n - 2 * first}`}]!;`);

const times = (j) => [`R * w${j}r - I * w${j}i`, `R * w${j}i + I * w${j}r`];
const timesConjugate = (j) => [`R * w${j}r + I * w${j}i`, `I * w${j}r - R * w${j}i`];
const timesEighths = (j) => ({ 1: ["h * (R + I)", "h * (I - R)"], 2: ["I", "-R"], 3: ["h * (I - R)", "-h * (R + I)"] })[j];
const timesOne = () => undefined;

const number = (j, r, i, product) =>
  product ? `R = ${r};\nI = ${i};\nx${j}r = ${product[0]};\nx${j}i = ${product[1]};` : `x${j}r = ${r};\nx${j}i = ${i};`;

/** Reads a butterfly from the tile at i. */
const read = (radix, product = times, factor = "") => `
  ${number(0, `${factor}re[i]!`, `${factor}im[i]!`)}
  ${each(1, radix, (j) => `i${j} = i + leg${j};\n${number(j, `re[i${j}]!`, `im[i${j}]!`, product(j))}`)}`;

// These write number k of a butterfly: where it was read; to the tile at o; elsewhere, its real part at o and the other at n.
const backToTile = (k, r, i) => `re[i${k || ""}] = ${r};\nim[i${k || ""}] = ${i};`;
const toTile = (k, r, i) => `re[${place("o", "way", k)}] = ${r};\nim[${place("o", "way", k)}] = ${i};`;
const toArray = (k, r, i) => `to[${place("o", "way", k)}] = ${r};\nto[${place("n", "way", k)}] = ${i};`;

function butterfly(radix, write) {
  if (radix === 1) return write(0, "x0r", "x0i");
  if (radix === 2) return `${write(0, "x0r + x1r", "x0i + x1i")}\n${write(1, "x0r - x1r", "x0i - x1i")}`;
  if (radix === 4)
    return `
      ${both((p) => `p1${p} = x0${p} + x2${p};\nd1${p} = x0${p} - x2${p};`)}
      ${both((p) => `e${p} = x1${p} + x3${p};\nf${p} = x1${p} - x3${p};`)}
      ${write(0, "p1r + er", "p1i + ei")}
      ${write(2, "p1r - er", "p1i - ei")}
      ${write(1, "d1r + fi", "d1i - fr")}
      ${write(3, "d1r - fi", "d1i + fr")}`;
  // In every odd radix, X_k and X_{r−k} are e ∓ i f with e = x_0 + Σ_j (x_j + x_{r−j}) cos and f = Σ_j (x_j − x_{r−j}) sin.
  const end = (radix + 1) / 2;
  const sum = (first, term) => each(first, end, term).replaceAll("\n", " ");
  const turn = (m) => Math.min(m % radix, radix - (m % radix));
  const sign = (m) => (m % radix < end ? "+" : "-");
  const sums = (j) => both((p) => `p${j}${p} = x${j}${p} + x${radix - j}${p};\nd${j}${p} = x${j}${p} - x${radix - j}${p};`);
  const pair = (k) => `
    ${both((p) => `e${p} = x0${p} ${sum(1, (j) => `+ c${turn(j * k)} * p${j}${p}`)};`)}
    ${both((p) => `f${p} = s${k} * d1${p} ${sum(2, (j) => `${sign(j * k)} s${turn(j * k)} * d${j}${p}`)};`)}
    ${write(k, "er + fi", "ei - fr")}
    ${write(radix - k, "er - fi", "ei + fr")}`;
  const first = write(0, `x0r ${sum(1, (j) => `+ p${j}r`)}`, `x0i ${sum(1, (j) => `+ p${j}i`)}`);
  return `${each(1, end, sums)}\n${first}\n${each(1, end, pair)}`;
}

/** Cosines and sines of 1/radix of a turn, of 2/radix, and so on, as literals. Math.cos would get an angle that is rounded. */
const ROOTS = {
  3: "c1 = -0.5;\ns1 = 0.8660254037844386;",
  5: "c1 = 0.30901699437494745;\ns1 = 0.9510565162951535;\nc2 = -0.8090169943749475;\ns2 = 0.5877852522924731;",
  7: `c1 = 0.6234898018587335;\ns1 = 0.7818314824680298;\nc2 = -0.2225209339563144;\ns2 = 0.9749279121818236;
      c3 = -0.9009688679024191;\ns3 = 0.4338837391175581;`,
};

const codelets = [];

function codelet(name, comment, parameters, body) {
  const text = `re = real;\nim = imaginary;\n${body}`;
  const variables = new Set([...text.matchAll(/(?<!\w)(\w+) = /g)].map(([, name]) => name));
  codelets.push({ name, comment, parameters, text, variables: [...variables] });
}

const properties = (object, ...names) => names.map((name) => `${name} = ${object}.${name};`).join("\n");

/**
 * The two inner loops are over butterflies that share their twiddles, the outer one by `stride`, the inner one as far as `reach`. With one column the
 * inner one is over blocks, as a loop of one round costs more. They count in places: counters beside them, and products, took a fifth of the time.
 */
const bounds = (radix) => `
  ${properties("pass", "span", "twiddles")}
  ${distances("leg", "span * columns", radix)}
  total = ${radix} * leg1 * blocks;
  reach = columns === 1 ? total : columns;
  stride = columns === 1 ? total : ${radix} * leg1;
  step = ${masked(`columns === 1 ? ${radix} * leg1 : 1`)};`;
const loops = (first, body) => `
  for (start = ${first}; start < total; ${steps("start + stride")}) {
    end = start + reach;
    for (i = start; i < end; ${steps("i + step")}) {
      ${body}
    }
  }`;
/** Of every row, or with `odd` of rows 1, 3, and so on. */
function rows(radix, odd = false) {
  const floats = 2 * radix - 2;
  const [row, t, ...next] = odd ? ["columns", floats, "row + 2 * columns", `t + ${2 * floats}`] : [0, 0, "row + columns", `t + ${floats}`];
  return `
    for (row = ${row}, t = ${t}; row < leg1; ${steps(...next)}) {
      ${twiddles(1, radix, "twiddles")}
      ${loops("row", `${read(radix)}\n${butterfly(radix, backToTile)}`)}
    }`;
}

const PASS = "pass: Pass, blocks: number, columns: number";
const pass = (radix, name) => codelet(name, `Radix ${radix}.`, PASS, `${bounds(radix)}\n${ROOTS[radix] ?? ""}\n${rows(radix)}`);

pass(2, "two");
pass(3, "three");
pass(4, "four");
codelet(
  "fourOfSpanFour",
  "Radix 4 where the span is 4: twiddles of p = 0 and p = 2 are eighths of a turn, which take half of the arithmetic.",
  PASS,
  `
  ${bounds(4)}
  h = Math.SQRT1_2;
  ${loops("0", `${read(4, timesOne)}\n${butterfly(4, backToTile)}`)}
  ${loops(masked("2 * columns"), `${read(4, timesEighths)}\n${butterfly(4, backToTile)}`)}
  ${rows(4, true)}`,
);
pass(5, "five");
pass(7, "seven");

// The codelets of radix 4 at either end exist for the type of array that they read or write; those of radix 1 only load or store the tile. In those
// arrays legs and ways are even, so that the other part of a number is as far from n as the first is from i or o.

function first(radix, name, comment, type, turned) {
  codelet(
    name,
    comment,
    `from: ${type}, begin: number, pitch: number, order: Order, columns: number, ${turned ? "turns: Float64Array, at: number" : "part: number"}`,
    `
    ${properties("order", "rows", "fan", "spread", "group", "sources", "slots")}
    ${distances("leg", `((2 * rows) / ${radix}) * pitch`, radix)}
    ${distances("way", "columns", radix)}
    step = ${masked("2 * pitch")};
    reach = ${masked("2 * fan * columns")};
    way = ${masked("fan === 1 ? 1 : rows / fan")};
    near = ${masked("rows / (fan * spread)")};
    count = sources.length;
    ${turned ? `t = ${masked("2 * at")};` : ""}
    for (j = 0; j < group; j += ${radix}) {
      start = ${masked(`2 * (begin + (rows / group) * j * pitch)${turned ? "" : " + part"}`)};
      for (m = 0; m < count; m++) {
        i = ${masked("start + Math.imul(step, sources[m]!)")};
        for (d = 0, target = ${masked("Math.imul(columns, slots[m]! + j)")}; d < spread; d++, ${steps("target + near")}) {
          end = i + reach;
          for (o = target; i < end; ${steps("i + 2", "o + way", ...(turned ? [`t + ${2 * radix}`] : []))}) {
            ${turned ? twiddles(0, radix, "turns") : ""}
            n = ${turned ? "i + 1" : masked("i ^ 1")};
            ${each(0, radix, (j) => number(j, `from[${place("i", "leg", j)}]!`, `from[${place("n", "leg", j)}]!`, turned && times(j)))}
            ${butterfly(radix, toTile)}
          }
        }
      }
    }`,
  );
}

const TURNED = "The same, each number times the next one of `turns` from `at` on";
first(1, "load", "Loads the tile, `pitch` numbers from one row to the next.", "Float64Array", false);
first(1, "loadTurned", `${TURNED}.`, "Float64Array", true);
first(4, "firstFour", "Loads the tile and runs its first pass, of radix 4.", "Float32Array", false);
first(4, "firstFourTurned", `${TURNED}; rows that share a butterfly follow each other there.`, "Float64Array", true);

function last(radix, name, comment, type, factor = "") {
  const single = factor === "";
  const either = (one, several) => (single ? `single ? ${one} : ${several}` : several);
  const readTwiddles = radix === 1 ? "" : twiddles(1, radix, "twiddles", factor);
  codelet(
    name,
    comment,
    `${radix === 1 ? "span: number" : "pass: Pass"}, columns: number, to: ${type}, place: Place, part: number${factor && ", scale: number"}`,
    `
    ${radix === 1 ? "" : properties("pass", "span", "twiddles")}
    ${properties("place", "start", "group", "rowPitch", "columnPitch")}
    ${single ? "single = columns === 1 && group === 1;" : ""}
    count = ${either("1", "span")};
    reach = ${either("span", "columns")};
    step = ${masked(`2 * (${either("rowPitch", "columnPitch")})`)};
    ${distances("leg", "span * columns", radix)}
    ${distances("way", "2 * span * rowPitch", radix)}
    for (m = 0; m < count; m++) {
      i = ${masked("m * columns")};
      d = m % group;
      end = i + reach;
      ${radix === 1 ? "" : `t = ${masked("6 * m")};\n${readTwiddles}`}
      for (o = ${masked("2 * (start + (m - d) * rowPitch + d) + part")}; i < end; ${steps("i + 1", "o + step")}) {
        ${radix > 1 && single ? `if (single) {\n${readTwiddles}\n${steps("t + 6")};\n}` : ""}
        ${read(radix, times, factor)}
        n = ${radix === 1 ? "o ^ 1" : masked("o ^ 1")};
        ${butterfly(radix, toArray)}
      }
    }`,
  );
}

last(1, "store", "Stores the tile, `span` rows of it.", "Float64Array");
last(4, "lastFour", "Runs the last pass, of radix 4, and stores the tile.", "Float64Array");
last(4, "lastFourScaled", "The same of several columns, scaled and rounded.", "Float32Array", "scale * ");

const half = (product, write) => `
  ${read(4, product, "scale * ")}
  o = ${masked("2 * i + d")};
  n = ${masked("o ^ 1")};
  ${butterfly(4, write)}`;
codelet(
  "lastFourMirrored",
  "The same of one column, both p and span − p at once, as w_{span−p,j} = (−i)^j conj(w_pj). For p = 0 the latter is wrong, and overwritten.",
  "pass: Pass, to: Float32Array, part: number, scale: number",
  `
  ${properties("pass", "span", "twiddles")}
  ${distances("leg", "span", 4)}
  ${distances("way", "2 * span", 4)}
  d = part & 1;
  end = span / 2;
  for (m = 0, t = 0, i = 0; m <= end; ${steps("m + 1", "t + 6")}, i = ${masked("leg1 - m")}) {
    ${twiddles(1, 4, "twiddles", "scale * ")}
    ${half(timesConjugate, (k, r, i) => toArray((k + 3) % 4, r, i))}
    i = m;
    ${half(times, toArray)}
  }`,
);

const TYPES = { re: "Float64Array", im: "Float64Array", twiddles: "Float64Array", sources: "Int32Array", slots: "Int32Array", single: "boolean" };
const uses = {};
for (const name of codelets.flatMap(({ variables }) => variables)) uses[name] = (uses[name] ?? 0) + 1;
const commonFirst = Object.keys(uses).sort((a, b) => uses[b] - uses[a]);
const arity = ({ parameters }) => parameters.split(":").length - 1;

/**
 * What a minifier calls a variable depends on how many come before it. To look alike, and so compress well, codelets declare each variable in the
 * same place, and fill the places of those that they lack with their rarest ones.
 */
function declared(codelet) {
  const rest = commonFirst.filter((name) => codelet.variables.includes(name));
  const list = [];
  for (const name of [...Array(Math.max(...codelets.map(arity)) - arity(codelet)), ...commonFirst])
    if (rest.length > 0) list.push(...rest.splice(rest.indexOf(name), 1));
  return list.map((name) => `${name}: ${TYPES[name] ?? "number"}`).join(", ");
}

const printed = (codelet) => `
  /** ${codelet.comment} */
  function ${codelet.name}(${codelet.parameters}): void {
    let ${declared(codelet)};
    ${codelet.text}
  }`;
const text = `// Written by scripts/generate-fft-codelets.mjs, which says how. Change it there.
/* oxlint-disable prefer-const */
import type { Order, Pass, Place } from "./tile.ts";

// oxfmt-ignore
/** Codelets over the tile that lies in \`real\` and \`imaginary\`, to be called once: V8 then compiles their addresses and lengths into the code. */
export function createCodelets(real: Float64Array, imaginary: Float64Array) {
  ${codelets.map(printed).join("\n")}
  return { ${codelets.map(({ name }) => name).join(", ")} };
}
`;
let depth = 0;
for (const line of text.split("\n").map((line) => line.trim())) {
  if (line === "") continue;
  if (line.startsWith("}")) depth--;
  console.log("  ".repeat(depth) + line);
  if (line.endsWith("{")) depth++;
}
