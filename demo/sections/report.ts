/** What a run found: numbers, pictures, table. */
import type { Cost } from "../../src/index.ts";
import { CURVES } from "../bias.ts";
import { relativeError } from "../compare.ts";
import { DIGIT_WIDTH } from "../data.ts";
import { element, fillSelect, make, text } from "../dom.ts";
import { bytes, count, duration, scientific, significant } from "../format.ts";
import { table } from "../input.ts";
import {
  channelImage,
  colourOf,
  differenceGrid,
  magnitude,
  meanGrid,
  MOST_COLUMNS,
  paint,
  paintCurve,
  paintInk,
  toeplitzGrid,
  type Grid,
  type View,
  wipe,
} from "../pictures.ts";
import { HEAD_DIM, type Recipe } from "../recipe.ts";
import type { Dispatch, Result } from "../tasks/attention.ts";
import { shareOfCopy } from "../tasks/copy-bandwidth.ts";
import { theme } from "../theme.ts";
import { bytesOf, describeTime, percent, Timeline, totalTime } from "./timeline.ts";

/** The largest relative error that passes; the bound of the tests. */
const BOUND = 1e-6;
const EXCERPT_BYTES = 400;

/** What is being shown. `gpu` or `cpu` is missing as long as, or because, there is no such result. */
interface Shown {
  readonly recipe: Recipe;
  readonly tokens: Uint8Array;
  readonly weights: Float32Array;
  gpu?: Float32Array;
  cpu?: Float32Array;
}

export class Report {
  readonly #head = element("head", HTMLSelectElement);
  readonly #channel = element("channel", HTMLSelectElement);
  readonly #timeline = new Timeline();
  #shown: Shown | undefined;

  constructor() {
    fillSelect(
      this.#channel,
      Array.from({ length: HEAD_DIM }, (_, channel) => [String(channel), String(channel + 1)]),
    );
    this.#head.addEventListener("change", () => this.redraw());
    this.#channel.addEventListener("change", () => this.#drawCloser());
    new ResizeObserver(() => this.#drawCurve()).observe(element("bias-curve", HTMLCanvasElement));
  }

  /** Forgets the run before. */
  clear(): void {
    this.#shown = undefined;
    this.setVerdict("none", "not checked yet");
    this.#setError(undefined);
    for (const id of ["wall-time", "bytes-moved", "scratch"]) text(id, "–");
    for (const id of ["wall-note", "bytes-note", "scratch-note", "output-gpu-note", "output-cpu-note", "difference-note"]) text(id, "");
    for (const id of ["output-gpu", "output-cpu", "difference"]) this.#clear(id, "Nothing yet");
    for (const id of ["output-scale", "difference-scale"]) element(id, HTMLElement).classList.add("idle");
    this.#timeline.clear();
    this.#fillTable([], undefined, "");
  }

  /** Shows what is known before anything ran: the input and the bias. */
  start(recipe: Recipe, tokens: Uint8Array, weights: Float32Array, withGpu: boolean): void {
    this.#shown = { recipe, tokens, weights };
    fillSelect(
      this.#head,
      Array.from({ length: recipe.heads }, (_, head) => [String(head), `${head + 1} of ${recipe.heads}`]),
    );
    element("head-field", HTMLElement).hidden = recipe.heads === 1;
    if (!withGpu) for (const id of ["output-gpu", "difference"]) this.#clear(id, "No WebGPU in this run");
    this.redraw();
  }

  showGpu(result: Result): void {
    if (this.#shown === undefined) return;
    this.#shown.gpu = result.output;
    this.#showTime(result.milliseconds, result.warm ? "third of three runs" : "first run; the bias was prepared before");
    this.#showCost(result.cost);
    text("output-gpu-note", duration(result.milliseconds));
    this.#showDispatches(result);
    this.#timeline.show(result, this.#shown.recipe);
    this.redraw();
  }

  /** The CPU's result as the check of the GPU's. */
  showCheck(output: Float32Array, milliseconds: number): void {
    if (this.#shown?.gpu === undefined) return;
    this.#shown.cpu = output;
    text("output-cpu-note", duration(milliseconds));
    const error = relativeError(this.#shown.gpu, output);
    this.#setError(error);
    this.#judge(error, "");
    this.redraw();
  }

  /** The CPU's result as the result. */
  showCpu(output: Float32Array, milliseconds: number, check: { rows: number; error: number }): void {
    if (this.#shown === undefined) return;
    this.#shown.cpu = output;
    this.#showTime(milliseconds, "on the CPU, in a worker");
    text("output-cpu-note", duration(milliseconds));
    text("bytes-note", "not counted on the CPU");
    text("scratch-note", "not counted on the CPU");
    this.#timeline.clear("The CPU backend has no dispatches, so nothing is drawn here.");
    this.#fillTable([], undefined, "The CPU backend has no dispatches, so there is nothing to time or count one by one.");
    this.#setError(check.error);
    this.#judge(check.error, `; ${check.rows} rows, against the formula`);
    this.redraw();
  }

  setVerdict(verdict: "none" | "pass" | "fail" | "pending", words: string): void {
    const target = element("verdict", HTMLElement);
    target.dataset["verdict"] = verdict;
    target.textContent = words;
  }

  redraw(): void {
    if (this.#shown === undefined) return;
    this.#drawOutputs(this.#shown);
    this.#drawMatrix(this.#shown);
    this.#drawCurve();
    this.#drawCloser();
  }

  get #view(): View {
    return { length: this.#shown!.recipe.length, channels: HEAD_DIM, head: Number(this.#head.value || 0) };
  }

  #judge(error: number, where: string): void {
    if (error <= BOUND) this.setVerdict("pass", `✓ Pass, bound ${scientific(BOUND)}${where}`);
    else this.setVerdict("fail", `✗ Fail, bound ${scientific(BOUND)}${where}`);
  }

  #setError(error: number | undefined): void {
    const target = element("error", HTMLElement);
    target.dataset["value"] = error === undefined ? "" : String(error);
    target.textContent = error === undefined ? "–" : scientific(error);
  }

  #showTime(milliseconds: number, note: string): void {
    text("wall-time", duration(milliseconds));
    text("wall-note", note);
  }

  #showCost(cost: Cost): void {
    text("bytes-moved", bytes(cost.bytesMoved));
    text("bytes-note", `${significant(cost.bytesMoved / cost.bytesMinimum)} × the minimum`);
    text("scratch", bytes(cost.workspaceBytes));
    text("scratch-note", "on the GPU, while it runs");
  }

  #drawOutputs({ gpu, cpu, recipe }: Shown): void {
    const view = this.#view;
    const shared = recipe.length > MOST_COLUMNS ? ` A column is the mean of up to ${count(Math.ceil(recipe.length / MOST_COLUMNS))} tokens.` : "";
    text("output-note", `Tokens run from left to right, the ${HEAD_DIM} channels of the head from top to bottom.${shared}`);
    const grids = { gpu: gpu && meanGrid(gpu, view), cpu: cpu && meanGrid(cpu, view) };
    const first = grids.gpu ?? grids.cpu;
    if (first === undefined) return;
    const scale = magnitude(first.values) || magnitude(grids.cpu?.values ?? first.values);
    const what = `of head ${view.head + 1}, ${count(recipe.length)} tokens by ${HEAD_DIM} channels, colours from −${significant(scale)} to ${significant(scale)}`;
    if (grids.gpu) this.#show("output-gpu", grids.gpu, scale, `Output on the GPU ${what}`);
    if (grids.cpu) this.#show("output-cpu", grids.cpu, scale, `Output on the CPU ${what}`);
    this.#scale("output-scale", scale);
    if (gpu && cpu) {
      const difference = differenceGrid(gpu, cpu, view);
      const most = magnitude(difference.values);
      this.#show("difference", difference, most, `Difference ${what}; the largest is ${scientific(most)}`);
      this.#scale("difference-scale", most);
      const column = recipe.length > MOST_COLUMNS ? "; a column shows the largest of its tokens" : "";
      text("difference-note", `at most ${scientific(most)}${column}`);
    }
  }

  #drawMatrix({ weights, recipe }: Shown): void {
    const { length, head } = this.#view;
    const grid = toeplitzGrid(weights, length, head);
    const scale = magnitude(grid.values);
    const canvas = element("bias-matrix", HTMLCanvasElement);
    paint(canvas, grid, scale, theme());
    canvas.setAttribute("aria-label", `Bias matrix of head ${head + 1}, ${count(length)} by ${count(length)}: ${CURVES[recipe.curve].title}`);
    this.#scale("bias-scale", scale);
    text("bias-head", `Head ${head + 1} of ${recipe.heads}: ${CURVES[recipe.curve].title.toLowerCase()}`);
    const block = length / grid.width;
    const shared = block > 1 ? ` A cell of the picture is the mean of ${significant(block)} by ${significant(block)} entries.` : "";
    const entries = count(2 * length - 1);
    text(
      "bias-note",
      `${entries} weights stand for ${count(length)} × ${count(length)} entries, ${bytes(4 * length * length)} if it were stored.${shared}`,
    );
  }

  #drawCurve(): void {
    if (this.#shown === undefined) return;
    const { length, head } = this.#view;
    const canvas = element("bias-curve", HTMLCanvasElement);
    const style = getComputedStyle(canvas);
    const row = this.#shown.weights.subarray(head * (2 * length - 1), (head + 1) * (2 * length - 1));
    paintCurve(canvas, row, { line: style.getPropertyValue("--accent"), zero: style.getPropertyValue("--line") });
    const [low, , high] = element("curve-axis", HTMLElement).children;
    low!.textContent = `−${count(length - 1)}`;
    high!.textContent = count(length - 1);
    const title = CURVES[this.#shown.recipe.curve].title.toLowerCase();
    canvas.setAttribute("aria-label", `Weights of head ${head + 1} by offset: ${title}, at most ${scientific(magnitude(row))}`);
  }

  #drawCloser(): void {
    if (this.#shown === undefined) return;
    const digits = this.#shown.recipe.source === "digits";
    element("closer-digits", HTMLElement).hidden = !digits;
    element("closer-novel", HTMLElement).hidden = digits;
    if (digits) this.#drawDigit(this.#shown);
    else this.#writeExcerpt(this.#shown);
  }

  /** The first digit of the sequence: as it is, as a channel of v, and as the same channel of the output. */
  #drawDigit({ recipe, tokens, gpu, cpu }: Shown): void {
    const view = this.#view;
    const channel = Number(this.#channel.value);
    paintInk(element("digit-pixels", HTMLCanvasElement), tokens, DIGIT_WIDTH, theme());
    const rows = table("v", "digits", recipe.heads);
    const seen = Float32Array.from(tokens.subarray(0, DIGIT_WIDTH * DIGIT_WIDTH), (token) => {
      return rows[(token * recipe.heads + view.head) * HEAD_DIM + channel]!;
    });
    const value = channelImage(seen, { length: seen.length, channels: 1, head: 0 }, 0, DIGIT_WIDTH);
    const result = gpu ?? cpu;
    const output = channelImage(result ?? new Float32Array(), result ? view : { ...view, length: 0 }, channel, DIGIT_WIDTH);
    for (const [id, picture] of [
      ["digit-value", value],
      ["digit-output", output],
    ] as const) {
      const scale = magnitude(picture.values);
      paint(element(id, HTMLCanvasElement), picture, scale, theme());
      text(`${id}-note`, scale === 0 ? "" : `±${significant(scale)}`);
    }
    const cut = recipe.length < DIGIT_WIDTH * DIGIT_WIDTH ? " The sequence ends before the digit does." : "";
    text("closer-note", `The first digit of the sequence, put back into rows: its pixels, their values in this channel, and the output.${cut}`);
  }

  /** The start of the novel, each character on the colour of the output at its first byte. */
  #writeExcerpt({ tokens, gpu, cpu }: Shown): void {
    const view = this.#view;
    const channel = Number(this.#channel.value);
    const result = gpu ?? cpu;
    const start = tokens.subarray(0, EXCERPT_BYTES);
    const values = result && deviations(Float32Array.from(start, (_, n) => result[(view.head * view.length + n) * HEAD_DIM + channel]!));
    const scale = values ? magnitude(values) : 0;
    const encoder = new TextEncoder();
    let position = 0;
    const spans = [...new TextDecoder().decode(start, { stream: true })].map((character) => {
      const span = make("span", character);
      if (values) {
        const colour = colourOf(values[position]!, scale, theme());
        span.style.backgroundColor = `rgb(${colour.join(" ")} / 45%)`;
      }
      position += encoder.encode(character).length;
      return span;
    });
    element("closer-novel", HTMLElement).replaceChildren(...spans);
    const legend = ` The colour behind a character tells how far the channel’s output there is from its mean over these bytes: from −${significant(scale)} (blue) to ${significant(scale)} (orange).`;
    text("closer-note", `The first ${count(start.length)} bytes of the sequence.${values ? legend : ""}`);
  }

  #showDispatches({ dispatches, copyBandwidth, cost, warm }: Result): void {
    const times = describeTimes(
      dispatches.map(({ milliseconds }) => milliseconds),
      warm,
    );
    const traffic = `Bytes are what the plan’s loads and stores add up to. To read every input and write the output just once would take ${bytes(cost.bytesMinimum)}.`;
    this.#fillTable(dispatches, copyBandwidth, `${times} ${traffic}`);
  }

  #fillTable(dispatches: readonly Dispatch[], bandwidth: number | undefined, note: string): void {
    const target = element("dispatches", HTMLTableElement);
    target.tBodies[0]!.replaceChildren(
      ...dispatches.map((dispatch) =>
        tableRow(dispatch.label, [
          grid(dispatch.workgroups),
          describeTime(dispatch.milliseconds),
          bytes(dispatch.bytesRead),
          bytes(dispatch.bytesWritten),
          share(bytesOf(dispatch), dispatch.milliseconds, bandwidth),
        ]),
      ),
    );
    target.tFoot!.replaceChildren(...(dispatches.length === 0 ? [] : [total(dispatches, bandwidth)]));
    target.hidden = dispatches.length === 0;
    text("dispatches-note", note || "Nothing yet.");
  }

  #show(id: string, grid: Grid, scale: number, label: string): void {
    const canvas = element(id, HTMLCanvasElement);
    paint(canvas, grid, scale, theme());
    canvas.style.imageRendering = grid.width > canvas.clientWidth * devicePixelRatio ? "auto" : "pixelated";
    canvas.setAttribute("aria-label", label);
    element(`${id}-placeholder`, HTMLElement).hidden = true;
  }

  #clear(id: string, words: string): void {
    const canvas = element(id, HTMLCanvasElement);
    wipe(canvas);
    canvas.setAttribute("aria-label", words);
    const placeholder = element(`${id}-placeholder`, HTMLElement);
    placeholder.textContent = words;
    placeholder.hidden = false;
  }

  #scale(id: string, scale: number): void {
    const [low, , high] = element(id, HTMLElement).children;
    element(id, HTMLElement).classList.remove("idle");
    low!.textContent = `−${scientific(scale)}`;
    high!.textContent = scientific(scale);
  }
}

/** The roles are what these elements are anyway; on narrow screens the style lays them out as no table, and they shall stay one. */
function tableRow(head: string, cells: readonly string[]): HTMLTableRowElement {
  const row = make("tr");
  const first = make("th", head);
  row.role = "row";
  first.role = "rowheader";
  first.scope = "row";
  const others = cells.map((cell) => {
    const other = make("td", cell);
    other.role = "cell";
    return other;
  });
  row.append(first, ...others);
  return row;
}

function total(dispatches: readonly Dispatch[], bandwidth: number | undefined): HTMLTableRowElement {
  const sum = (part: (dispatch: Dispatch) => number) => dispatches.reduce((all, dispatch) => all + part(dispatch), 0);
  const milliseconds = totalTime(dispatches);
  return tableRow(`Total of ${dispatches.length}`, [
    count(sum(({ workgroups }) => workgroups[0] * workgroups[1] * workgroups[2])),
    describeTime(milliseconds),
    bytes(sum(({ bytesRead }) => bytesRead)),
    bytes(sum(({ bytesWritten }) => bytesWritten)),
    share(sum(bytesOf), milliseconds, bandwidth),
  ]);
}

function share(moved: number, milliseconds: number | undefined, bandwidth: number | undefined): string {
  const found = shareOfCopy(moved, milliseconds, bandwidth);
  return found === undefined ? "–" : percent(found);
}

function deviations(values: Float32Array): Float32Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.map((value) => value - mean);
}

function grid([x, y, z]: readonly [number, number, number]): string {
  return [x, y, z]
    .filter((size, axis) => axis === 0 || size > 1)
    .map(count)
    .join(" × ");
}

function describeTimes(times: readonly (number | undefined)[], warm: boolean): string {
  if (!warm) return "Not timed: a run this long is not repeated to time its parts. The wall time above is that of the whole run.";
  if (times.every((milliseconds) => milliseconds === undefined)) {
    return "No times of single dispatches: this device lacks timestamp-query. The wall time above is that of the whole run.";
  }
  const missing = times.includes(undefined) ? " A dispatch whose clock ran backwards counts as not timed." : "";
  return `Times are the GPU’s own; browsers may round them, often to 0.1 ms, and shorter ones to 0.${missing}`;
}
