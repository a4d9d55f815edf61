/** Models in files: safetensors with the names and shapes of PyTorch's `state_dict`, and what resuming a training takes. */
import { elementCount, sameShape } from "../core/check.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import type { Model } from "./model.ts";
import type { Optimizer } from "./optimizers.ts";
import type { Parameter } from "./recorder.ts";
import { FLOATS, parseFile, type SafetensorsFile, type SafetensorsTensor, toFloat64, writeSafetensors } from "./safetensors.ts";
import type { TrainerState } from "./trainer.ts";
import { KEPT, stateName } from "./training-graph.ts";
import { transformer, type TransformerOptions } from "./transformer.ts";

/** The metadata that hold the description of a model, and the state of a training. */
const DESCRIPTION = "fastrpb";
const TRAINING = "fastrpb.training";
/** Before the names of what a training keeps of each parameter. */
const STATE_PREFIX = "training.";

type ByParameter = ReadonlyMap<string, ArrayLike<number>>;

/** A file of a model alone. */
export function writeModel(model: Model, numbers: ByParameter): Uint8Array {
  return writeSafetensors(tensorsOf(model, numbers, ""), descriptionOf(model));
}

/** A file of a model and of what its training goes on from. */
export function writeCheckpoint(model: Model, optimizer: Optimizer, { step, seed, numbers }: TrainerState): Uint8Array {
  const tensors = [...numbers].flatMap(([kept, own]) => tensorsOf(model, own, kept === KEPT.parameters ? "" : `${STATE_PREFIX}${kept.trim()}.`));
  return writeSafetensors(tensors, { ...descriptionOf(model), [TRAINING]: JSON.stringify({ step, seed, optimizer: optimizer.kind }) });
}

function descriptionOf({ description }: Model): Readonly<Record<string, string>> {
  return description ? { [DESCRIPTION]: JSON.stringify(description) } : {};
}

function tensorsOf({ parameters }: Model, numbers: ByParameter, prefix: string) {
  return [...parameters.values()].map(({ name, shape }) => {
    const data = numbers.get(name)!;
    // What the CPU backend trains is float64.
    const isWide = data instanceof Float64Array;
    const copy = isWide ? Float64Array.from(data) : Float32Array.from(data);
    const tensor: SafetensorsTensor = { dtype: isWide ? "F64" : "F32", shape, bytes: new Uint8Array(copy.buffer) };
    return [`${prefix}${name}`, tensor] as const;
  });
}

/** What a training goes on from. @throws FastRpbError code `"value"` for a file of another model or optimiser, or of a model alone */
export function readCheckpoint(caller: string, bytes: Uint8Array | ArrayBuffer, model: Model, optimizer: Optimizer): TrainerState {
  const argument = "options.resume";
  const file = parseFile(caller, argument, bytes);
  const state = jsonOf(caller, argument, file, TRAINING);
  if (!isTrainingState(state)) throw refuse("value", caller, argument, "a file of trainer.save()", "a file of a model alone");
  if (state.optimizer !== optimizer.kind)
    throw refuse("value", caller, argument, `a file of a training by ${optimizer.kind}`, `one by ${state.optimizer}`);
  const read = (prefix: string) => numbersOf(caller, argument, file, model, prefix);
  const numbers = new Map<string, ByParameter>([[KEPT.parameters, read("")]]);
  for (const name of optimizer.states) numbers.set(stateName(name), read(`${STATE_PREFIX}${name}.`));
  const average = `${STATE_PREFIX}${KEPT.average.trim()}.`;
  const hasAverage = [...file.tensors.keys()].some((name) => name.startsWith(average));
  numbers.set(KEPT.average, hasAverage ? read(average) : numbers.get(KEPT.parameters)!);
  return { step: state.step, seed: state.seed, numbers };
}

function isTrainingState(state: unknown): state is { readonly step: number; readonly seed: number; readonly optimizer: string } {
  if (typeof state !== "object" || state === null) return false;
  const { step, seed, optimizer } = state as Readonly<Record<string, unknown>>;
  const isWord = (value: unknown) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;
  return isWord(step) && isWord(seed) && typeof optimizer === "string";
}

/** The parameters of a model in a file. @throws FastRpbError code `"value"` where one is missing or of another shape, or there is one more */
export function readParameters(caller: string, argument: string, file: SafetensorsFile, model: Model): ByParameter {
  for (const name of file.tensors.keys()) {
    if (model.parameters.has(name) || name.startsWith(STATE_PREFIX)) continue;
    throw refuse("value", caller, argument, "a file of the parameters of this model", `one with ${name}`);
  }
  return numbersOf(caller, argument, file, model, "");
}

function numbersOf(caller: string, argument: string, file: SafetensorsFile, { parameters }: Model, prefix: string): ByParameter {
  return new Map([...parameters.values()].map((parameter) => [parameter.name, numbersIn(caller, argument, file, parameter, prefix)]));
}

function numbersIn(caller: string, argument: string, { tensors }: SafetensorsFile, { name, shape }: Parameter, prefix: string): Float64Array {
  const tensor = tensors.get(`${prefix}${name}`);
  if (!tensor) throw refuse("value", caller, argument, `a file with ${prefix}${name}`, "one without");
  if (!sameShape(tensor.shape, shape)) throw refuse("value", caller, argument, `${prefix}${name} of shape [${shape.join(", ")}]`, tensor.shape);
  if (!FLOATS.includes(tensor.dtype)) throw refuse("value", caller, argument, `${prefix}${name} of dtype ${FLOATS.join(", ")}`, tensor.dtype);
  const numbers = toFloat64(tensor);
  if (numbers.length !== elementCount(shape)) throw new TypeError(`${name}: ${numbers.length} numbers`);
  return numbers;
}

/** The model that a file describes. @throws FastRpbError code `"value"` where it describes none */
export function describedModel(caller: string, file: SafetensorsFile): Model {
  if (file.metadata[DESCRIPTION] === undefined) {
    throw refuse("value", caller, "bytes", "a file that describes its model", "one that does not", "Give the model as options.model.");
  }
  const description = jsonOf(caller, "bytes", file, DESCRIPTION);
  try {
    return transformer(description as TransformerOptions);
  } catch (cause) {
    if (!(cause instanceof FastRpbError)) throw cause;
    throw new FastRpbError(cause.code, `${caller}: bytes describe no model: ${cause.message}`, { cause });
  }
}

/** What a file holds as JSON besides its tensors; `null` where there is nothing. */
function jsonOf(caller: string, argument: string, { metadata }: SafetensorsFile, name: string): unknown {
  try {
    return JSON.parse(metadata[name] ?? "null");
  } catch (cause) {
    throw new FastRpbError("value", `${caller}: ${argument} must be a file whose metadata ${name} are JSON.`, { cause });
  }
}
