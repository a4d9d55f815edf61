/** One attention with FastRPB, on whichever backend the runtime has. */
import type { Cost, DispatchInfo } from "../../src/index.ts";
import { biasWeights } from "../bias.ts";
import { definitionRows, pickRows, relativeError, spreadRows, type Tables } from "../compare.ts";
import { embed, table, type TensorName } from "../input.ts";
import { HEAD_DIM, type Recipe } from "../recipe.ts";
import { copyBandwidth } from "./copy-bandwidth.ts";
import { pictureOf, type ProgramPicture } from "./program-picture.ts";
import { breathe, Scope, type Task } from "./task.ts";

export interface AttentionInput {
  readonly recipe: Recipe;
  readonly tokens: Uint8Array;
  /** Compare some rows with the definition, too: what is left to check where the CPU's result is the result. */
  readonly withDefinition: boolean;
}

/** What it does now, or how much of the run is done. */
export type AttentionEvent = { readonly stage: string } | { readonly fraction: number };

export interface Result {
  /** `[heads, length, HEAD_DIM]`. */
  readonly output: Float32Array<ArrayBuffer>;
  /** Wall time of the attention alone: inputs are in place, the spectrum of the bias is prepared. */
  readonly milliseconds: number;
  /** Whether earlier runs came before the one that was timed, which tells the times of the dispatches then. */
  readonly warm: boolean;
  readonly dispatches: readonly Dispatch[];
  readonly cost: Cost;
  /** Bytes per second, read and written together, of a plain copy on this device. */
  readonly copyBandwidth: number | undefined;
  /** What ran; `undefined` on the CPU, or where the plan was made in another way. */
  readonly program: ProgramPicture | undefined;
  /** Relative error of some rows against the definition, where that was asked for. */
  readonly definition?: { readonly rows: number; readonly error: number };
}

export interface Dispatch extends DispatchInfo {
  readonly milliseconds: number | undefined;
}

/** A run faster than this is repeated, and the last one counts. */
const WORTH_REPEATING = 500;
const CHECKED_ROWS = 64;

export const attention: Task<AttentionInput, AttentionEvent, Result> = async (runtime, { recipe, tokens, withDefinition }, context) => {
  const { heads, length } = recipe;
  const { signal, emit } = context;
  const scope = new Scope();
  const stage = async (words: string) => {
    emit({ stage: words });
    await breathe(context);
  };
  try {
    await stage("compiling");
    const options = { heads, length, headDim: HEAD_DIM, featureMap: "sikf", bias: "fastrpb" } as const;
    const plan = scope.hold(await runtime.attention(options));
    const program = await pictureOf(runtime, options, plan.dispatches);

    if (runtime.backend === "webgpu") await stage("timing a copy");
    const bandwidth = await copyBandwidth(runtime);

    await stage("embedding");
    const shape = [1, heads, length, HEAD_DIM];
    const tables = tablesOf(recipe);
    const scratch = new Float32Array(heads * length * HEAD_DIM);
    const upload = (name: TensorName) => {
      embed(tables[name], tokens, heads, scratch);
      return scope.hold(runtime.tensor(scratch, shape));
    };
    const q = upload("q");
    const k = upload("k");
    const v = upload("v");

    await stage("transforming the bias");
    const weights = biasWeights(recipe);
    const bias = scope.hold(plan.prepare(scope.hold(runtime.tensor(weights, [heads, 2 * length - 1]))));

    await stage("running");
    const start = performance.now();
    const result = scope.hold(await plan.runAsync({ q, k, v, bias }, { signal, onProgress: ({ fraction }) => emit({ fraction }) }));
    let milliseconds = performance.now() - start;
    let timings: readonly { readonly milliseconds: number | undefined }[] = [];
    const warm = runtime.backend === "webgpu" && milliseconds < WORTH_REPEATING;
    if (warm) {
      await stage("timing its parts");
      // The first one sets the clocks up.
      await plan.profile({ q, k, v, bias }, { out: result });
      const profile = await plan.profile({ q, k, v, bias }, { out: result });
      milliseconds = profile.milliseconds;
      timings = profile.dispatches;
    }

    emit({ stage: "reading the result" });
    const output = (await result.data(scratch)) as Float32Array<ArrayBuffer>;
    signal.throwIfAborted();
    const found: Result = {
      output,
      milliseconds,
      warm,
      dispatches: timed(plan.dispatches, timings),
      cost: plan.cost,
      copyBandwidth: bandwidth,
      program,
    };
    if (!withDefinition) return found;

    await stage("comparing with the definition");
    const rows = spreadRows(length, CHECKED_ROWS);
    const expected = definitionRows({ tokens, heads, headDim: HEAD_DIM, weights }, tables, rows);
    return { ...found, definition: { rows: rows.length, error: relativeError(pickRows(output, heads, HEAD_DIM, rows), expected) } };
  } finally {
    scope.dispose();
  }
};

function tablesOf({ source, heads }: Pick<Recipe, "source" | "heads">): Tables {
  return { q: table("q", source, heads), k: table("k", source, heads), v: table("v", source, heads) };
}

function timed(dispatches: readonly DispatchInfo[], timings: readonly { readonly milliseconds: number | undefined }[]): Dispatch[] {
  return dispatches.map((dispatch, index) => {
    const milliseconds = timings[index]?.milliseconds;
    // WebGPU lets a clock run backwards between two timestamps.
    return { ...dispatch, milliseconds: milliseconds !== undefined && milliseconds >= 0 ? milliseconds : undefined };
  });
}
