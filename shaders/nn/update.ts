/**
 * What kernels share that change parameters: all parameters of a model lie side by side, and so do their gradients and what the optimiser keeps of
 * each. Neighbours in groups have a weight decay and a factor on the rate of their own.
 *
 * Layout: one lane per element, which is four numbers where `vectors`. A dispatch covers `count` elements, from the first of which on every array is
 * bound; `first` is its number. Nothing is written where health[0] is not 0 (nn/guard.ts).
 */
import { type Kernel, type KernelBinding, makeKernel } from "../wgsl/kernel.ts";
import { f32, u32, unroll, wgsl } from "../wgsl/wgsl.ts";
import { elementOf, type ElementsSpec } from "./elements.ts";

/** Neighbours among all parameters. */
export interface ParameterGroup {
  /** Where it ends: the number of the first parameter after it. */
  readonly end: number;
  readonly weightDecay: number;
  /** A factor on the rate. */
  readonly rateFactor: number;
}

/** Of an optimiser's kernel. */
export interface UpdateKernelSpec extends ElementsSpec {
  /** One after the other; the last ends with the arrays. */
  readonly groups: readonly ParameterGroup[];
  /** The most that the norm of all gradients is to be; left out: whatever it is. */
  readonly clipNorm?: number | undefined;
  /** Where the optimiser's numbers start among `rates`. */
  readonly rateIndex: number;
}

/**
 * A kernel that goes through arrays side by side, as said above.
 *
 * @param arrays by the names of their bindings
 * @param more other bindings
 * @param body sees `i`, the number of the element
 */
export function overArrays(
  id: string,
  spec: ElementsSpec,
  arrays: Readonly<Record<string, KernelBinding["access"]>>,
  more: readonly Omit<KernelBinding, "binding">[],
  body: string,
  params: readonly string[] = [],
): Kernel {
  return makeKernel({
    id: `nn/${id}`,
    label: id,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      ...Object.entries(arrays).map(([name, access]) => ({ name, access, element: elementOf(spec) })),
      ...more,
      { name: "health", access: "read", element: "u32" },
    ],
    params: [...params, "count"],
    declarations: "",
    body: wgsl`  let i = group * LANES + lane;
  if (i >= params.count) { return; }
  if (health[0] != 0u) { return; }
${body}`,
  });
}

/**
 * A kernel of an optimiser: {@link overArrays} with the arrays `gradients`, `parameters` and what the optimiser keeps.
 *
 * @param kept what the optimiser keeps of each parameter
 * @param body sees `gradient`, clipped, `rate` and, where any is not 0, `decay`; the latter two as vectors where there are groups
 */
export function overParameters(id: string, spec: UpdateKernelSpec, kept: readonly string[], body: string): Kernel {
  const { clipNorm, rateIndex } = spec;
  const clips = clipNorm !== undefined;
  const states = Object.fromEntries(["parameters", ...kept].map((name) => [name, "read_write"] as const));
  const numbers = [...(clips ? ["norm"] : []), "rates"].map((name) => ({ name, access: "read", element: "f32" }) as const);
  return overArrays(
    id,
    spec,
    { gradients: "read", ...states },
    numbers,
    wgsl`#if ${clips}
  let gradient = gradients[i] * min(1.0, ${f32(clipNorm ?? 1)} / (sqrt(norm[0]) + 1e-6));
#else
  let gradient = gradients[i];
#endif
${groupNumbers(spec)}
  let rate = rate_factor * rates[${u32(rateIndex)}];
${body}`,
    ["first"],
  );
}

/** Whether parameters of any group decay. */
export function decays({ groups }: UpdateKernelSpec): boolean {
  return groups.some(({ weightDecay }) => weightDecay !== 0);
}

/** Statements that define `rate_factor` and, where any is not 0, `decay`, of the group or groups of an element. */
function groupNumbers(spec: UpdateKernelSpec): string {
  const { groups, vectors } = spec;
  const [float, unsigned] = vectors ? ["vec4f", "vec4u"] : ["f32", "u32"];
  const last = groups.at(-1)!;
  const places = vectors ? "vec4u(4u * (params.first + i)) + vec4u(0u, 1u, 2u, 3u)" : "params.first + i";
  const number = (name: string, of: (group: ParameterGroup) => number) => {
    if (groups.every((group) => of(group) === of(last))) return `  let ${name} = ${f32(of(last))};`;
    const before = groups.slice(0, -1).reverse();
    return `  var ${name} = ${float}(${f32(of(last))});
${unroll(before, (group) => `  ${name} = select(${name}, ${float}(${f32(of(group))}), place < ${unsigned}(${u32(group.end)}));`)}`;
  };
  const factor = number("rate_factor", ({ rateFactor }) => rateFactor);
  const decay = decays(spec) ? number("decay", ({ weightDecay }) => weightDecay) : "";
  return `  let place = ${places};\n${factor}\n${decay}`;
}

/**
 * WGSL expression of kept·old + (1 − kept)·next. A small step goes from `old` towards `next`, so that it is the step that is rounded to a float32:
 * 1 − 0.999, rounded beside 0.999, would shift the mean by 3e-5.
 */
export function blend(old: string, next: string, kept: number): string {
  if (kept === 0) return next;
  return kept < 0.5 ? `(${f32(kept)} * ${old} + ${f32(1 - kept)} * ${next})` : `(${old} + ${f32(1 - kept)} * (${next} - ${old}))`;
}
