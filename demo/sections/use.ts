/** "Use it": the code for what the page shows. */
import { CURVES, type CurveName, periodFor, reachOf } from "../bias.ts";
import { copyText } from "../clipboard.ts";
import { element, make } from "../dom.ts";
import { HEAD_DIM, type Recipe } from "../recipe.ts";
import type { ProductShape } from "./explorer.ts";

/** From here on a run may take more than a blink. */
const LONG = 16384;

export class UseSection {
  readonly #run = new Block("use-run");
  readonly #product = new Block("use-product");

  setRun(recipe: Recipe): void {
    this.#run.set(runCode(recipe));
  }

  setProduct(shape: ProductShape, channels: number): void {
    this.#product.set(productCode(shape, channels));
  }
}

/** Some code and its button. */
class Block {
  readonly #code: HTMLElement;
  readonly #status: HTMLElement;
  #shown = "";

  constructor(id: string) {
    this.#code = element(id, HTMLElement);
    this.#status = element(`${id}-status`, HTMLElement);
    element(`${id}-copy`, HTMLButtonElement).addEventListener("click", () => void this.#copy());
  }

  set(code: string): void {
    if (code === this.#shown) return;
    this.#shown = code;
    this.#status.textContent = "";
    this.#code.replaceChildren(
      ...code.split(/(\/\/.*)/).map((part) => {
        if (!part.startsWith("//")) return part;
        const comment = make("span", part);
        comment.className = "comment";
        return comment;
      }),
    );
  }

  async #copy(): Promise<void> {
    const tell = (words: string) => (this.#status.textContent = words);
    if (await copyText(this.#shown, tell)) return;
    getSelection()?.selectAllChildren(this.#code);
    tell(`Press ${navigator.userAgent.includes("Mac") ? "⌘C" : "Ctrl+C"}.`);
  }
}

/** The formulas of `CURVES`. */
const FORMULAS: Readonly<Record<CurveName, (reach: string, period: number) => string>> = {
  decay: (reach) => `Math.exp(-Math.abs(d) / ${reach})`,
  window: (reach) => `Number(Math.abs(d) <= ${reach})`,
  periodic: (reach, period) => `Math.cos((2 * Math.PI * d) / ${period}) * Math.exp(-Math.abs(d) / (4 * Math.max(${reach}, ${period})))`,
  back: (reach) => `(d <= 0 ? Math.exp(d / ${reach}) : 0)`,
};

function runCode({ source, curve, heads, length }: Recipe): string {
  const shape = `[1, ${heads}, ${length}, ${HEAD_DIM}]`;
  const offsets = 2 * length - 1;
  const several = heads > 1;
  const formula = FORMULAS[curve](several ? "reach(head)" : "reach", periodFor(source, length));
  const long = length >= LONG;
  return `import { biasFromFunction, createRuntime } from "fastrpb";

const runtime = await createRuntime(); // WebGPU, or the CPU where there is none
const attention = await runtime.attention({
  heads: ${heads}, length: ${length}, headDim: ${HEAD_DIM}, featureMap: "sikf", bias: "fastrpb",
});

// ${CURVES[curve].title}: the weight of the token d places further on.${several ? "\n// Each head looks √2 times as far as the one before." : ""}
const reach = ${several ? "(head) => " : ""}${reachOf(0, length)}${several ? " * Math.SQRT2 ** head" : ""};
const weights = biasFromFunction({ heads: ${heads}, length: ${length} }, (${several ? "d, head" : "d"}) =>
  ${formula},
);
// The absolute weights of a head add up to 1.
for (let start = 0; start < weights.length; start += ${offsets}) {
  const head = weights.subarray(start, start + ${offsets});
  const sum = head.reduce((all, weight) => all + Math.abs(weight), 0);
  head.set(head.map((weight) => weight / sum));
}
const bias = attention.prepare(weights); // once, for as many runs as you like

// q, k and v: a Float32Array each, of ${heads} × ${length} × ${HEAD_DIM} numbers.
const tensor = (data) => runtime.tensor(data, ${shape});
${long ? "// Bit by bit, so that the page stays awake.\n" : ""}const out = ${long ? "await attention.runAsync" : "attention.run"}({ q: tensor(q), k: tensor(k), v: tensor(v), bias });
const result = await out.data(); // Float32Array, ${shape}
`;
}

function productCode(shape: ProductShape, channels: number): string {
  const onGrid = "grid" in shape;
  const tokens = onGrid ? shape.grid[0] * shape.grid[1] : shape.length;
  const positions = onGrid ? `grid: [${shape.grid.join(", ")}]` : `length: ${shape.length}`;
  const weights = onGrid
    ? `${shape.grid.map((size) => 2 * size - 1).join(" × ")} numbers; that of the token dy rows down\n// and dx columns right is at [dy + ${shape.grid[0] - 1}, dx + ${shape.grid[1] - 1}]`
    : `${2 * shape.length - 1} numbers; that of the token d places further on is at d + ${shape.length - 1}`;
  const full = `[1, 1, ${tokens}, ${channels}]`;
  return `import { createRuntime } from "fastrpb";

const runtime = await createRuntime(); // WebGPU, or the CPU where there is none
const toeplitz = await runtime.toeplitz({ heads: 1, ${positions}, channels: ${channels} });

// weights: a Float32Array of ${weights}.
// v: a Float32Array of ${tokens} × ${channels} numbers, token by token.
const spectrum = toeplitz.prepare(weights); // once, for as many products as you like
const out = toeplitz.run(runtime.tensor(v, ${full}), spectrum);
const result = await out.data(); // Float32Array, ${full}
`;
}
