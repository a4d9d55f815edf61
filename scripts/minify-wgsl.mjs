// Compiles the `wgsl` templates of the sources for the built library: their directives become conditional expressions, and comments,
// indentation, blank lines and needless spaces go. What comes from a value is left as it is, and so is the text beside one, which may continue it.
import { dirname, resolve } from "node:path";
import { parseSync } from "vite";

/** A vite plugin for the modules whose path matches. */
export function minifyWgsl(/** @type {RegExp} */ modules) {
  return {
    name: "minify-wgsl",
    enforce: /** @type {const} */ ("pre"),
    resolveId(/** @type {string} */ source, /** @type {string | undefined} */ importer) {
      // The tag that knows directives has nothing left to do.
      return importer && source.endsWith("/wgsl.ts") ? resolve(dirname(importer), source.replace("wgsl.ts", "wgsl-compiled.ts")) : undefined;
    },
    transform(/** @type {string} */ code, /** @type {string} */ id) {
      // Without a map: no line of a template is ever in a stack trace.
      return modules.test(id) ? { code: compileTemplates(id, code), map: { mappings: "" } } : undefined;
    },
  };
}

/** A module with all its `wgsl` templates compiled. */
export function compileTemplates(/** @type {string} */ id, /** @type {string} */ code) {
  const { program, errors } = parseSync(id, code);
  if (errors.length > 0) throw new Error(`${id}: ${errors[0].message}`);
  const templates = findTemplates(program);
  /** The source from `start` to `end`. @type {(start: number, end: number) => string} */
  const rewritten = (start, end) => {
    let result = "";
    let at = start;
    for (const node of templates) {
      if (node.start < at || node.end > end) continue; // outside, or within one that is done
      result += code.slice(at, node.start) + compiled(node);
      at = node.end;
    }
    return result + code.slice(at, end);
  };
  const compiled = (/** @type {any} */ { quasi }) => {
    const values = quasi.expressions.map((/** @type {any} */ value) => [code.lastIndexOf("${", value.start), code.indexOf("}", value.end)]);
    const ends = [...values.map((/** @type {number[]} */ [open]) => open), quasi.end - 1];
    const starts = [quasi.start + 1, ...values.map((/** @type {number[]} */ [, close]) => close + 1)];
    const pieces = starts.map((start, i) => code.slice(start, ends[i]));
    return compileTemplate(
      pieces,
      values.map((/** @type {number[]} */ [open, close]) => rewritten(open + 2, close)),
    );
  };
  return rewritten(0, code.length);
}

/** Tagged templates in the order of the source, outer ones before those within. */
function findTemplates(/** @type {unknown} */ program) {
  /** @type {any[]} */
  const found = [];
  const visit = (/** @type {any} */ node) => {
    if (typeof node !== "object" || node === null) return;
    if (node.type === "TaggedTemplateExpression" && node.tag.name === "wgsl") found.push(node);
    for (const child of Object.values(node)) visit(child);
  };
  visit(program);
  return found.sort((a, b) => a.start - b.start || b.end - a.end);
}

const DIRECTIVE = /(^|\n)[^\S\n]*#(if|elif|else|endif)[^\S\n]*(\n|$)/;

/**
 * Source of a template.
 *
 * @param {readonly string[]} pieces text
 * @param {readonly string[]} values source of the values between
 */
export function compileTemplate(pieces, values) {
  /** Source of the template, or of the branch, that is being read. */
  let text = "";
  /** @type {{ before: string, branches: string, closed: boolean }[]} */
  const open = [];
  let predicate = false;
  for (const [i, piece] of minifyTemplate(pieces).entries()) {
    // The line break of a directive is its own.
    let rest = predicate ? piece.replace(/^[^\S\n]*\n/, "") : piece;
    predicate = false;
    for (let match = DIRECTIVE.exec(rest); match; match = DIRECTIVE.exec(rest)) {
      const [all, , name, lineEnd] = match;
      const before = rest.slice(0, match.index);
      if (before !== "" || text !== "") text += `${before}\n`;
      rest = rest.slice(match.index + all.length);
      predicate = name === "if" || name === "elif";
      if (predicate && (lineEnd !== "" || rest !== "" || i === values.length)) throw new Error(`wgsl: a directive without a predicate: ${piece}`);
      if (name === "if") {
        open.push({ before: text, branches: `(${values[i]}) ? `, closed: false });
      } else {
        const block = open.at(-1);
        if (!block || (block.closed && name !== "endif")) throw new Error(`wgsl: #${name} out of place: ${piece}`);
        block.branches += `wgsl\`${text}\` : `;
        if (name === "elif") block.branches += `(${values[i]}) ? `;
        if (name === "else") block.closed = true;
        if (name === "endif") {
          // The last branch is the one of #else, and has no other after it.
          const branches = block.closed ? block.branches.slice(0, -3) : `${block.branches}""`;
          text = `${block.before}\${${branches}}`;
          open.pop();
          continue;
        }
      }
      text = "";
    }
    if (rest.includes("#")) throw new Error(`wgsl: unknown directive: ${rest}`);
    text += rest;
    if (i < values.length && !predicate) text += `\${${values[i]}}`;
  }
  if (open.length > 0) throw new Error("wgsl: #if without #endif");
  return `wgsl\`${text}\``;
}

/** The pieces of text of one template, smaller. A comment goes with its line's rest; one that holds a value stays. */
export function minifyTemplate(/** @type {readonly string[]} */ pieces) {
  if (pieces.some((text) => text.includes("\\") || text.includes("/*")))
    throw new Error(`no escapes and block comments in WGSL: ${pieces.join("${…}")}`);
  let inComment = false;
  return pieces.map((text, i) => {
    const [first, last] = [i === 0, i === pieces.length - 1];
    const lines = text.split("\n").map((line, l, { length }) => {
      const whole = { start: l > 0 || first, end: l < length - 1 || last };
      if (l > 0) inComment = false;
      if (inComment) return line;
      const comment = line.indexOf("//");
      if (comment >= 0 && !whole.end) {
        inComment = true;
        return tight(line.slice(0, comment), { start: whole.start, end: false }) + line.slice(comment);
      }
      return tight(comment < 0 ? line : line.slice(0, comment), { ...whole, end: whole.end || comment >= 0 });
    });
    // A line break stays where there was one: a directive has its line to itself.
    return lines.filter((line, l) => line !== "" || l === 0 || l === lines.length - 1).join("\n");
  });
}

/** A line without the spaces that separate nothing; at an end that a value follows, as it is. */
function tight(/** @type {string} */ line, /** @type {{ start: boolean, end: boolean }} */ whole) {
  const trimmed = whole.start ? line.trimStart() : line;
  const text = whole.end ? trimmed.trimEnd() : trimmed;
  if (/^\s*#/.test(text)) return text; // a directive
  // Between a word and a sign: two signs could become another one.
  return text.replace(/(?<=[\w)\]}]) +(?=[^\w\s$@])|(?<=[^\w\s)\]}]) +(?=[\w(@])/g, "");
}
