/** The form: what the reader asks for. */
import { CURVES, type CurveName } from "../bias.ts";
import { DIGIT_PIXELS, DIGIT_WIDTH, digitPixels, type Digits, type Source } from "../data.ts";
import { element, fillSelect, make, text } from "../dom.ts";
import { count } from "../format.ts";
import { paintInk, type Theme } from "../pictures.ts";
import { HEAD_COUNTS, HEAD_DIM, lengthsFor, type Recipe } from "../recipe.ts";

const DEFAULTS = { source: "digits", length: 784, heads: 1, curve: "decay" } as const;

export class Controls {
  readonly #form = element("controls", HTMLFormElement);
  readonly #slider = element("length", HTMLInputElement);
  readonly #curve = element("curve", HTMLSelectElement);
  readonly #run = element("run", HTMLButtonElement);
  readonly #cancel = element("cancel", HTMLButtonElement);
  readonly #thumbnails: HTMLCanvasElement[] = [];
  #lengths: number[] = [];
  /** Until a device says more: what every WebGPU device has. */
  #longestTensorBytes = 2 ** 27;
  /** What the reader asked for, kept where more heads make the slider shorter for a while. */
  #wanted: number;

  onRun = (): void => {};
  onCancel = (): void => {};
  onChange = (): void => {};

  /** Starts from the page's address: `?source=novel&length=4096&heads=4&bias=window`. */
  constructor(query: URLSearchParams) {
    const asked = (name: string, allowed: readonly string[], fallback: string) => {
      const value = query.get(name);
      return value !== null && allowed.includes(value) ? value : fallback;
    };
    this.#buildHeads(Number(asked("heads", HEAD_COUNTS.map(String), String(DEFAULTS.heads))));
    this.#setRadio("source", asked("source", ["digits", "novel"], DEFAULTS.source));
    fillSelect(
      this.#curve,
      Object.entries(CURVES).map(([name, { title }]) => [name, title]),
    );
    this.#curve.value = asked("bias", Object.keys(CURVES), DEFAULTS.curve);
    this.#wanted = Number(query.get("length")) || DEFAULTS.length;

    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#run.disabled) this.onRun();
    });
    this.#cancel.addEventListener("click", () => this.onCancel());
    this.#slider.addEventListener("input", () => (this.#wanted = this.#length));
    this.#form.addEventListener("input", () => this.#update());
    this.#update();
  }

  get recipe(): Recipe {
    return {
      source: this.#source,
      digit: Number(this.#radio("digit") || 0),
      curve: this.#curve.value as CurveName,
      heads: Number(this.#radio("heads")),
      length: this.#length,
    };
  }

  /** How large a tensor the device takes: it bounds the slider. */
  setLongestTensor(bytes: number): void {
    this.#longestTensorBytes = bytes;
    this.#update();
  }

  setDigits(digits: Digits, theme: Theme): void {
    const labels = Array.from(digits.labels, (label, index) => {
      const input = make("input");
      input.type = "radio";
      input.name = "digit";
      input.value = String(index);
      input.checked = index === 0;
      input.setAttribute("aria-label", `number ${index}, a ${label}`);
      const canvas = make("canvas");
      canvas.setAttribute("aria-hidden", "true");
      this.#thumbnails.push(canvas);
      const wrapper = make("label");
      wrapper.append(input, canvas);
      return wrapper;
    });
    element("digits", HTMLElement).replaceChildren(...labels);
    this.paintDigits(digits, theme);
  }

  paintDigits(digits: Digits, theme: Theme): void {
    this.#thumbnails.forEach((canvas, index) => paintInk(canvas, digitPixels(digits, index), DIGIT_WIDTH, theme));
  }

  setBusy(busy: boolean, cancellable: boolean): void {
    // A focused button that is disabled would drop the focus to the page: hand it over instead.
    const hadFocus = document.activeElement === this.#run || document.activeElement === this.#cancel;
    this.#run.disabled = busy;
    this.#cancel.disabled = !cancellable;
    if (!hadFocus) return;
    if (cancellable) this.#cancel.focus({ preventScroll: true });
    else if (!busy) this.#run.focus({ preventScroll: true });
  }

  get #source(): Source {
    return this.#radio("source") as Source;
  }

  get #length(): number {
    return this.#lengths[Number(this.#slider.value)]!;
  }

  #update(): void {
    const heads = Number(this.#radio("heads"));
    this.#lengths = lengthsFor(this.#source, heads, this.#longestTensorBytes);
    this.#slider.max = String(this.#lengths.length - 1);
    this.#slider.value = String(nearest(this.#lengths, this.#wanted));
    const length = this.#length;
    text("length-value", count(length));
    this.#slider.setAttribute("aria-valuetext", `${count(length)} tokens`);
    text("length-note", lengthNote(this.#source, length, this.#lengths.at(-1)!, heads));
    text("curve-note", CURVES[this.#curve.value as CurveName].note);
    element("digit-field", HTMLFieldSetElement).hidden = this.#source !== "digits";
    this.onChange();
  }

  #buildHeads(chosen: number): void {
    const labels = HEAD_COUNTS.map((heads) => {
      const input = make("input");
      input.type = "radio";
      input.name = "heads";
      input.value = String(heads);
      input.checked = heads === chosen;
      const label = make("label");
      label.append(input, make("span", String(heads)));
      return label;
    });
    element("heads", HTMLElement).replaceChildren(...labels);
  }

  #radio(name: string): string {
    return this.#form.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)?.value ?? "";
  }

  #setRadio(name: string, value: string): void {
    this.#form.querySelector<HTMLInputElement>(`input[name="${name}"][value="${value}"]`)!.checked = true;
  }
}

/** The index of the largest length up to `wanted`. */
function nearest(lengths: readonly number[], wanted: number): number {
  return Math.max(
    0,
    lengths.findLastIndex((length) => length <= wanted),
  );
}

const NOVEL_BYTES = 262144;
const DIGIT_COUNT = 300;

function lengthNote(source: Source, length: number, longest: number, heads: number): string {
  const limit = `Up to ${count(longest)} tokens with ${heads === 1 ? "one head" : `${heads} heads`} of ${HEAD_DIM} channels here.`;
  if (source === "novel") {
    if (length <= NOVEL_BYTES) return `A byte a token. ${limit}`;
    return `A byte a token; the ${count(NOVEL_BYTES)} bytes here repeat ${count(length / NOVEL_BYTES)} times. ${limit}`;
  }
  if (length < DIGIT_PIXELS) return `A pixel a token: the digit’s first ${Math.floor(length / DIGIT_WIDTH)} rows. ${limit}`;
  if (length === DIGIT_PIXELS) return `A pixel a token: one digit. ${limit}`;
  const digits = length / DIGIT_PIXELS;
  const repeats = digits > DIGIT_COUNT ? `, the ${DIGIT_COUNT} here over and over` : "";
  return `A pixel a token: ${count(Number(digits.toFixed(1)))} digits in a row${repeats}. ${limit}`;
}
