/** From a case that fails to a small one that fails in the same way. */
import type { Failure, Verdict } from "./check.ts";
import type { FuzzCase, Options } from "./case.ts";
import { OPERATION } from "./operations/index.ts";

/** Cases that are tried: each may have to be compiled. */
const MOST_TRIES = 400;

export interface Shrunk {
  readonly fuzzCase: FuzzCase;
  readonly failure: Failure;
  readonly tries: number;
}

/** @param milliseconds after which it goes with what it has */
export async function shrink(
  fuzzCase: FuzzCase,
  failure: Failure,
  run: (candidate: FuzzCase) => Promise<Verdict>,
  milliseconds = 60_000,
): Promise<Shrunk> {
  const end = performance.now() + milliseconds;
  const seen = new Set([JSON.stringify(fuzzCase)]);
  let best = { fuzzCase, failure };
  let tries = 0;
  for (let found = true; found;) {
    found = false;
    for (const candidate of simpler(best.fuzzCase)) {
      const text = JSON.stringify(candidate);
      if (seen.has(text) || !isValid(candidate)) continue;
      seen.add(text);
      if (tries >= MOST_TRIES || performance.now() > end) return { ...best, tries };
      tries++;
      const verdict = await run(candidate);
      if ("failure" in verdict && verdict.failure.kind === failure.kind) {
        best = { fuzzCase: candidate, failure: verdict.failure };
        found = true;
        break;
      }
    }
  }
  return { ...best, tries };
}

/** Options that make no plan, and data that they do not take, are no candidates. */
function isValid({ operation, options, data }: FuzzCase): boolean {
  try {
    const { inputs } = OPERATION[operation].tensors(options);
    return Object.entries(data ?? {}).every(([name, kind]) => inputs[name]?.kinds?.[kind] !== undefined);
  } catch {
    return false;
  }
}

/** What is a little simpler, the largest steps first. */
export function* simpler(fuzzCase: FuzzCase): Generator<FuzzCase> {
  const { layout, data, limits } = fuzzCase;
  // Cheap ones first: they need no other plan.
  if (layout) yield without(fuzzCase, "layout");
  for (const flag of ["encode", "prepared", "inPlace", "poison"] as const) if (fuzzCase[flag]) yield without(fuzzCase, flag);
  if (data) yield without(fuzzCase, "data");
  if (limits !== "default") yield { ...fuzzCase, limits: "default" };
  for (const options of simplerOptions(fuzzCase.options)) yield fit({ ...fuzzCase, options });
  for (const name of Object.keys(data ?? {})) yield { ...fuzzCase, data: omit(data!, name) };
  for (const [name, kind] of Object.entries(data ?? {})) {
    if (kind !== "zero" && kind !== "constant" && kind !== "impulse")
      for (const other of ["constant", "impulse"] as const) yield { ...fuzzCase, data: { ...data, [name]: other } };
  }
  for (const name of Object.keys(layout ?? {})) {
    yield { ...fuzzCase, layout: omit(layout!, name) };
    if (layout![name] === "shared") yield { ...fuzzCase, layout: { ...layout, [name]: "wrap" } };
  }
  if (typeof limits === "object") for (const name of Object.keys(limits)) yield { ...fuzzCase, limits: omit(limits, name as keyof typeof limits) };
  if (fuzzCase.seed > 9) for (const seed of [1, 2, 3]) yield { ...fuzzCase, seed };
}

/** Sizes, from 1 over halves to one less; options by their defaults; axes of 1 point left out. */
function* simplerOptions(options: Options): Generator<Options> {
  const sizes = new Set(sizesOf(options));
  for (const size of [...sizes].sort((a, b) => b - a)) {
    for (const smaller of new Set([1, Math.ceil(size / 2), size - 1])) {
      // Sizes that are alike may have to stay so: all of them together, then each.
      yield replaced(options, size, smaller) as Options;
      for (let i = 0; i < sizesOf(options).filter((s) => s === size).length; i++) yield replaced(options, size, smaller, { left: i }) as Options;
    }
  }
  for (const name of Object.keys(options)) yield omit(options, name);
  for (const [name, inner] of Object.entries(options)) {
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) continue;
    for (const key of Object.keys(inner)) yield { ...options, [name]: omit(inner, key as never) };
  }
  const { shape, axes } = options as { readonly shape?: readonly number[]; readonly axes?: readonly number[] };
  if (!shape || shape.length < 2) return;
  const absolute = axes?.map((axis) => (axis < 0 ? axis + shape.length : axis));
  if (absolute && axes!.some((axis) => axis < 0)) yield { ...options, axes: absolute };
  for (const gone of shape.keys()) {
    const rest = absolute?.filter((axis) => axis !== gone).map((axis) => (axis > gone ? axis - 1 : axis));
    if (rest?.length !== 0) yield { ...options, shape: shape.filter((_, axis) => axis !== gone), ...(rest && { axes: rest }) };
  }
}

/** The options whose numbers are no sizes. */
const NO_SIZES: readonly string[] = ["axes", "scale", "seed", "repeated"];

function sizesOf(value: unknown, name = ""): number[] {
  if (NO_SIZES.includes(name)) return [];
  if (typeof value === "number") return value > 1 ? [value] : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => sizesOf(inner, key));
}

/** With `to` in the place of each size `from`, or of the one before which `left` are. */
function replaced(value: unknown, from: number, to: number, only?: { left: number }, name = ""): unknown {
  if (NO_SIZES.includes(name)) return value;
  if (typeof value === "number") return value === from && (!only || only.left-- === 0) ? to : value;
  if (Array.isArray(value)) return value.map((inner: unknown) => replaced(inner, from, to, only));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, replaced(inner, from, to, only, key)]));
}

/** Lengths that go with the options. */
function fit(fuzzCase: FuzzCase): FuzzCase {
  const { batch = 1, length, variableLengths } = fuzzCase.options as { batch?: number; length?: number; variableLengths?: boolean };
  if (!fuzzCase.lengths) return fuzzCase;
  if (!variableLengths || length === undefined) return without(fuzzCase, "lengths");
  return { ...fuzzCase, lengths: Array.from({ length: batch }, (_, b) => Math.min(length, fuzzCase.lengths![b] ?? length)) };
}

function without(fuzzCase: FuzzCase, name: keyof FuzzCase): FuzzCase {
  return omit(fuzzCase, name) as FuzzCase;
}

function omit<T extends object>(value: T, name: keyof T): T {
  return Object.fromEntries(Object.entries(value).filter(([key]) => key !== name)) as T;
}
