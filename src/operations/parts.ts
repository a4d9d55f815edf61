/**
 * The parts of the planner that a page loads when it first makes a plan that takes them. Planning itself is synchronous: it takes the parts
 * that are there, and where one is missing it stops and is started again with it, which it does not notice, being pure.
 */
import { loadPart } from "../core/load.ts";

/** Imports by name, which is what messages call them. */
const PARTS = {
  fft: () => import("./fft/plan.ts"),
  realFft: () => import("./fft/real.ts"),
  chirp: () => import("./fft/chirp.ts"),
  split: () => import("./fft/split.ts"),
  complexMultiply: () => import("./complex-multiply/plan.ts"),
  convolve: () => import("./convolve/plan.ts"),
  toeplitz: () => import("./toeplitz/plan.ts"),
  toeplitzPasses: () => import("./toeplitz/passes.ts"),
  toeplitzGradient: () => import("./toeplitz/gradient.ts"),
  spectrum: () => import("./toeplitz/spectrum.ts"),
  longSpectrum: () => import("./toeplitz/long-spectrum.ts"),
  exponentials: () => import("./toeplitz/exponentials.ts"),
  randomFeatures: () => import("./attention/random-features.ts"),
  linear: () => import("./attention/linear/plan.ts"),
  causal: () => import("./attention/causal/plan.ts"),
  softmax: () => import("./attention/softmax/plan.ts"),
  multiplicative: () => import("./attention/multiplicative/plan.ts"),
  attentionGradient: () => import("./attention/gradient.ts"),
  linearGradient: () => import("./attention/linear/gradient.ts"),
  causalGradient: () => import("./attention/causal/gradient.ts"),
  softmaxGradient: () => import("./attention/softmax/gradient.ts"),
  multiplicativeGradient: () => import("./attention/multiplicative/gradient.ts"),
};

type Modules = { readonly [Name in keyof typeof PARTS]: Awaited<ReturnType<(typeof PARTS)[Name]>> };
export type PartName = keyof Modules;
export const PART_NAMES = Object.keys(PARTS) as readonly PartName[];

const loaded: Partial<Modules> = {};

/** Thrown where planning needs parts that are not loaded. */
export class MissingParts extends Error {
  readonly parts: readonly PartName[];

  constructor(parts: readonly PartName[]) {
    super(`not loaded: ${parts.join(", ")}`);
    this.parts = parts;
  }
}

/** @throws MissingParts where some are not loaded: those that are named together are loaded side by side */
export function needAll(...names: readonly PartName[]): void {
  const missing = names.filter((name) => !loaded[name]);
  if (missing.length > 0) throw new MissingParts(missing);
}

/** A part that planning goes on with. @throws MissingParts where it is not loaded */
export function need<Name extends PartName>(name: Name): Modules[Name] {
  needAll(name);
  return loaded[name]!;
}

/** @throws FastRpbError code `"unavailable"` */
export async function loadParts(caller: string, names: readonly PartName[]): Promise<void> {
  const load = async <Name extends PartName>(name: Name) => {
    loaded[name] ??= (await loadPart<unknown>(caller, name, PARTS[name])) as Modules[Name];
  };
  await Promise.all(names.map((name) => load(name)));
}
