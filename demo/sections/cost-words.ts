/** What was measured, in words and as a file. */
import { bytes, count, duration, significant } from "../format.ts";
import { COST_HEAD_DIM, COST_METHODS, type CostEnd, type CostMethod, type CostPoint } from "../tasks/cost.ts";

export const TITLES: Readonly<Record<CostMethod, string>> = {
  softmax: "Softmax attention",
  linear: "Linear attention",
  fastrpb: "Linear attention with FastRPB",
};

export interface Measured {
  readonly points: readonly CostPoint[];
  readonly ends: Readonly<Partial<Record<CostMethod, CostEnd>>>;
  /** Nothing is added any more. */
  readonly over: boolean;
}

/** Where it was measured. */
export interface Place {
  readonly backend: string;
  readonly adapter: string;
}

export function lengths(points: readonly CostPoint[]): number[] {
  return [...new Set(points.map(({ n }) => n))].sort((a, b) => a - b);
}

export function pointAt(points: readonly CostPoint[], method: CostMethod, n: number): CostPoint | undefined {
  return points.find((point) => point.method === method && point.n === n);
}

/** The longest N at which both were measured that the headline compares; else the longest of all. */
export function tellingLength(points: readonly CostPoint[]): number | undefined {
  const all = lengths(points).reverse();
  return all.find((n) => pointAt(points, "softmax", n) && pointAt(points, "fastrpb", n)) ?? all[0];
}

/** The bytes of a matrix of float32 with an entry for every pair of tokens, for every head. */
export function matrixBytes(heads: number, n: number): number {
  return 4 * heads * n * n;
}

const at = (n: number) => `N\u00a0=\u00a0${count(n)}`;

/** What softmax attention is known to take elsewhere on such a device. */
export interface Known {
  readonly what: string;
  readonly milliseconds: number;
}

/** @param known of the same length and heads */
export function headline(measured: Measured, n: number | undefined, known?: Known): string {
  const { points } = measured;
  if (n === undefined) return "Press Measure to see how the time and the memory of attention grow with N, the number of tokens, on this device.";
  const softmax = pointAt(points, "softmax", n);
  const fastrpb = pointAt(points, "fastrpb", n);
  if (softmax && fastrpb) {
    const start = `At ${at(n)} linear attention with FastRPB took `;
    // The faster one is the one to compare with.
    if (known && known.milliseconds < softmax.milliseconds) {
      const ratio = comparison(fastrpb.milliseconds / known.milliseconds, `${known.what} takes on such a card (${duration(known.milliseconds)})`);
      return `${start}${ratio}; ours took ${duration(softmax.milliseconds)}, here.`;
    }
    return `${start}${comparison(fastrpb.milliseconds / softmax.milliseconds)}${spread(softmax, fastrpb)}, here.`;
  }
  const [method, missing] = fastrpb
    ? (["fastrpb", "softmax"] as const)
    : softmax
      ? (["softmax", "fastrpb"] as const)
      : (["linear", "fastrpb"] as const);
  const { milliseconds } = pointAt(points, method, n)!;
  return `At ${at(n)} ${sentence(TITLES[method])} took ${duration(milliseconds)}, here. ${TITLES[missing]} was ${reach(measured, missing)}`;
}

/** A time that is `ratio` of that of softmax attention. */
export function comparison(ratio: number, what = "softmax attention"): string {
  if (ratio > 1.05) return `${factor(ratio)} times as much time as ${what}`;
  if (ratio > 0.95) return `as much time as ${what} (to 5\u00a0%)`;
  return `${factor(1 / ratio)} times less time than ${what}`;
}

function factor(value: number): string {
  return value < 9.95 ? significant(Math.round(10 * value) / 10) : count(Math.round(value));
}

/** Between which factors the measurements lie, where they do not say the same. */
function spread(softmax: CostPoint, fastrpb: CostPoint): string {
  const [most, least] = [softmax.longest / fastrpb.shortest, softmax.shortest / fastrpb.longest];
  const [low, high] = least >= 1 ? [factor(least), factor(most)] : [factor(1 / most), factor(1 / least)];
  // Between less and more there is no one word.
  return low === high || (least < 1 && most > 1) ? "" : ` (${low} to ${high})`;
}

/** How far a method was measured, and why no further: "measured up to N = …". */
export function reach({ points, ends, over }: Measured, method: CostMethod): string {
  const longest = lengths(points.filter((point) => point.method === method)).at(-1);
  const end = ends[method];
  const far = longest === undefined ? "not measured" : `measured up to ${at(longest)}`;
  if (end) return `${far}${end.why === "longest" ? "," : ":"} ${because(end)}`;
  if (!over) return longest === undefined ? "not measured yet." : `${far} so far.`;
  return longest === undefined ? `${far}: it was stopped before.` : `${far}, and was stopped then.`;
}

function because(end: CostEnd): string {
  switch (end.why) {
    case "time":
      return `the next length would take longer than the ${duration(end.budget)} that this page gives a run.`;
    case "size":
      return `at the next length a tensor would be larger than the ${bytes(end.bytes)} that ${end.ofDevice ? "this device" : "this page"} allows.`;
    case "longest":
      return "the longest that this page tries.";
    case "refused":
      return `at the next length memory ran out (${end.message.replace(/\.$/, "")}).`;
  }
}

/** In the middle of a sentence. */
function sentence(title: string): string {
  return title[0]!.toLowerCase() + title.slice(1);
}

/** All methods at one N. */
export function details(points: readonly CostPoint[], n: number | undefined): string {
  if (n === undefined) return "";
  const measured = COST_METHODS.flatMap((method) => pointAt(points, method, n) ?? []);
  const each = measured.map(({ method, milliseconds, bytes: size }) => `${sentence(TITLES[method])} ${duration(milliseconds)} and ${bytes(size)}`);
  const words = `${each.join(", ")}. Matrices of N\u00a0×\u00a0N would need ${bytes(matrixBytes(measured[0]!.heads, n))}.`;
  return words[0]!.toUpperCase() + words.slice(1);
}

/** A plot without a picture. */
export function summary(points: readonly CostPoint[], what: string, value: (point: CostPoint) => string): string {
  const lines = COST_METHODS.flatMap((method) => {
    const own = points.filter((point) => point.method === method).sort((a, b) => a.n - b.n);
    const [first, last] = [own[0], own.at(-1)];
    if (!first || !last) return [];
    const start = `${TITLES[method]}: ${value(first)} at ${at(first.n)}`;
    return [first === last ? `${start}.` : `${start}, ${value(last)} at ${at(last.n)}.`];
  });
  return `${what} against N, on logarithmic axes. ${lines.length === 0 ? "Nothing is measured yet." : lines.join(" ")}`;
}

const COLUMNS = ["method", "n", "heads", "head_dim", "milliseconds", "shortest", "longest", "runs", "bytes", "backend", "adapter"];

/** RFC 4180. */
export function csv(points: readonly CostPoint[], { backend, adapter }: Place): string {
  const rows = sorted(points).map(({ method, n, heads, milliseconds, shortest, longest, runs, bytes }) => [
    method,
    n,
    heads,
    COST_HEAD_DIM,
    milliseconds,
    shortest,
    longest,
    runs,
    bytes,
    backend,
    adapter,
  ]);
  return [COLUMNS, ...rows].map((row) => `${row.map(field).join(",")}\r\n`).join("");
}

function field(value: string | number): string {
  const words = String(value);
  return /[",\r\n]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words;
}

/** By N, and at each N by method. */
export function sorted(points: readonly CostPoint[]): CostPoint[] {
  return [...points].sort((a, b) => a.n - b.n || COST_METHODS.indexOf(a.method) - COST_METHODS.indexOf(b.method));
}
