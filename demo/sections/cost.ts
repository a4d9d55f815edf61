/** "What does it cost?": time and memory of attention against the length, measured here when the reader asks. */
import { FastRpbError } from "../../src/index.ts";
import { element, make, text } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { bytes, count, duration } from "../format.ts";
import { knownSoftmax } from "../known.ts";
import { COST_HEAD_DIM, COST_METHODS, type CostEnd, type CostEvent, type CostMethod, type CostPoint } from "../tasks/cost.ts";
import { CostPlot, type Line } from "./cost-plot.ts";
import * as words from "./cost-words.ts";

/** Milliseconds that a run may take, and where it is slow. */
const BUDGET = 4000;
const SLOW_BUDGET = 1500;

const LINES: Readonly<Record<CostMethod, Line>> = {
  softmax: { colour: "--cost-softmax", width: 2, mark: "square" },
  linear: { colour: "--cost-linear", width: 2, mark: "triangle", dash: [8, 5] },
  fastrpb: { colour: "--cost-fastrpb", width: 3, mark: "circle" },
};
const MATRICES: Line = { colour: "--cost-matrices", width: 2, dash: [2, 5] };

export class CostSection {
  readonly #engine: Engine;
  readonly #reportError: (error: unknown) => void;
  readonly #measure = element("cost-measure", HTMLButtonElement);
  readonly #stop = element("cost-stop", HTMLButtonElement);
  readonly #heads = element("cost-heads", HTMLSelectElement);
  readonly #slider = element("cost-slider", HTMLInputElement);
  readonly #csv = element("cost-csv", HTMLButtonElement);
  readonly #progress = element("cost-progress", HTMLProgressElement);
  readonly #time: CostPlot;
  readonly #memory: CostPlot;
  /** Stops the measurement under way. */
  #running: AbortController | undefined;
  #points: CostPoint[] = [];
  #ends: Partial<Record<CostMethod, CostEnd>> = {};
  #place: words.Place | undefined;
  #adapterInfo: GPUAdapterInfo | undefined;
  #headsChosen = false;
  /** The N that the reader chose; the most telling one otherwise. */
  #chosen: number | undefined;
  /** What stands beside each method while nothing is measured. */
  readonly #about = new Map(COST_METHODS.map((method) => [method, element(`cost-reach-${method}`, HTMLElement).textContent]));

  constructor(engine: Engine, reportError: (error: unknown) => void) {
    this.#engine = engine;
    this.#reportError = reportError;
    const lines = COST_METHODS.map((method) => LINES[method]);
    this.#time = new CostPlot(element("cost-time", HTMLElement), { lines, base: 10, format: duration, empty: [0.1, 10_000] });
    this.#memory = new CostPlot(element("cost-memory", HTMLElement), {
      lines: [...lines, MATRICES],
      base: 2,
      format: bytes,
      empty: [2 ** 18, 2 ** 34],
    });
    this.#show();
    this.#showRunning();

    this.#chooseHeads();
    this.#heads.addEventListener("change", () => (this.#headsChosen = true));
    engine.onState((state) => {
      if (state === "ready") this.#chooseHeads();
      // A measurement that has not begun yet takes the backend that comes.
      else if (state === "opening" && this.#place) this.#halt("Stopped, because the backend was changed.");
    });
    this.#measure.addEventListener("click", () => this.#start());
    this.#stop.addEventListener("click", () => this.#halt("Stopped. What was measured stays."));
    this.#slider.addEventListener("input", () => {
      this.#chosen = words.lengths(this.#points)[this.#slider.valueAsNumber];
      this.#show();
    });
    this.#csv.addEventListener("click", () => this.#download());
    document.addEventListener("visibilitychange", () => this.#haltWhereHidden());
  }

  /** What was measured on another backend is no answer any more. */
  restart(): void {
    this.#halt("");
    this.#clear();
    text("cost-status", "The backend was changed. Press Measure to measure it.");
    this.#show();
  }

  #clear(): void {
    this.#points = [];
    this.#ends = {};
    this.#place = undefined;
    this.#chosen = undefined;
  }

  #chooseHeads(): void {
    if (!this.#headsChosen && this.#engine.runtime) this.#heads.value = this.#engine.slow ? "1" : "4";
  }

  #start(): void {
    if (this.#running) return;
    const running = new AbortController();
    this.#running = running;
    this.#clear();
    this.#progress.value = 0;
    text("cost-now", "Waiting for its turn");
    text("cost-status", "Measuring …");
    this.#show();
    this.#showRunning();
    if (document.activeElement === document.body || document.activeElement === this.#measure) this.#stop.focus();
    this.#run(running).then(
      () => this.#end(running, this.#done()),
      (error: unknown) => this.#failed(running, error),
    );
    this.#haltWhereHidden();
  }

  async #run({ signal }: AbortController): Promise<void> {
    const engine = this.#engine;
    // The first to know how fast it is.
    if (!engine.runtime) await engine.open();
    signal.throwIfAborted();
    const wanted = Number(new URLSearchParams(location.search).get("cost-budget"));
    const budget = wanted > 0 ? wanted : engine.slow ? SLOW_BUDGET : BUDGET;
    await engine.run(
      "cost",
      { heads: Number(this.#heads.value), budget },
      {
        signal,
        onEvent: (event) => {
          if (!signal.aborted) this.#take(event);
        },
      },
    );
  }

  #take(event: CostEvent): void {
    this.#place ??= placeOf(this.#engine);
    this.#adapterInfo = this.#engine.runtime?.adapterInfo;
    if (event.kind === "next") {
      this.#progress.value = event.fraction;
      text("cost-now", `${words.TITLES[event.method]}, N\u00a0=\u00a0${count(event.n)}`);
      return;
    }
    if (event.kind === "point") this.#points.push(event.point);
    else this.#ends[event.method] = event.end;
    this.#show();
  }

  #failed(running: AbortController, error: unknown): void {
    if (this.#running !== running) return;
    const lost = error instanceof FastRpbError && error.code === "lost";
    const message = error instanceof Error ? error.message : String(error);
    this.#end(running, lost ? "The GPU device was lost in the middle. What was measured before stays." : `The measurement failed: ${message}`);
    this.#reportError(error);
  }

  /** The page goes on at once; what the device is at ends within a fraction of a second. */
  #halt(why: string): void {
    const running = this.#running;
    if (!running) return;
    this.#end(running, why);
    running.abort(new DOMException(why, "AbortError"));
  }

  #haltWhereHidden(): void {
    if (document.hidden) this.#halt("Stopped, because the tab went to the background, where times mean little. Measure again.");
  }

  #end(running: AbortController, status: string): void {
    if (this.#running !== running) return;
    this.#running = undefined;
    text("cost-status", status);
    text("cost-now", "");
    const focused = document.activeElement === this.#stop;
    this.#show();
    this.#showRunning();
    if (focused) this.#measure.focus();
  }

  #done(): string {
    const ns = words.lengths(this.#points);
    if (ns.length === 0) return "Done, but nothing could be measured here.";
    const { heads } = this.#points[0]!;
    const place = this.#place!;
    const where = `${place.backend === "WebGPU" ? "WebGPU" : "the CPU"}${place.adapter === "" ? "" : ` (${place.adapter})`}`;
    return `Done: N from ${count(ns[0]!)} to ${count(ns.at(-1)!)}, ${heads} ${heads === 1 ? "head" : "heads"} of ${COST_HEAD_DIM}, on ${where}.`;
  }

  #showRunning(): void {
    const running = this.#running !== undefined;
    this.#measure.disabled = running;
    this.#heads.disabled = running;
    this.#stop.disabled = !running;
    element("cost-working", HTMLElement).classList.toggle("idle", !running);
    element("cost", HTMLElement).setAttribute("aria-busy", String(running));
  }

  #show(): void {
    const points = this.#points;
    const measured: words.Measured = { points, ends: this.#ends, over: !this.#running };
    const ns = words.lengths(points);
    const n = this.#chosen ?? words.tellingLength(points);
    const started = points.length > 0 || Object.keys(this.#ends).length > 0;

    const known = n === undefined || points.length === 0 ? undefined : knownSoftmax(this.#adapterInfo, points[0]!.heads, n);
    text("cost-headline", words.headline(measured, n, known));
    text("cost-details", words.details(points, n));
    text("cost-n", n === undefined ? "–" : count(n));
    this.#slider.max = String(Math.max(ns.length - 1, 0));
    this.#slider.value = String(n === undefined ? 0 : ns.indexOf(n));
    this.#slider.disabled = ns.length === 0;
    this.#slider.setAttribute("aria-valuetext", n === undefined ? "nothing measured yet" : `N = ${count(n)}`);
    for (const method of COST_METHODS) text(`cost-reach-${method}`, started ? words.reach(measured, method) : this.#about.get(method)!);

    const column = (method: CostMethod, value: (point: CostPoint) => number) =>
      ns.map((at) => {
        const point = words.pointAt(points, method, at);
        return point ? value(point) : null;
      });
    const times = COST_METHODS.map((method) => column(method, ({ milliseconds }) => milliseconds));
    const memories = COST_METHODS.map((method) => column(method, (point) => point.bytes));
    this.#time.show(ns, times, n);
    this.#memory.show(ns, [...memories, ns.map((at) => words.matrixBytes(points[0]!.heads, at))], n);
    const time = words.summary(points, "Time of a run", ({ milliseconds }) => duration(milliseconds));
    const memory = words.summary(points, "Memory of a run", (point) => bytes(point.bytes));
    element("cost-time", HTMLElement).setAttribute("aria-label", time);
    element("cost-memory", HTMLElement).setAttribute("aria-label", memory + matrices(points, ns));
    for (const placeholder of document.querySelectorAll<HTMLElement>("#cost .placeholder")) placeholder.hidden = ns.length > 0;

    this.#csv.disabled = points.length === 0;
    element("cost-rows", HTMLTableSectionElement).replaceChildren(
      ...words.sorted(points).map((point) => {
        const row = document.createElement("tr");
        const name = make("th", words.TITLES[point.method]);
        name.scope = "row";
        const numbers = [count(point.n), count(point.heads), duration(point.milliseconds), count(point.runs), bytes(point.bytes)];
        row.append(name, ...numbers.map((number) => make("td", number)));
        return row;
      }),
    );
  }

  #download(): void {
    if (this.#points.length === 0) return;
    const address = URL.createObjectURL(new Blob([words.csv(this.#points, this.#place!)], { type: "text/csv" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = "fastrpb-cost.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}

function matrices(points: readonly CostPoint[], ns: readonly number[]): string {
  const longest = ns.at(-1);
  if (longest === undefined) return "";
  return ` Matrices of N\u00a0×\u00a0N would need ${bytes(words.matrixBytes(points[0]!.heads, longest))} at N\u00a0=\u00a0${count(longest)}.`;
}

function placeOf({ runtime }: Engine): words.Place {
  const info = runtime?.adapterInfo;
  if (runtime?.backend !== "webgpu") return { backend: "CPU", adapter: "" };
  const parts = info ? [info.vendor, info.architecture, info.device, info.description].filter((part) => part !== "") : [];
  return { backend: "WebGPU", adapter: [...new Set(parts)].join(", ") || "not named by the browser" };
}
