/** Where the time of a run goes, and what it does with memory: both drawn with elements, so that all of it can be read. */
import { element, make, text } from "../dom.ts";
import { bytes, count, duration, significant } from "../format.ts";
import type { Recipe } from "../recipe.ts";
import type { Dispatch, Result } from "../tasks/attention.ts";
import { shareOfCopy } from "../tasks/copy-bandwidth.ts";
import { type BufferPicture, isAlive, type ProgramPicture, type Step, stepsOf } from "../tasks/program-picture.ts";

/** What the bars are as long as. */
type Measure = "time" | "bytes";

interface Row extends Step {
  readonly dispatches: readonly Dispatch[];
}

/** The parts of a run, by the start of the labels of their dispatches. */
const PARTS = [
  { kind: "bias", title: "the bias product", prefix: "toeplitz " },
  { kind: "attention", title: "the attention", prefix: "linear attention " },
] as const;

export class Timeline {
  readonly #card = element("timeline-card", HTMLElement);
  readonly #list = element("timeline", HTMLOListElement);
  readonly #table = element("program-buffers", HTMLTableElement);

  /** `note`: why nothing is drawn. Without one, a drawing is to come, and the card stays as tall as it was. */
  clear(note?: string): void {
    if (!this.#list.hidden) this.#card.style.setProperty("--held", `${this.#card.offsetHeight}px`);
    this.#list.replaceChildren();
    this.#list.hidden = true;
    element("timeline-axis", HTMLElement).hidden = true;
    element("buffers", HTMLElement).hidden = true;
    text("timeline-what", "");
    text("timeline-note", note ?? "Nothing yet.");
  }

  show({ dispatches, warm, copyBandwidth, program }: Result, recipe: Recipe): void {
    const rows = stepsOf(dispatches).map((step) => ({ ...step, dispatches: dispatches.slice(step.first, step.first + step.count) }));
    const measure: Measure = sum(dispatches, timeOf) > 0 ? "time" : "bytes";
    text("timeline-what", `${count(recipe.length)} tokens, ${recipe.heads === 1 ? "1 head" : `${recipe.heads} heads`}`);
    text("timeline-note", [describeBars(dispatches, measure, warm), describeCopy(dispatches, copyBandwidth)].filter(Boolean).join(" "));
    this.#drawBars(rows, measure, copyBandwidth);
    this.#drawAxis(dispatches, measure);
    this.#drawBuffers(program);
  }

  #drawBars(rows: readonly Row[], measure: Measure, bandwidth: number | undefined): void {
    const length = lengthOf(measure);
    const whole = sum(
      rows.flatMap((row) => row.dispatches),
      length,
    );
    let before = 0;
    const items = rows.map((row, index) => {
      const name = withClass(make("span"), "name");
      name.append(withClass(make("span", `${index + 1}. `), "number"), row.label);
      if (row.count > 1) name.append(withClass(make("span", ` in ${row.count} dispatches`), "soft"));
      const track = withClass(make("div"), "track");
      track.ariaHidden = "true";
      for (const dispatch of row.dispatches) {
        const bar = withClass(make("div"), "bar");
        bar.dataset["kind"] = kindOf(dispatch.label);
        bar.style.left = percentOf(before, whole);
        bar.style.width = percentOf(length(dispatch), whole);
        track.append(bar);
        before += length(dispatch);
      }
      const item = make("li");
      item.append(name, track, numbersOf(row.dispatches, bandwidth));
      return item;
    });
    this.#list.replaceChildren(...items);
    this.#list.hidden = false;
  }

  #drawAxis(dispatches: readonly Dispatch[], measure: Measure): void {
    const axis = element("timeline-axis", HTMLElement);
    const whole = sum(dispatches, lengthOf(measure));
    const write = measure === "time" ? duration : bytes;
    const [start, middle, end] = axis.querySelectorAll("span");
    start!.textContent = "0";
    middle!.textContent = write(whole / 2);
    end!.textContent = write(whole);
    axis.hidden = false;
  }

  #drawBuffers(program: ProgramPicture | undefined): void {
    element("buffers", HTMLElement).hidden = false;
    this.#table.hidden = program === undefined;
    if (program === undefined) {
      this.#table.replaceChildren();
      text("buffers-note", "Not available: planned again, this run comes out with other dispatches than those that ran.");
      return;
    }
    const { steps, slots, buffers } = program;
    const head = make("thead");
    head.append(headRow(steps));
    const inRole = (...roles: string[]) => buffers.filter(({ role }) => roles.includes(role));
    const groups = [
      group("Inputs", inRole("input", "inout"), steps),
      group("Constant tables", inRole("table"), steps),
      ...slots.map((size, slot) => {
        const sharing = buffers.filter((buffer) => buffer.slot === slot);
        return group(`Scratch memory, slot ${slot + 1}: ${bytes(size)}`, sharing, steps);
      }),
      group("Output", inRole("output"), steps),
    ];
    this.#table.replaceChildren(head, ...groups.filter((part) => part.rows.length > 1), inUse(program));
    text("buffers-note", describeBuffers(program));
  }
}

/** Two digits: the times behind a share are rounded themselves. */
export function percent(share: number): string {
  const value = 100 * share;
  if (value < 0.01) return "<\u00a00.01\u00a0%";
  return `${significant(value < 10 ? Number(value.toPrecision(2)) : Math.round(value))}\u00a0%`;
}

/** Times as they come from the GPU. */
export function describeTime(milliseconds: number | undefined): string {
  if (milliseconds === undefined) return "not timed";
  return milliseconds === 0 ? "≈\u00a00\u00a0ms" : duration(milliseconds);
}

/** The total where every one was timed. */
export function totalTime(dispatches: readonly Dispatch[]): number | undefined {
  return dispatches.every(({ milliseconds }) => milliseconds !== undefined) ? sum(dispatches, timeOf) : undefined;
}

export function bytesOf({ bytesRead, bytesWritten }: Dispatch): number {
  return bytesRead + bytesWritten;
}

function numbersOf(dispatches: readonly Dispatch[], bandwidth: number | undefined): HTMLElement {
  const numbers = withClass(make("span"), "numbers");
  const milliseconds = totalTime(dispatches);
  const moved = sum(dispatches, bytesOf);
  const share = shareOfCopy(moved, milliseconds, bandwidth);
  const parts = [
    ["time", describeTime(milliseconds)],
    ["moved", bytes(moved)],
    ["share", share === undefined ? "" : `${percent(share)} of copy`],
  ] as const;
  for (const [name, words] of parts) numbers.append(withClass(make("span", words), name), " ");
  return numbers;
}

function describeBars(dispatches: readonly Dispatch[], measure: Measure, warm: boolean): string {
  if (measure === "bytes") {
    const why = dispatches.some(({ milliseconds }) => milliseconds !== undefined)
      ? "the browser rounded every time to 0"
      : warm
        ? "this device does not time single dispatches"
        : "a run this long is not repeated to time its parts";
    return `Bars are as long as the bytes that a dispatch moves, not the time it takes: ${why}.`;
  }
  const parts = PARTS.map(({ kind, title }) => {
    const time = sum(
      dispatches.filter(({ label }) => kindOf(label) === kind),
      timeOf,
    );
    return time > 0 ? `${duration(time)} for ${title} (${COLOURS[kind]})` : "";
  });
  const untimed = dispatches.some(({ milliseconds }) => milliseconds === undefined) ? " What was not timed has no bar." : "";
  return `A bar for each dispatch, one after the other, by the GPU’s clock: ${parts.filter(Boolean).join(", ")}.${untimed}`;
}

const COLOURS = { bias: "blue", attention: "orange" } as const;

function describeCopy(dispatches: readonly Dispatch[], bandwidth: number | undefined): string {
  if (bandwidth === undefined) return "";
  const rate = `A plain copy moves ${bytes(bandwidth)} a second here, read and written together, as measured just now`;
  const shares = dispatches.map((dispatch) => shareOfCopy(bytesOf(dispatch), dispatch.milliseconds, bandwidth));
  if (shares.every((share) => share === undefined)) return `${rate}.`;
  const caches = shares.some((share) => share !== undefined && share > 1) ? " Above 100 %: from caches." : "";
  return `${rate}; “of copy” is what a dispatch moves a second as a share of that.${caches}`;
}

function describeBuffers({ slots, buffers, bytesInUse }: ProgramPicture): string {
  const scratch = buffers.filter(({ role }) => role === "workspace");
  const asked = sum(scratch, (buffer) => buffer.bytes);
  const held = sum(slots, (size) => size);
  const saved =
    held < asked
      ? ` Scratch buffers take ${bytes(held)} instead of ${bytes(asked)}, since those that are not needed at the same time share a slot.`
      : "";
  return `A bar goes from a buffer’s first use to its last; r is read, w is written. At most ${bytes(Math.max(...bytesInUse))} are in use at once.${saved} The weights of the bias are not here: their spectrum was prepared before.`;
}

function headRow(steps: readonly Step[]): HTMLTableRowElement {
  const row = make("tr");
  const corner = make("th", "Dispatch");
  corner.scope = "col";
  row.append(
    corner,
    ...steps.map(({ label }, index) => {
      const cell = make("th", String(index + 1));
      cell.scope = "col";
      cell.title = label;
      cell.append(withClass(make("span", `: ${label}`), "unseen"));
      return cell;
    }),
  );
  return row;
}

function group(title: string, buffers: readonly BufferPicture[], steps: readonly Step[]): HTMLTableSectionElement {
  const body = make("tbody");
  const heading = make("th", title);
  heading.scope = "rowgroup";
  heading.colSpan = steps.length + 1;
  const top = withClass(make("tr"), "group");
  top.append(heading);
  body.append(top, ...buffers.map((buffer) => bufferRow(buffer, steps)));
  return body;
}

function bufferRow(buffer: BufferPicture, steps: readonly Step[]): HTMLTableRowElement {
  const row = make("tr");
  const name = make("th", `${buffer.name} `);
  name.scope = "row";
  name.append(withClass(make("span", bytes(buffer.bytes)), "soft"));
  row.append(name, ...steps.map((_, step) => bufferCell(buffer, step)));
  return row;
}

function bufferCell(buffer: BufferPicture, step: number): HTMLTableCellElement {
  const cell = make("td");
  if (!isAlive(buffer, step)) return cell;
  const use = buffer.uses.find((candidate) => candidate.step === step);
  const bar = withClass(make("span"), "life");
  bar.dataset["role"] = buffer.role;
  bar.classList.toggle("from", buffer.uses[0]!.step === step);
  bar.classList.toggle("to", buffer.uses.at(-1)!.step === step);
  const did = [
    ["r", "reads", use?.bytesRead ?? 0],
    ["w", "writes", use?.bytesWritten ?? 0],
  ] as const;
  const words = did.filter(([, , amount]) => amount > 0).map(([, verb, amount]) => `${verb} ${bytes(amount)}`);
  const marks = make("span", did.flatMap(([mark, , amount]) => (amount > 0 ? [mark] : [])).join(" "));
  marks.ariaHidden = "true";
  bar.append(marks, withClass(make("span", words.join(", ") || "kept"), "unseen"));
  cell.title = words.join(", ");
  cell.append(bar);
  return cell;
}

/** Steps as high as the bytes, with the numbers below in one unit. */
function inUse({ bytesInUse }: ProgramPicture): HTMLTableSectionElement {
  const most = Math.max(...bytesInUse);
  const unit = bytes(most).split("\u00a0")[1]!;
  const scale = 1024 ** ["B", "KiB", "MiB", "GiB"].indexOf(unit);
  const foot = make("tfoot");
  const row = make("tr");
  const name = make("th", `In use, ${unit}`);
  name.scope = "row";
  row.append(
    name,
    ...bytesInUse.map((amount) => {
      const cell = make("td");
      const well = withClass(make("span"), "well");
      const level = withClass(make("span"), "level");
      level.style.height = percentOf(amount, most);
      well.ariaHidden = "true";
      well.append(level);
      cell.append(well, significant(amount / scale));
      return cell;
    }),
  );
  foot.append(row);
  return foot;
}

function kindOf(label: string): string {
  return PARTS.find(({ prefix }) => label.startsWith(prefix))?.kind ?? "other";
}

function lengthOf(measure: Measure): (dispatch: Dispatch) => number {
  return measure === "time" ? timeOf : bytesOf;
}

function timeOf({ milliseconds }: Dispatch): number {
  return milliseconds ?? 0;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

function percentOf(part: number, whole: number): string {
  return `${whole === 0 ? 0 : (100 * part) / whole}%`;
}

function withClass<T extends HTMLElement>(target: T, name: string): T {
  target.className = name;
  return target;
}
