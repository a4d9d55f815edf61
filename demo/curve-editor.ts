/** A curve of weights by offset that is drawn with the pointer, or changed with the keys. */
import { significant } from "./format.ts";
import { paintCurve } from "./pictures.ts";
import { colour } from "./theme.ts";

const KEY_STEP = 0.1;

export class CurveEditor {
  readonly #canvas: HTMLCanvasElement;
  readonly #onDraw: () => void;
  #values: Float32Array<ArrayBuffer> = new Float32Array(1);
  #mirrored = false;
  /** Where the keys change the curve: an index into the values. */
  #cursor = 0;
  /** The last point of the stroke in progress. */
  #last: Point | undefined;

  /** @param onDraw after every change that the reader makes */
  constructor(canvas: HTMLCanvasElement, onDraw: () => void) {
    this.#canvas = canvas;
    this.#onDraw = onDraw;
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#stroke(event));
    for (const end of ["pointerup", "pointercancel"] as const) canvas.addEventListener(end, () => (this.#last = undefined));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Weights from offset −R to R, each from −1 to 1. */
  get values(): Float32Array<ArrayBuffer> {
    return this.#values;
  }

  /** @param mirrored whether what is drawn on one side is drawn on the other as well */
  set(values: Float32Array<ArrayBuffer>, mirrored: boolean): void {
    if (values.length !== this.#values.length) this.#cursor = (values.length - 1) / 2;
    this.#values = values;
    this.#mirrored = mirrored;
    this.draw();
    this.#tell();
  }

  draw(): void {
    const cursor = document.activeElement === this.#canvas ? this.#cursor : undefined;
    paintCurve(
      this.#canvas,
      this.#values,
      { line: colour("--accent"), zero: colour("--line"), cursor: colour("--soft") },
      { range: [-1, 1], cursor },
    );
  }

  get #reach(): number {
    return (this.#values.length - 1) / 2;
  }

  #begin(event: PointerEvent): void {
    if (event.button !== 0) return;
    // A pointer may be gone by the time that its event arrives.
    if (event.isTrusted) this.#canvas.setPointerCapture(event.pointerId);
    this.#last = this.#pointOf(event);
    this.#put(this.#last, this.#last);
  }

  #stroke(event: PointerEvent): void {
    if (this.#last === undefined) return;
    const coalesced = event.getCoalescedEvents?.() ?? [];
    for (const part of coalesced.length > 0 ? coalesced : [event]) {
      const point = this.#pointOf(part);
      this.#put(this.#last, point);
      this.#last = point;
    }
  }

  #pointOf({ clientX, clientY }: PointerEvent): Point {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    const index = Math.floor(((clientX - left) / width) * this.#values.length);
    return { index: clamp(index, 0, this.#values.length - 1), value: clamp(1 - (2 * (clientY - top)) / height, -1, 1) };
  }

  /** A straight line between two points of the stroke. */
  #put(from: Point, to: Point): void {
    const steps = Math.abs(to.index - from.index);
    for (let step = 0; step <= steps; step++) {
      const share = steps === 0 ? 1 : step / steps;
      this.#write(from.index + Math.sign(to.index - from.index) * step, from.value + share * (to.value - from.value));
    }
    this.#cursor = to.index;
    this.#changed();
  }

  #write(index: number, value: number): void {
    // Near zero means zero: it is hard to hit.
    const settled = Math.abs(value) < 0.02 ? 0 : value;
    this.#values[index] = settled;
    if (this.#mirrored) this.#values[this.#values.length - 1 - index] = settled;
  }

  #key(event: KeyboardEvent): void {
    const large = event.shiftKey ? 10 : 1;
    const moves: Readonly<Record<string, number>> = { ArrowLeft: -large, ArrowRight: large, Home: -Infinity, End: Infinity };
    const changes: Readonly<Record<string, number>> = { ArrowUp: KEY_STEP, ArrowDown: -KEY_STEP, Delete: -this.#values[this.#cursor]! };
    const move = moves[event.key];
    const change = changes[event.key];
    if (move === undefined && change === undefined) return;
    event.preventDefault();
    if (move !== undefined) {
      this.#cursor = clamp(this.#cursor + move, 0, this.#values.length - 1);
      this.draw();
      this.#tell();
      return;
    }
    const value = clamp(this.#values[this.#cursor]! + change!, -1, 1);
    this.#write(this.#cursor, Math.round(value * 100) / 100);
    this.#changed();
  }

  #changed(): void {
    this.draw();
    this.#tell();
    this.#onDraw();
  }

  #tell(): void {
    const offset = this.#cursor - this.#reach;
    const canvas = this.#canvas;
    canvas.setAttribute("aria-valuemin", "-1");
    canvas.setAttribute("aria-valuemax", "1");
    canvas.setAttribute("aria-valuenow", this.#values[this.#cursor]!.toFixed(2));
    canvas.setAttribute("aria-valuetext", `offset ${offset}: weight ${significant(this.#values[this.#cursor]!)}`);
  }
}

interface Point {
  readonly index: number;
  readonly value: number;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
