/** "What is the bias?": a curve to draw, and what it does to a digit, a text or a sound, as it changes. */
import { CURVES } from "../bias.ts";
import { CurveEditor } from "../curve-editor.ts";
import { type Data, digitPixels, DIGIT_WIDTH } from "../data.ts";
import { element, fillSelect, text } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { count, duration, significant } from "../format.ts";
import { magnitude } from "../pictures.ts";
import {
  lineWeights,
  MOST_CHARACTERS,
  planeWeights,
  PRESET_NOTES,
  presetCurve,
  reachOf,
  resample,
  SCENES,
  type Preset,
  type SceneName,
} from "../scenes.ts";
import { Player, readSound, record, SAMPLE_RATE, SoundError, SOUNDS, type SoundName } from "../sound.ts";
import { onRepaint } from "../theme.ts";
import { drawDigit, drawMatrix, drawSound, drawSpectrum, type Shown, writeText } from "./explorer-pictures.ts";

/** Milliseconds after which the page says that it is at work. */
const NOTICEABLE = 400;

export type ProductShape = { readonly length: number } | { readonly grid: readonly [number, number] };

export class Explorer {
  readonly #engine: Engine;
  readonly #reportError: (error: unknown) => void;
  readonly #editor: CurveEditor;
  readonly #player = new Player();
  readonly #preset = element("explore-preset", HTMLSelectElement);
  readonly #digit = element("explore-digit", HTMLSelectElement);
  readonly #words = element("explore-words", HTMLInputElement);
  readonly #letter = element("explore-letter", HTMLInputElement);
  readonly #sound = element("explore-sound", HTMLSelectElement);
  #data: Data | undefined;
  #scene: SceneName = "digit";
  /** As it was read or recorded. */
  #ownSound: Float32Array<ArrayBuffer> | undefined;
  #madeSounds = new Map<SoundName, Float32Array<ArrayBuffer>>();
  #plane = false;
  #shown: Shown | undefined;
  #busy = false;
  #stale = false;

  onShape = (_shape: ProductShape): void => {};

  constructor(engine: Engine, reportError: (error: unknown) => void) {
    this.#engine = engine;
    this.#reportError = reportError;
    this.#editor = new CurveEditor(element("explore-curve", HTMLCanvasElement), () => this.#drawn());
    fillSelect(
      this.#digit,
      Array.from({ length: 10 }, (_, digit) => [String(digit), String(digit)]),
    );
    this.#digit.value = "3";
    fillSelect(
      this.#sound,
      Object.entries(SOUNDS).map(([name, { title }]) => [name, title]),
    );
    this.#words.maxLength = MOST_CHARACTERS;
    for (const input of document.querySelectorAll<HTMLInputElement>('input[name="scene"]')) {
      input.addEventListener("change", () => this.#choose(input.value as SceneName));
    }
    this.#preset.addEventListener("change", () => this.#usePreset());
    for (const input of [this.#digit, this.#words, this.#letter]) input.addEventListener("input", () => this.refresh());
    this.#sound.addEventListener("change", () => this.refresh());
    this.#listenForSounds();
    onRepaint(() => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(element("explore-spectrum", HTMLCanvasElement));
    this.#choose("digit");
    // The one that leaves most of a digit to be seen.
    this.#preset.value = "distance";
    this.#usePreset();
  }

  start(data: Data): void {
    this.#data = data;
    this.#changed();
  }

  /** Runs the product for what is on the screen; while one is running, the latest state waits for it. */
  refresh(): void {
    this.#stale = true;
    if (!this.#busy && this.#data) void this.#run(this.#data);
  }

  async #run(data: Data): Promise<void> {
    this.#busy = true;
    try {
      while (this.#stale) {
        this.#stale = false;
        const scene = this.#scene;
        const plane = this.#plane;
        const { length } = SCENES[scene];
        const shape = plane ? ([DIGIT_WIDTH, DIGIT_WIDTH] as const) : ([length] as const);
        const weights = plane ? planeWeights(this.#editor.values, DIGIT_WIDTH) : lineWeights(this.#editor.values, length);
        const input = this.#input(data);
        const { window, windowShape } = weights;
        // Only a plan that has to be compiled, or another section's run, takes so long.
        const waiting = setTimeout(() => text("explore-status", "Compiling for this length, or waiting for another run…"), NOTICEABLE);
        const result = await this.#engine
          .run("product", { shape, weights: weights.all, values: input, channels: 1, window, windowShape })
          .finally(() => clearTimeout(waiting));
        // The first run of a plan pays for what a driver puts off until then: its time would tell nothing.
        if (this.#shown?.scene !== scene || this.#shown.plane !== plane) this.#stale = true;
        this.#shown = { ...result, scene, plane, input, weights };
        this.#draw();
        const { dataset } = element("explore", HTMLElement);
        dataset["runs"] = String(Number(dataset["runs"] ?? 0) + 1);
        // A frame at a time: faster than that nobody sees.
        await new Promise((resolve) => (document.hidden ? setTimeout(resolve, 100) : requestAnimationFrame(resolve)));
      }
    } catch (error) {
      text("explore-status", "Not run.");
      this.#reportError(error);
    } finally {
      this.#busy = false;
    }
  }

  #input(data: Data): Float32Array {
    switch (this.#scene) {
      case "digit": {
        const index = data.digits.labels.indexOf(Number(this.#digit.value));
        return Float32Array.from(digitPixels(data.digits, index), (pixel) => pixel / 255);
      }
      case "text": {
        const characters = this.#characters();
        const letter = [...this.#letter.value.toLowerCase()][0];
        return Float32Array.from({ length: MOST_CHARACTERS }, (_, n) => (characters[n]?.toLowerCase() === letter ? 1 : 0));
      }
      case "sound":
        return this.#samples();
    }
  }

  #characters(): string[] {
    return [...this.#words.value].slice(0, MOST_CHARACTERS);
  }

  #samples(): Float32Array<ArrayBuffer> {
    if (this.#sound.value === "own" && this.#ownSound) return this.#ownSound;
    const name = this.#sound.value as SoundName;
    let samples = this.#madeSounds.get(name);
    if (!samples) this.#madeSounds.set(name, (samples = SOUNDS[name].make()));
    return samples;
  }

  #choose(scene: SceneName): void {
    this.#scene = scene;
    this.#player.stop();
    for (const name of ["digit", "text", "sound"]) {
      element(`explore-${name}-options`, HTMLElement).hidden = name !== scene;
      element(`explore-${name}-result`, HTMLElement).hidden = name !== scene;
    }
    const presets = Object.entries(CURVES).map(([name, { title }]) => [name, title] as const);
    const plane = scene === "digit" ? ([["distance", "Distance in the plane (2-D)"]] as const) : [];
    const drawn = this.#preset.value === "drawn";
    fillSelect(this.#preset, [...presets, ...plane, ["drawn", "As drawn"]]);
    this.#setMessage("");
    // A curve over the plane means nothing along a line.
    if (drawn && this.#plane) this.#preset.value = "decay";
    if (drawn && !this.#plane) {
      this.#editor.set(resample(this.#editor.values, reachOf(scene, false)), false);
      this.#changed();
    } else this.#usePreset();
  }

  #usePreset(): void {
    if (this.#preset.value === "drawn") return;
    const preset = this.#preset.value as Preset;
    this.#plane = preset === "distance";
    this.#editor.set(presetCurve(preset, this.#scene), this.#plane);
    text("explore-preset-note", PRESET_NOTES[preset]);
    this.#changed();
  }

  #drawn(): void {
    this.#preset.value = "drawn";
    text("explore-preset-note", this.#plane ? "Your curve, the same on both sides." : "Your curve.");
    this.refresh();
  }

  /** The axis and the shape follow the scene. */
  #changed(): void {
    const reach = reachOf(this.#scene, this.#plane);
    const unit = this.#plane ? "pixels" : { digit: "pixels, in reading order", text: "characters", sound: "samples" }[this.#scene];
    const [low, , high] = element("explore-curve-axis", HTMLElement).children;
    low!.textContent = `−${reach}`;
    high!.textContent = String(reach);
    text("explore-curve-unit", `${this.#plane ? "distance" : "offset"} in ${unit}`);
    this.onShape(this.#plane ? { grid: [DIGIT_WIDTH, DIGIT_WIDTH] } : { length: SCENES[this.#scene].length });
    this.refresh();
  }

  #draw(): void {
    if (this.#shown === undefined) return;
    const { scene, weights, milliseconds } = this.#shown;
    const { length } = SCENES[scene];
    const where = this.#engine.runtime?.backend === "webgpu" ? "on WebGPU" : "on the CPU";
    text(
      "explore-status",
      `${count(length)} tokens, ${count(weights.all.length)} weights: ${duration(milliseconds)} from curve to result, ${where}.`,
    );
    drawMatrix(this.#shown, (this.#preset.selectedOptions[0]?.textContent ?? "").toLowerCase());
    drawSpectrum(this.#shown);
    if (scene === "digit") drawDigit(this.#shown, this.#digit.value);
    else if (scene === "text") writeText(this.#shown, this.#characters(), [...this.#letter.value][0] ?? "");
    else drawSound(this.#shown);
  }

  #listenForSounds(): void {
    const file = element("explore-file", HTMLInputElement);
    file.addEventListener("change", () => {
      const chosen = file.files?.[0];
      file.value = ""; // the same file may be chosen again
      if (chosen) void this.#take(() => readSound(chosen, chosen.name));
    });
    const recording = element("explore-record", HTMLButtonElement);
    recording.addEventListener("click", () => {
      recording.disabled = true;
      void this.#take(() => {
        this.#setMessage("Recording two seconds, once the microphone is allowed…");
        return record();
      }).finally(() => (recording.disabled = false));
    });
    const section = element("explore", HTMLElement);
    section.addEventListener("dragover", (event) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    });
    section.addEventListener("drop", (event) => {
      const dropped = event.dataTransfer?.files[0];
      if (!dropped) return;
      event.preventDefault();
      document.querySelector<HTMLInputElement>('input[name="scene"][value="sound"]')!.click();
      void this.#take(() => readSound(dropped, dropped.name));
    });
    for (const which of ["input", "output"] as const) {
      const button = element(`explore-play-${which}`, HTMLButtonElement);
      button.addEventListener("click", () => this.#play(which, button));
    }
  }

  async #take(source: () => Promise<Float32Array<ArrayBuffer>>): Promise<void> {
    this.#player.stop();
    try {
      this.#setMessage("Reading the sound…");
      this.#ownSound = await source();
      if (![...this.#sound.options].some(({ value }) => value === "own")) this.#sound.add(new Option("Your sound", "own"));
      this.#sound.value = "own";
      this.#setMessage(`The first ${significant(this.#ownSound.length / SAMPLE_RATE)} s of your sound, as one channel of 16 kHz.`);
      this.refresh();
    } catch (error) {
      if (!(error instanceof SoundError)) this.#reportError(error);
      this.#setMessage(error instanceof SoundError ? error.message : "That did not work.");
    }
  }

  #play(which: "input" | "output", button: HTMLButtonElement): void {
    if (button.getAttribute("aria-pressed") === "true") {
      this.#player.stop();
      return;
    }
    if (this.#shown?.scene !== "sound") return;
    const { input, output } = this.#shown;
    // At the loudness of the input, so that the difference is one of sound.
    const gain = which === "input" ? 1 : Math.min(magnitude(input) / (magnitude(output) || 1), 1000);
    button.setAttribute("aria-pressed", "true");
    this.#player.play(
      Float32Array.from(which === "input" ? input : output, (sample) => gain * sample),
      () => button.setAttribute("aria-pressed", "false"),
    );
  }

  #setMessage(words: string): void {
    text("explore-message", words);
  }
}
