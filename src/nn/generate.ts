/** Writes on from some tokens: attention that is linear keeps its sums, so that a token costs no pass over those before it. */
import type { Backend, Executable, Storage } from "../core/backend.ts";
import { checkOptions, checkSize } from "../core/check.ts";
import { checkAborted, refuse } from "../core/errors.ts";
import { FLOAT_BYTES } from "../program/units.ts";
import { fuse } from "../graph/fuse.ts";
import { graph, type GraphSpec, graphSpec } from "../graph/graph.ts";
import { pcg4d } from "../math/counter-random.ts";
import { weightWindow } from "../operations/attention/decode/operation.ts";
import { blocksOf, blockSpectrum, blockWeights, firstStates, historySize, nearWeights, stagesOf } from "../operations/attention/decode/spec.ts";
import { type Task, task, type TaskNode } from "../operations/operation.ts";
import { spectrum } from "../operations/toeplitz/operation.ts";
import { held, stepOf } from "./kept-numbers.ts";
import { type Model, resolvedNodes } from "./model.ts";
import { type Decoding, POSITION } from "./recorder.ts";
import type { TransformerOptions } from "./transformer.ts";

/** Options of {@link Net.generate}. */
export interface GenerateOptions {
  /** How many tokens to write at most. Default: as many as the model has places for. */
  readonly tokens?: number;
  /** Logits are divided by it; 0 takes the largest. Default 1. */
  readonly temperature?: number;
  /** Only so many of the likeliest tokens are drawn from. Default: all. */
  readonly topK?: number;
  /** Only the likeliest tokens are drawn from that make up this share together (Holtzman et al. 2020), from 0 to 1. Default 1: all. */
  readonly topP?: number;
  /** Decides what is drawn, an integer from 0 to 2³² − 1. Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

/** A model with its parameters, as far as the writing of tokens has to do with it. */
export interface Writer {
  readonly backend: Backend<Task>;
  readonly model: Model;
  /** Where parameters and constants lie, and the memory that they have. */
  readonly memory: Pick<GraphSpec, "wholes" | "parts">;
  bindings(): Readonly<Record<string, Storage>>;
  /** The logits of a whole sequence, [length, tokens]. */
  logits(inputs: Uint32Array): Promise<Float32Array>;
}

/** What takes the next token and gives the logits of what may follow. */
interface Stepper {
  take(token: number, wanted: boolean): Promise<Float32Array | undefined>;
  release(): void;
}

const MAX_SEED = 2 ** 32 - 1;

/** Checks all, and gives the tokens as they come. @throws FastRpbError code `"value"` */
export function generate(writer: Writer, prompt: ArrayLike<number>, options: GenerateOptions): AsyncGenerator<number, void> {
  const caller = "net.generate";
  checkOptions(caller, "options", options, ["tokens", "temperature", "topK", "topP", "seed", "signal"]);
  const { length, count } = checkModel(caller, writer.model);
  const given: unknown = prompt?.length;
  if (!Number.isInteger(given) || prompt.length < 1 || prompt.length >= length) {
    throw refuse("value", caller, "prompt", `from 1 to ${length - 1} tokens`, given);
  }
  const words = Array.from({ length: prompt.length }, (_, i) => prompt[i]!);
  const wrong = words.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= count);
  if (wrong >= 0) throw refuse("value", caller, `prompt[${wrong}]`, `an integer from 0 to ${count - 1}`, words[wrong]);
  const left = length - words.length;
  const tokens = checkSize(caller, "options.tokens", options.tokens ?? left);
  if (tokens > left) throw refuse("value", caller, "options.tokens", `at most ${left}, which are left of ${length}`, tokens);
  const { temperature = 1, topK = count, topP = 1, seed = 0, signal } = options;
  if (!(Number.isFinite(temperature) && temperature >= 0))
    throw refuse("value", caller, "options.temperature", "a number that is not negative", temperature);
  if (typeof topP !== "number" || !(topP > 0 && topP <= 1)) throw refuse("value", caller, "options.topP", "a number above 0, up to 1", topP);
  if (!Number.isInteger(seed) || seed < 0 || seed > MAX_SEED) throw refuse("value", caller, "options.seed", `an integer from 0 to ${MAX_SEED}`, seed);
  const choice = { temperature, topK: checkSize(caller, "options.topK", topK), topP };
  return write(caller, writer, words, tokens, (logits, place) => sample(logits, choice, unit(pcg4d(seed, place, 0, STREAM)[0])), signal);
}

/** "draw", so that what is drawn is not what parameters were drawn from. */
const STREAM = 0x64726177;
const unit = (word: number) => (word + 0.5) / 2 ** 32;

async function* write(
  caller: string,
  writer: Writer,
  prompt: readonly number[],
  tokens: number,
  choose: (logits: Float32Array, place: number) => number,
  signal: AbortSignal | undefined,
): AsyncGenerator<number, void> {
  checkAborted(caller, signal);
  const stepper = keepsState(writer.model) ? await stateStepper(caller, writer) : wholeStepper(writer);
  try {
    let logits: Float32Array | undefined;
    for (const [i, token] of prompt.entries()) logits = await stepper.take(token, i === prompt.length - 1);
    for (let i = 0; i < tokens; i++) {
      checkAborted(caller, signal);
      const token = choose(logits!, prompt.length + i);
      yield token;
      if (i < tokens - 1) logits = await stepper.take(token, true);
    }
  } finally {
    stepper.release();
  }
}

/** A transformer that says what the next token may be. @throws FastRpbError code `"value"` */
function checkModel(caller: string, model: Model): { readonly length: number; readonly count: number } {
  const options = model.description as TransformerOptions | undefined;
  const expected = "a causal transformer with input: { tokens } and output: { tokens }";
  if (!options || !("tokens" in options.input) || !("tokens" in options.output) || !options.attention.causal) {
    throw refuse("value", caller, "the model", expected, options ? "another one" : "a model of defineModel");
  }
  return { length: options.length, count: options.input.tokens };
}

/** Whether attention goes on from sums, rather than from all tokens so far. */
function keepsState(model: Model): boolean {
  const { attention } = model.description as TransformerOptions;
  const { kind = "linear", bias = "none", biasForm = "full", biasLength, outside } = attention;
  return kind === "linear" && (bias === "none" || bias === "fastrpb") && biasForm === "full" && biasLength === undefined && outside === undefined;
}

/** All tokens so far, again for each: what comes after them has no influence. */
function wholeStepper(writer: Writer): Stepper {
  const { length } = writer.model.description as TransformerOptions;
  const inputs = new Uint32Array(length);
  let position = 0;
  return {
    async take(token, wanted) {
      inputs[position++] = token;
      if (!wanted) return undefined;
      const logits = await writer.logits(inputs);
      const count = logits.length / length;
      return logits.slice((position - 1) * count, position * count);
    },
    release() {},
  };
}

async function stateStepper(caller: string, writer: Writer): Promise<Stepper> {
  const { backend, model, memory } = writer;
  const { length } = model.description as TransformerOptions;
  const traces = new Map<
    number,
    Promise<{ readonly executable: Executable; readonly output: string; readonly input: string; readonly decoding: Decoding }>
  >();
  const compiled = (block: number) => {
    const known = traces.get(block);
    if (known) return known;
    const { recorder, outputs } = model.record(1, false, { length, block });
    const output = outputs["out"]!.name;
    const made = resolvedNodes(recorder).then(async (nodes) => {
      const spec = graphSpec({ title: "next token", nodes: fuse(nodes, [output]), results: [output], narrow: [output], ...memory });
      const executable = await backend.compile(caller, task(graph, spec));
      return { executable, output, input: recorder.inputs.get("inputs")!.name, decoding: recorder.decoding! };
    });
    traces.set(block, made);
    return made;
  };
  const first = await compiled(0);
  const { decoding } = first;
  const made: Record<string, Storage> = {
    [POSITION]: backend.upload(new Uint32Array(1), POSITION),
    [first.input]: backend.upload(new Uint32Array(1), "token"),
    [first.output]: backend.allocate(first.executable.bytes[first.output]!, "logits"),
  };
  for (const { name, shape } of decoding.kept) {
    made[`${name} states`] = backend.upload(held(backend, Float64Array.from(firstStates(shape))), `${name} states`);
    if (shape.bias === "fastrpb") made[`${name} history`] = backend.upload(held(backend, new Float64Array(historySize(shape))), `${name} history`);
  }
  const preparation = await prepareBias(writer, decoding, made);
  let position = 0;
  return {
    async take(token, wanted) {
      const shape = decoding.kept[0]!.shape;
      const { executable, output, input } = await compiled(stagesOf(shape, position, 1)[0]!.block);
      backend.write(made[POSITION]!, Uint32Array.of(position++));
      backend.write(made[input]!, Uint32Array.of(token));
      const all = { ...writer.bindings(), ...made };
      backend.run([stepOf(executable, all)]);
      if (!wanted) return undefined;
      const logits = new Float32Array(made[output]!.byteLength / FLOAT_BYTES);
      await made[output]!.read(logits);
      return logits;
    },
    release() {
      for (const storage of Object.values(made)) if (!storage.lost) storage.release();
      preparation?.dispose();
      for (const trace of traces.values()) void trace.then(({ executable }) => executable.dispose());
    },
  };
}

/** Makes, of the weights of relative positions of each layer, those of near tokens and the spectra of block products. */
async function prepareBias({ backend, ...writer }: Writer, decoding: Decoding, made: Record<string, Storage>): Promise<Executable | undefined> {
  const nodes: TaskNode[] = [];
  const results: string[] = [];
  const near: string[] = [];
  for (const { name, shape, relative } of decoding.kept) {
    if (relative === undefined) continue;
    const result = (of: string) => {
      results.push(`${name} ${of}`);
      return `${name} ${of}`;
    };
    near.push(result("weights"));
    nodes.push({ task: task(weightWindow, nearWeights(shape)), values: { weights: relative, window: near.at(-1)! } });
    for (const block of blocksOf(shape)) {
      const window = `${name} window ${block}`;
      nodes.push({ task: task(weightWindow, blockWeights(shape, block)), values: { weights: relative, window } });
      nodes.push({ task: task(spectrum, blockSpectrum(shape, block)), values: { weights: window, spectrum: result(`spectrum${block}`) } });
    }
  }
  if (nodes.length === 0) return undefined;
  const executable = await backend.compile(
    "net.generate",
    task(graph, graphSpec({ title: "weights of tokens to come", nodes, results, narrow: near, ...writer.memory })),
  );
  for (const name of results) made[name] = backend.allocate(executable.bytes[name]!, name);
  const all = { ...writer.bindings(), ...made };
  backend.run([stepOf(executable, all)]);
  return executable;
}

/** A token by its logit, among the likeliest. */
export function sample(
  logits: Float32Array,
  { temperature, topK, topP }: { readonly temperature: number; readonly topK: number; readonly topP: number },
  uniform: number,
): number {
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  if (temperature === 0) return order[0]!;
  const largest = logits[order[0]!]!;
  const weights = order.slice(0, topK).map((token) => Math.exp((logits[token]! - largest) / temperature));
  const share = topP * weights.reduce((sum, weight) => sum + weight, 0);
  let kept = 0;
  let total = 0;
  while (kept < weights.length && (kept === 0 || total < share)) total += weights[kept++]!;
  let left = uniform * total;
  for (let i = 0; i < kept; i++) {
    left -= weights[i]!;
    if (left < 0) return order[i]!;
  }
  return order[kept - 1]!;
}
