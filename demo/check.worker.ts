/** The CPU backend in a worker: minutes of arithmetic there do not freeze the page, and ending the worker cancels it. */
import { createRuntime } from "../src/index.ts";
import { biasWeights } from "./bias.ts";
import { runAttention, tablesOf } from "./attention.ts";
import { definitionRows, pickRows, relativeError, spreadRows } from "./compare.ts";
import { HEAD_DIM, type Recipe } from "./recipe.ts";

export interface Job {
  readonly recipe: Recipe;
  readonly tokens: Uint8Array;
  /** Compare some rows with the definition, too: what is left to check where the CPU's result is the result. */
  readonly withDefinition: boolean;
}

export type Reply =
  | { readonly kind: "stage"; readonly text: string }
  | { readonly kind: "failed"; readonly message: string }
  | {
      readonly kind: "done";
      readonly output: Float32Array<ArrayBuffer>;
      readonly milliseconds: number;
      /** Relative error of some rows against the definition, where that was asked for. */
      readonly definition: { readonly rows: number; readonly error: number } | undefined;
    };

const CHECKED_ROWS = 64;

addEventListener("message", (event: MessageEvent<Job>) => {
  work(event.data).catch((error: unknown) => {
    reply({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  });
});

async function work({ recipe, tokens, withDefinition }: Job): Promise<void> {
  const runtime = await createRuntime({ backend: "cpu" });
  const weights = biasWeights(recipe);
  const result = await runAttention(runtime, recipe, tokens, weights, (text) => reply({ kind: "stage", text }));
  runtime.dispose();
  let definition;
  if (withDefinition) {
    reply({ kind: "stage", text: "comparing with the definition" });
    const rows = spreadRows(recipe.length, CHECKED_ROWS);
    const sequence = { tokens, heads: recipe.heads, headDim: HEAD_DIM, weights };
    const expected = definitionRows(sequence, tablesOf(recipe), rows);
    definition = { rows: rows.length, error: relativeError(pickRows(result.output, recipe.heads, HEAD_DIM, rows), expected) };
  }
  const { output, milliseconds } = result;
  reply({ kind: "done", output, milliseconds, definition }, [output.buffer]);
}

function reply(message: Reply, transfer: Transferable[] = []): void {
  postMessage(message, { transfer });
}
