// Takes comments, indentation, blank lines and needless spaces out of the WGSL in the sources' `wgsl` templates. What comes from a value is
// left as it is, and so is the text beside one, which may continue it.
import { parseSync } from "vite";

/** A vite plugin for the modules whose path matches. */
export function minifyWgsl(/** @type {RegExp} */ modules) {
  return {
    name: "minify-wgsl",
    enforce: /** @type {const} */ ("pre"),
    transform(/** @type {string} */ code, /** @type {string} */ id) {
      if (!modules.test(id)) return undefined;
      let result = code;
      // From the end, so that earlier positions stay valid.
      for (const { start, end, text } of minifiedPieces(id, code).reverse()) result = result.slice(0, start) + text + result.slice(end);
      // Without a map: lines within a template move, which no stack trace names.
      return { code: result, map: { mappings: "" } };
    },
  };
}

/** The pieces of all `wgsl` templates of a module that change, in the order of the source. */
export function minifiedPieces(/** @type {string} */ id, /** @type {string} */ code) {
  const pieces = [];
  for (const quasis of wgslTemplates(id, code)) {
    const texts = minifyTemplate(quasis.map(({ start, end }) => code.slice(start, end)));
    for (const [i, { start, end }] of quasis.entries()) pieces.push({ start, end, text: texts[i] });
  }
  return pieces.sort((a, b) => a.start - b.start);
}

/** Where the pieces of text of each `wgsl` template lie. */
export function wgslTemplates(/** @type {string} */ id, /** @type {string} */ code) {
  const { program, errors } = parseSync(id, code);
  if (errors.length > 0) throw new Error(`${id}: ${errors[0].message}`);
  /** @type {{ start: number, end: number }[][]} */
  const templates = [];
  const visit = (/** @type {any} */ node) => {
    if (typeof node !== "object" || node === null) return;
    if (node.type === "TaggedTemplateExpression" && node.tag.name === "wgsl") {
      const { start, end, expressions } = node.quasi;
      const ends = expressions.map((/** @type {any} */ value) => [code.lastIndexOf("${", value.start), code.indexOf("}", value.end)]);
      const starts = [start + 1, ...ends.map((/** @type {number[]} */ [, close]) => close + 1)];
      templates.push(starts.map((first, i) => ({ start: first, end: i < ends.length ? ends[i][0] : end - 1 })));
    }
    for (const child of Object.values(node)) visit(child);
  };
  visit(program);
  return templates;
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
