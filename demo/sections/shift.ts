/** "What is shift invariance?": two feature maps, and a slider that shifts the keys. */
import { element, text } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { scientific, significant } from "../format.ts";
import { paintCurve } from "../pictures.ts";
import type { ShiftOutput } from "../tasks/shift.ts";
import { colour, onRepaint } from "../theme.ts";
import { whenSeen } from "../when-seen.ts";

const CHANGES = ["shift-sikf-change", "shift-elu-change"];
/** Milliseconds after which the page says that it is at work. */
const NOTICEABLE = 400;

export class ShiftSection {
  readonly #engine: Engine;
  readonly #reportError: (error: unknown) => void;
  readonly #slider = element("shift-by", HTMLInputElement);
  #shown: ShiftOutput | undefined;
  #seen = false;
  #busy = false;
  #stale = false;

  constructor(engine: Engine, reportError: (error: unknown) => void) {
    this.#engine = engine;
    this.#reportError = reportError;
    this.#slider.addEventListener("input", () => this.refresh());
    onRepaint(() => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(element("shift-sikf", HTMLCanvasElement));
    whenSeen(element("shift", HTMLElement), () => {
      this.#seen = true;
      this.refresh();
    });
  }

  /** Runs for the slider as it is; while one run is under way, the latest position waits for it. */
  refresh(): void {
    const by = this.#by;
    text("shift-value", signed(by));
    this.#slider.setAttribute("aria-valuetext", `${signed(by)} added to every key`);
    this.#stale = true;
    if (this.#seen && !this.#busy) void this.#run();
  }

  get #by(): number {
    return Number(this.#slider.value);
  }

  async #run(): Promise<void> {
    this.#busy = true;
    try {
      while (this.#stale) {
        this.#stale = false;
        // Only a plan that has to be compiled, or another section's run, takes so long.
        const waiting = setTimeout(() => CHANGES.forEach((id) => text(id, "…")), NOTICEABLE);
        this.#shown = await this.#engine.run("shift", { shift: this.#by }).finally(() => clearTimeout(waiting));
        this.#draw();
      }
    } catch (error) {
      this.#reportError(error);
    } finally {
      this.#busy = false;
    }
  }

  #draw(): void {
    if (this.#shown === undefined) return;
    const { sikf, sikfBefore, sikfChange, elu, eluBefore, eluChange } = this.#shown;
    for (const [id, name, after, before, change] of [
      ["shift-sikf", "SIKF", sikf, sikfBefore, sikfChange],
      ["shift-elu", "elu + 1", elu, eluBefore, eluChange],
    ] as const) {
      // Room for what elu + 1 does to it, too.
      const [low, high] = [Math.min(...before), Math.max(...before)];
      const margin = (high - low) / 2;
      const canvas = element(id, HTMLCanvasElement);
      const colours = { line: colour("--accent"), zero: colour("--line"), behind: colour("--soft") };
      paintCurve(canvas, after, colours, { range: [low - margin, high + margin], centred: false, behind: before });
      canvas.setAttribute("aria-label", `${name}: one channel over ${after.length} tokens; changed by ${scientific(change)}`);
      text(`${id}-change`, change === 0 ? "nothing" : change < 1e-4 ? scientific(change) : `${significant(100 * change)} %`);
      canvas.dataset["change"] = String(change);
    }
  }
}

function signed(value: number): string {
  return value === 0 ? "0" : `${value < 0 ? "−" : "+"}${significant(Math.abs(value))}`;
}
