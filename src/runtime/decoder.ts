import type { Executable, RunProgress, Step, Storage } from "../core/backend.ts";
import { checkOptions } from "../core/check.ts";
import { checkAborted, FastRpbError, refuse } from "../core/errors.ts";
import { BYTES_PER_ELEMENT, checkTensor, checkUsable, Tensor } from "../core/tensor.ts";
import { decode, weightWindow } from "../operations/attention/decode/operation.ts";
import {
  blocksOf,
  blockSpectrum,
  blockWeights,
  type DecoderOptions,
  decodeSpec,
  decoderShape,
  firstStates,
  historySize,
  nearWeights,
  stagesOf,
} from "../operations/attention/decode/spec.ts";
import { type AttentionSpec, isProjected } from "../operations/attention/spec.ts";
import { type Task, task } from "../operations/operation.ts";
import { spectrum } from "../operations/toeplitz/operation.ts";
import { weightsShape } from "../operations/toeplitz/spec.ts";
import { outputTensor, type PlanContext, type RunOptions } from "./plan.ts";

/** The next tokens of a sequence: float32 tensors, T tokens each, T the same in all. */
export interface DecoderInputs {
  /** Queries, `[batch, heads, T, headDim]`. */
  readonly q: Tensor;
  /** Keys, `[batch, heads, T, headDim]`. */
  readonly k: Tensor;
  /** Values, `[batch, heads, T, valueDim]`. */
  readonly v: Tensor;
}

/** What a decoder knows of the tokens so far, in memory of the page: {@link Decoder.save}. */
export interface DecoderState {
  /** Tokens so far. */
  readonly position: number;
  /** The sums over the keys; their layout is the decoder's own. */
  readonly states: Float32Array;
  /** Of a decoder with a bias: the values so far, and what they add to later results. */
  readonly history?: Float32Array;
}

/** How a long {@link Decoder.stepAsync} is watched and stopped. */
export interface DecoderAsyncOptions extends RunOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: RunProgress) => void;
}

/** A block product of the bias: what prepares its spectrum, and the step of one token that ends with it. */
interface BlockExecutables {
  readonly window: Executable;
  readonly spectrum: Executable;
  readonly step: Executable;
}

/** What a sequence in progress holds on the device. */
interface Sequence {
  position: number;
  readonly states: Storage;
  readonly history: Storage | undefined;
  readonly weights: Storage | undefined;
  /** By the length of the block. */
  readonly spectra: ReadonlyMap<number, Storage>;
}

/** {@link Runtime.decoder} */
export async function makeDecoder(context: PlanContext, options: DecoderOptions): Promise<Decoder> {
  const caller = "runtime.decoder";
  const shape = decoderShape(options);
  if (isProjected(shape)) await (await import("../operations/attention/projection.ts")).loadProjection(shape.featureMap);
  const blocks = blocksOf(shape);
  const one = (block: number): Task => task(decode, decodeSpec(shape, 1, [{ tokens: 1, block }]));
  const tasks = [
    one(0),
    ...(shape.bias === "none" ? [] : [task(weightWindow, nearWeights(shape))]),
    ...blocks.flatMap((block) => [task(weightWindow, blockWeights(shape, block)), task(spectrum, blockSpectrum(shape, block)), one(block)]),
  ];
  const [step, ...rest] = await context.compile(caller, tasks);
  const near = shape.bias === "none" ? undefined : rest.shift();
  const products = new Map(blocks.map((block, i) => [block, { window: rest[3 * i]!, spectrum: rest[3 * i + 1]!, step: rest[3 * i + 2]! }] as const));
  return new Decoder(context, shape, step!, near, products);
}

/**
 * Causal linear attention of a sequence that comes token by token; see {@link Runtime.decoder}. A token costs O(D·E) whatever came before, and with a
 * bias O(log² N) on average: products of blocks of 64, 128, … tokens meet all values of the past, each pair of tokens once (the online convolution of
 * van der Hoeven 2002). Results are those of `runtime.attention` with `causal: true`, to within rounding.
 */
export class Decoder {
  readonly #context: PlanContext;
  readonly #shape: AttentionSpec;
  readonly #step: Executable;
  readonly #near: Executable | undefined;
  readonly #blocks: ReadonlyMap<number, BlockExecutables>;
  /** Of the last call with several tokens: the same tokens at the same place are likely to come again. */
  #several: { readonly key: string; readonly executable: Executable } | undefined;
  #sequence: Sequence | undefined;
  #busy = false;
  #disposed = false;

  /** @internal */
  constructor(
    context: PlanContext,
    shape: AttentionSpec,
    step: Executable,
    near: Executable | undefined,
    blocks: ReadonlyMap<number, BlockExecutables>,
  ) {
    this.#context = context;
    this.#shape = shape;
    this.#step = step;
    this.#near = near;
    this.#blocks = blocks;
    context.plans.add(this);
  }

  /** Tokens of the sequence so far; 0 before the first. */
  get position(): number {
    return this.#sequence?.position ?? 0;
  }

  get disposed(): boolean {
    return this.#disposed || this.#context.owner.disposed;
  }

  /**
   * Begins a sequence; the one before is forgotten.
   *
   * @param inputs `bias`: the weights, float32 `[heads, 2·length − 1]` as of `runtime.attention`; with `bias: "fastrpb"`, and only then. They are
   *   taken in at once and may be disposed of.
   * @throws FastRpbError codes `"shape"`, `"value"`, `"limit"`, `"disposed"`, `"lost"`
   */
  start(inputs: { readonly bias?: Tensor } = {}): void {
    const caller = "Decoder.start";
    this.#checkFree(caller);
    checkOptions(caller, "inputs", inputs, ["bias"]);
    const { owner, backend } = this.#context;
    const shape = this.#shape;
    if (!this.#near) {
      if (inputs.bias !== undefined) throw refuse("value", caller, "inputs.bias", 'left out, because the decoder has bias: "none"', inputs.bias);
      return this.#begin(() => ({ position: 0, states: backend.upload(firstStates(shape), "decoder states"), ...WITHOUT_BIAS }));
    }
    const bias = checkTensor(caller, "inputs.bias", inputs.bias, { owner, shape: weightsShape(shape), dtype: "f32" });
    this.#begin((keep) => {
      const steps: Step[] = [];
      const made = (name: string, executable: Executable, bindings: Record<string, Storage>): Storage => {
        const storage = keep(backend.allocate(executable.bytes[name]!, `decoder ${name}`));
        steps.push({ executable, bindings: { ...bindings, [name]: storage } });
        return storage;
      };
      const weights = made("window", this.#near!, { weights: bias });
      const windows: Storage[] = [];
      const spectra = new Map<number, Storage>();
      for (const [block, { window, spectrum: prepare }] of this.#blocks) {
        const some = made("window", window, { weights: bias });
        windows.push(some);
        spectra.set(block, made("spectrum", prepare, { weights: some }));
      }
      const states = keep(backend.upload(firstStates(shape), "decoder states"));
      const history = keep(backend.allocate(historySize(shape) * BYTES_PER_ELEMENT.f32, "decoder history"));
      backend.run(steps);
      for (const storage of windows) storage.release();
      return { position: 0, states, history, weights, spectra };
    });
  }

  /**
   * Takes the next tokens, and gives their results, `[batch, heads, T, valueDim]`. Submits at once and does not wait.
   *
   * @throws FastRpbError codes `"shape"`, `"value"` (no sequence was begun, or it would be longer than `length`), `"limit"`, `"disposed"`, `"lost"`
   */
  step(inputs: DecoderInputs, options: RunOptions = {}): Tensor {
    const caller = "Decoder.step";
    checkOptions(caller, "options", options, ["out"]);
    const { sequence, step, out, tokens, made } = this.#prepare(caller, inputs, options);
    try {
      this.#context.backend.run([step]);
    } catch (error) {
      if (made) out.dispose();
      throw error;
    }
    sequence.position += tokens;
    return out;
  }

  /**
   * {@link step} in submits of a fraction of a second each, for a long beginning of a text. A call that is stopped leaves the sequence half way:
   * begin another, or {@link load} an earlier state.
   *
   * @throws FastRpbError codes as of {@link step}, and `"aborted"`
   */
  async stepAsync(inputs: DecoderInputs, options: DecoderAsyncOptions = {}): Promise<Tensor> {
    const caller = "Decoder.stepAsync";
    checkOptions(caller, "options", options, ["out", "signal", "onProgress"]);
    checkAborted(caller, options.signal);
    const { sequence, step, out, tokens, made } = this.#prepare(caller, inputs, options);
    this.#busy = true;
    try {
      await this.#context.backend.runSliced(caller, [step], options);
      sequence.position += tokens;
      return out;
    } catch (error) {
      if (made) out.dispose();
      if (!this.disposed) this.#forget();
      throw error;
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Reads what the decoder knows of the tokens so far, to go on from there later, as often as wanted.
   *
   * @throws FastRpbError codes `"value"` (no sequence was begun), `"disposed"`, `"lost"`
   */
  async save(): Promise<DecoderState> {
    const { position, states, history } = this.#current("Decoder.save");
    const read = async (storage: Storage) => {
      const data = new Float32Array(storage.byteLength / BYTES_PER_ELEMENT.f32);
      await storage.read(data);
      return data;
    };
    const [first, second] = await Promise.all([read(states), history && read(history)]);
    return Object.freeze({ position, states: first, ...(second && { history: second }) });
  }

  /**
   * Goes on from a state that a decoder with the same options {@link save}d, on this or another device, in place of the sequence in progress; the
   * weights are those that {@link start} was given.
   *
   * @throws FastRpbError codes `"shape"`, `"value"` (no sequence was begun, or not such a state), `"limit"`, `"disposed"`, `"lost"`
   */
  load(state: DecoderState): void {
    const caller = "Decoder.load";
    const { states: old, history: before, ...kept } = this.#current(caller);
    const { position, states, history } = checkOptions(caller, "state", state, ["position", "states", "history"]);
    const { length } = this.#shape;
    if (!Number.isInteger(position) || position < 0 || position > length) {
      throw refuse("value", caller, "state.position", `an integer from 0 to ${length}`, position);
    }
    const check = (argument: string, data: unknown, bytes: number) => {
      const floats = bytes / BYTES_PER_ELEMENT.f32;
      if (data instanceof Float32Array && data.length === floats) return data;
      throw refuse("shape", caller, argument, `a Float32Array of ${floats} numbers`, data instanceof Float32Array ? data.length : data);
    };
    const { backend } = this.#context;
    const checked = check("state.states", states, old.byteLength);
    const values = before && check("state.history", history, before.byteLength);
    const uploaded = backend.upload(checked, "decoder states");
    try {
      this.#sequence = { ...kept, position, states: uploaded, history: values && backend.upload(values, "decoder history") };
    } catch (error) {
      uploaded.release();
      throw error;
    }
    old.release();
    before?.release();
  }

  /** Frees the sequence and what was compiled. Tensors that came out of it stay. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#context.plans.delete(this);
    if (this.#context.owner.disposed) return;
    this.#forget();
    const blocks = [...this.#blocks.values()].flatMap(({ window, spectrum: prepare, step }) => [window, prepare, step]);
    for (const executable of [this.#step, this.#near, this.#several?.executable, ...blocks]) executable?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkFree(caller: string): void {
    if (this.disposed) throw new FastRpbError("disposed", `${caller}: the decoder or its runtime was disposed.`);
    if (this.#busy) throw refuse("value", caller, "the decoder", "one that is not in the middle of stepAsync", "one that is");
  }

  #current(caller: string): Sequence {
    this.#checkFree(caller);
    if (this.#sequence) return this.#sequence;
    throw refuse("value", caller, "the decoder", "one with a sequence in progress", "one without", "Call start first.");
  }

  /** Puts a new sequence in the place of the old one, or gives back all that was made for it. */
  #begin(make: (keep: (storage: Storage) => Storage) => Sequence): void {
    const made: Storage[] = [];
    try {
      const sequence = make((storage) => {
        made.push(storage);
        return storage;
      });
      this.#forget();
      this.#sequence = sequence;
    } catch (error) {
      for (const storage of made) storage.release();
      throw error;
    }
  }

  #forget(): void {
    if (!this.#sequence) return;
    const { states, history, weights, spectra } = this.#sequence;
    this.#sequence = undefined;
    for (const storage of [states, history, weights, ...spectra.values()]) storage?.release();
  }

  #prepare(caller: string, inputs: DecoderInputs, { out: wanted }: RunOptions) {
    const sequence = this.#current(caller);
    checkOptions(caller, "inputs", inputs, ["q", "k", "v"]);
    const { owner } = this.#context;
    const { batch, heads, length, headDim, valueDim } = this.#shape;
    checkUsable(caller, "inputs.q", inputs.q, owner);
    const tokens = inputs.q.shape.length === 4 ? inputs.q.shape[2]! : 1;
    const rows = (dim: number) => ({ owner, shape: [batch, heads, tokens, dim], dtype: "f32" }) as const;
    const bindings: Record<string, Storage> = {
      q: checkTensor(caller, "inputs.q", inputs.q, rows(headDim)),
      k: checkTensor(caller, "inputs.k", inputs.k, rows(headDim)),
      v: checkTensor(caller, "inputs.v", inputs.v, rows(valueDim)),
    };
    const left = length - sequence.position;
    if (tokens > left) throw refuse("value", caller, "inputs", `at most ${left} tokens, which are left of ${length}`, tokens);
    const executable = this.#executable(caller, sequence.position, tokens);
    const { shape, dtype } = rows(valueDim);
    const out = outputTensor(this.#context, caller, "decoder", { shape, dtype, argument: "options.out", wanted }, [bindings]);
    bindings["out"] = Tensor.storageOf(out);
    const { states, history, weights, spectra } = sequence;
    bindings["states"] = states;
    if (history && weights) Object.assign(bindings, { history, weights });
    for (const [block, storage] of spectra) bindings[`spectrum${block}`] = storage;
    return { sequence, step: { executable, bindings }, out, tokens, made: wanted === undefined };
  }

  #executable(caller: string, position: number, tokens: number): Executable {
    const stages = stagesOf(this.#shape, position, tokens);
    if (tokens === 1) return stages[0]!.block === 0 ? this.#step : this.#blocks.get(stages[0]!.block)!.step;
    const key = JSON.stringify(stages);
    if (this.#several?.key !== key) {
      const executable = this.#context.compileNow(caller, task(decode, decodeSpec(this.#shape, tokens, stages)));
      this.#several?.executable.dispose();
      this.#several = { key, executable };
    }
    return this.#several.executable;
  }
}

const WITHOUT_BIAS = { history: undefined, weights: undefined, spectra: new Map<number, Storage>() } as const;
