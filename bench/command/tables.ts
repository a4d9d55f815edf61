/** Results as Markdown, for the terminal and for bench/RESULTS.md. */
import type { BenchResult, Entry, RowResult } from "../measure/result.ts";

const TITLES: Readonly<Record<string, string>> = {
  fft: "Complex FFT, length × batch",
  toeplitz: "Toeplitz product, 8 heads of 64 channels, weights prepared",
  attention: "Linear attention (SIKF), 8 heads of 64, without and with FastRPB",
  gradient: "Gradients of attention, 8 heads of 64; with FastRPB the weights prepared",
  matmul: "Matrix product, float32",
  training: "A step of training a transformer: loss, gradients and AdamW, with SIKF and two-dimensional FastRPB",
  "cpu-fft": "Complex FFT on the CPU (Node)",
};

/** Of a row; more are listed by what they do. */
const MOST_DISPATCHES = 24;

interface Dispatch {
  readonly label: string;
  readonly milliseconds: number;
}

export function resultTables(result: BenchResult): string {
  const kinds = [...new Set(result.rows.map((row) => row.kind))];
  const parts = [
    headline(result),
    ...kinds.map((kind) => comparison(kind, rowsOf(result, kind))),
    ownTable(result),
    profiles(result),
    tunings(result),
    torchTable(result),
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

function headline(result: BenchResult): string {
  const { date, machine, settings, copy } = result;
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  const lines = [
    `### ${machine.engine}: ${machine.adapter}`,
    "",
    `${date.slice(0, 10)}; CPU ${machine.cpu}; ${machine.system}. Medians of ${settings.rounds} rounds in turn, samples of at least ${settings.sampleMilliseconds} ms; inputs rotate`,
    `through ${mebibytes(settings.rotateBytes)}${tuned(result) ? "; tuned" : ""}. ${versions.length > 0 ? `Peers: ${versions.join(", ")}.` : "No peers."}`,
  ];
  if (copy) {
    lines.push(
      `Copying ${mebibytes(copy.bytes)}, reads and writes counted: ${copy.kernel.toFixed(1)} GB/s by a kernel, ${copy.buffer.toFixed(1)} GB/s by copyBufferToBuffer.`,
    );
  }
  return lines.join("\n");
}

function tuned(result: BenchResult): boolean {
  return result.rows.some((row) => row.entries.some(({ details }) => details?.tuneMilliseconds !== undefined));
}

function comparison(kind: string, rows: readonly RowResult[]): string {
  const names = [...new Set(rows.flatMap((row) => row.entries.map((entry) => entry.competitor)))];
  const body = rows.map((row) => {
    const own = row.entries[0]?.time?.median;
    return [row.name, ...names.map((name) => cell(find(row, name), own, row.flops))];
  });
  const notes = names.flatMap((name) => {
    const formulations = new Set(rows.flatMap((row) => find(row, name)?.formulation ?? []));
    return [...formulations].map((formulation) => `- ${name}: ${formulation}.`);
  });
  const title = `**${TITLES[kind] ?? kind}** (ms; × fastrpb's time; relative L2 error against float64)`;
  return [title, "", table(["", ...names], body), ...(notes.length > 0 ? ["", ...notes] : [])].join("\n");
}

function cell(entry: Entry | undefined, own: number | undefined, flops: number | undefined): string {
  if (!entry) return "";
  if (!entry.time) return entry.problem ?? "";
  const { median, samples } = entry.time;
  const ratio = own === undefined || entry.competitor === "fastrpb" ? "" : `, ×${digits(median / own)}`;
  // On the CPU, fastrpb's own float64 is what the others are compared with.
  const error = entry.error ? `, ${entry.error.toExponential(1)}` : "";
  const rate = flops === undefined ? "" : `, ${teraflops(flops, median)}`;
  return `${digits(median)}${ratio}${rate}${error}${samples === 1 ? " (1 sample)" : ""}`;
}

function ownTable(result: BenchResult): string {
  const { copy } = result;
  const measured = result.rows.flatMap((row) =>
    row.entries.filter((entry) => entry.details && entry.details.dispatches > 0).map((entry) => ({ row, entry })),
  );
  if (measured.length === 0) return "";
  const clocked = measured.some(({ entry }) => entry.details?.profile);
  const head = [
    "",
    "ms",
    "min–max",
    "dispatches",
    "bytes × minimum",
    "of copy bandwidth",
    "kernels, WGSL",
    "plan made in",
    "host time of a run, µs",
    ...(clocked ? ["by the GPU's clock: ms, of copy bandwidth"] : []),
  ];
  const body = measured.map(({ row, entry }) => {
    const { median, minimum, maximum } = entry.time!;
    const own = entry.details!;
    const share = (milliseconds: number) =>
      copy ? `${digits((100 * own.bytesMinimum) / milliseconds / 1e6 / Math.max(copy.kernel, copy.buffer))} %` : "";
    const clock = gpuTime(entry);
    return [
      row.name,
      digits(median),
      `${digits(minimum)}–${digits(maximum)}`,
      String(own.dispatches),
      (own.bytesMoved / own.bytesMinimum).toFixed(2),
      share(median),
      `${own.kernels}, ${(own.wgslBytes / 1024).toFixed(1)} KiB`,
      `${digits(own.planMilliseconds)} ms`,
      own.hostMilliseconds === undefined ? "" : digits(1000 * own.hostMilliseconds),
      ...(clocked ? [clock === undefined ? "" : `${digits(clock)}, ${share(clock)}`] : []),
    ];
  });
  return ["**fastrpb itself**", "", table(head, body)].join("\n");
}

function profiles(result: BenchResult): string {
  const lines = result.rows.flatMap((row) =>
    row.entries.flatMap(({ details }) => {
      const profile = (details?.profile ?? []).flatMap(({ label, milliseconds }) => (milliseconds === undefined ? [] : [{ label, milliseconds }]));
      const listed = profile.length > MOST_DISPATCHES ? byLabel(profile) : profile;
      return profile.length > 1 ? [`- ${row.name}: ${listed.map(({ label, milliseconds }) => `${label} ${digits(milliseconds)}`).join(", ")}`] : [];
    }),
  );
  return lines.length > 0 ? ["**Dispatches by the GPU's clock** (ms, where there is more than one)", "", ...lines].join("\n") : "";
}

/** Times of dispatches that have the same label together, the longest first. */
function byLabel(profile: readonly Dispatch[]): readonly Dispatch[] {
  const found = new Map<string, number[]>();
  for (const { label, milliseconds } of profile) found.set(label, [...(found.get(label) ?? []), milliseconds]);
  return [...found]
    .map(([label, times]) => ({ label: times.length > 1 ? `${times.length} × ${label}` : label, milliseconds: times.reduce((a, b) => a + b) }))
    .sort((a, b) => b.milliseconds - a.milliseconds);
}

/** What tuning chose, and the times of what it tried. */
function tunings(result: BenchResult): string {
  const lines = result.rows.flatMap((row) =>
    row.entries.flatMap(({ details }) => {
      if (!details?.candidates || details.candidates.length === 0) return [];
      const short = (choices: object) => Object.values(choices).join("/");
      const tried = details.candidates.map(({ choices, milliseconds }) => `${short(choices)} ${digits(milliseconds)}`).join(", ");
      return [`- ${row.name}: ${details.chosen?.map(short).join(", ") || "the default"}; tried ${tried}`];
    }),
  );
  const title = `**Tuning**: largest radix / registers / lanes / columns / exchange, ms`;
  return lines.length > 0 ? [title, "", ...lines].join("\n") : "";
}

/** Against PyTorch on the same GPU, both by the GPU's clock: our dispatches, and its kernels as a CUDA graph. */
function torchTable(result: BenchResult): string {
  const { torch, copy } = result;
  if (!torch) return "";
  const body = torch.rows.flatMap((theirs) => {
    const own = result.rows.find((row) => row.name === theirs.name)?.entries[0];
    const clock = own && gpuTime(own);
    if (clock === undefined || !own?.details) return [];
    const rate = own.details.bytesMinimum / clock / 1e6;
    const graph = theirs.graph === undefined ? (theirs.problem ?? "") : `${digits(theirs.graph)}, ×${digits(theirs.graph / clock)}`;
    return [
      [
        theirs.name,
        digits(clock),
        digits(own.time!.median),
        digits(rate),
        copy ? `${digits((100 * rate) / Math.max(copy.kernel, copy.buffer))} %` : "",
        own.error?.toExponential(1) ?? "",
        theirs.formulation,
        graph,
        theirs.eager === undefined ? "" : digits(theirs.eager),
        theirs.error?.toExponential(1) ?? "",
      ],
    ];
  });
  const head = [
    "",
    "fastrpb, ms",
    "called: ms",
    "GB/s",
    "of copy bandwidth",
    "error",
    "PyTorch",
    "as a graph: ms, × fastrpb's time",
    "called: ms",
    "error",
  ];
  const title = `**Against PyTorch ${torch.torch} (CUDA ${torch.cuda}) on the same ${torch.gpu}**, by the GPU's clock; its copies run at ${torch.copy.toFixed(0)} GB/s`;
  return [title, "", table(head, body)].join("\n");
}

/** Milliseconds of all dispatches together, where the GPU told each. */
function gpuTime({ details }: Entry): number | undefined {
  const times = details?.profile?.map(({ milliseconds }) => milliseconds) ?? [];
  return times.length === 0 || times.includes(undefined) ? undefined : times.reduce((sum: number, time) => sum + time!, 0);
}

function rowsOf(result: BenchResult, kind: string): readonly RowResult[] {
  return result.rows.filter((row) => row.kind === kind);
}

function find(row: RowResult, competitor: string): Entry | undefined {
  return row.entries.find((entry) => entry.competitor === competitor);
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...body.map(line)].join("\n");
}

/** One row in a line of the terminal. */
export function rowLine(row: RowResult): string {
  const own = row.entries[0]?.time?.median;
  return `${row.name}: ${row.entries.map((entry) => `${entry.competitor} ${cell(entry, own, row.flops)}`).join(" | ")}`;
}

function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function teraflops(flops: number, milliseconds: number): string {
  return `${digits(flops / milliseconds / 1e9)} TFLOP/s`;
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
