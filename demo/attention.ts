/** One attention with FastRPB, on whichever backend the runtime has. */
import type { Cost, DispatchInfo, Runtime } from "../src/index.ts";
import { embed, table, type TensorName } from "./input.ts";
import { HEAD_DIM, type Recipe } from "./recipe.ts";
import type { Tables } from "./compare.ts";

export interface Result {
  /** `[heads, length, HEAD_DIM]`. */
  readonly output: Float32Array<ArrayBuffer>;
  /** Wall time of the attention alone: inputs are in place, the spectrum of the bias is prepared. */
  readonly milliseconds: number;
  /** Whether an earlier, untimed run came before. */
  readonly warm: boolean;
  readonly dispatches: readonly Dispatch[];
  readonly cost: Cost;
}

export interface Dispatch extends DispatchInfo {
  readonly milliseconds: number | undefined;
}

/** A run faster than this is done twice, and the second one counts. */
const WORTH_REPEATING = 500;

export async function runAttention(
  runtime: Runtime,
  recipe: Recipe,
  tokens: Uint8Array,
  weights: Float32Array,
  onStage: (text: string) => void,
): Promise<Result> {
  const { heads, length } = recipe;
  const held: { dispose(): void }[] = [];
  const hold = <T extends { dispose(): void }>(thing: T): T => {
    held.push(thing);
    return thing;
  };
  try {
    onStage("compiling");
    const plan = hold(await runtime.attention({ heads, length, headDim: HEAD_DIM, featureMap: "sikf", bias: "fastrpb" }));

    onStage("embedding");
    await breathe();
    const shape = [1, heads, length, HEAD_DIM];
    const tables = tablesOf(recipe);
    const scratch = new Float32Array(heads * length * HEAD_DIM);
    const upload = (name: TensorName) => {
      embed(tables[name], tokens, heads, scratch);
      return hold(runtime.tensor(scratch, shape));
    };
    const q = upload("q");
    const k = upload("k");
    const v = upload("v");

    onStage("transforming the bias");
    await breathe();
    const bias = hold(plan.prepare(hold(runtime.tensor(weights, [heads, 2 * length - 1]))));

    onStage("running");
    await breathe();
    let profile = await plan.profile({ q, k, v, bias });
    const warm = runtime.backend === "webgpu" && profile.milliseconds < WORTH_REPEATING;
    if (warm) {
      profile.output.dispose();
      profile = await plan.profile({ q, k, v, bias });
    }
    hold(profile.output);

    onStage("reading the result");
    const output = (await profile.output.data(scratch)) as Float32Array<ArrayBuffer>;
    return { output, milliseconds: profile.milliseconds, warm, dispatches: timed(plan.dispatches, profile.dispatches), cost: plan.cost };
  } finally {
    for (const thing of held.reverse()) thing.dispose();
  }
}

export function tablesOf(recipe: Pick<Recipe, "source" | "heads">): Tables {
  const { source, heads } = recipe;
  return { q: table("q", source, heads), k: table("k", source, heads), v: table("v", source, heads) };
}

function timed(dispatches: readonly DispatchInfo[], timings: readonly { readonly milliseconds: number | undefined }[]): Dispatch[] {
  return dispatches.map((dispatch, index) => {
    const milliseconds = timings[index]?.milliseconds;
    // WebGPU lets a clock run backwards between two timestamps.
    return { ...dispatch, milliseconds: milliseconds !== undefined && milliseconds >= 0 ? milliseconds : undefined };
  });
}

/** Lets the page paint before a stretch of work that holds the thread. */
function breathe(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
