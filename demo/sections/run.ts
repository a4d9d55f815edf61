/** "One run, inside": reads the form, runs the attention, has the CPU check it, and says what came of it. */
import { biasWeights } from "../bias.ts";
import type { Data } from "../data.ts";
import { element, text } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { count } from "../format.ts";
import { tokensOf } from "../input.ts";
import type { Recipe } from "../recipe.ts";
import type { AttentionEvent, AttentionInput } from "../tasks/attention.ts";
import { onRepaint, theme } from "../theme.ts";
import { whenSeen } from "../when-seen.ts";
import { Controls } from "./controls.ts";
import { Report } from "./report.ts";

type State = "loading" | "running" | "checking" | "done" | "failed";

export class RunSection {
  readonly #engine: Engine;
  readonly #reportError: (error: unknown) => void;
  readonly #controls: Controls;
  readonly #report = new Report();
  readonly #root = document.documentElement;
  #data: Data | undefined;
  #seen = false;
  #running: Promise<void> | undefined;
  /** Of the run in progress, where it can be cancelled. */
  #cancellation: AbortController | undefined;
  #shownRecipe: Recipe | undefined;

  onRecipe = (_recipe: Recipe): void => {};

  constructor(engine: Engine, query: URLSearchParams, reportError: (error: unknown) => void) {
    this.#engine = engine;
    this.#reportError = reportError;
    this.#controls = new Controls(query);
    this.#controls.onRun = () => void this.run();
    this.#controls.onCancel = () => this.#cancellation?.abort();
    this.#controls.onChange = () => this.#markStale();
    whenSeen(element("inside", HTMLElement), () => {
      this.#seen = true;
      void this.run();
    });
  }

  start(data: Data): void {
    this.#data = data;
    this.#controls.setDigits(data.digits, theme());
    onRepaint(() => {
      this.#controls.paintDigits(data.digits, theme());
      this.#report.redraw();
    });
    this.onRecipe(this.#controls.recipe);
    void this.run();
  }

  /** After another backend was chosen. */
  async restart(): Promise<void> {
    this.#cancellation?.abort();
    await this.#running;
    await this.run();
  }

  /** Does nothing before anyone looks, or while a run is under way. */
  run(): Promise<void> {
    const data = this.#data;
    if (!data || !this.#seen) return Promise.resolve();
    return (this.#running ??= this.#guarded(data).finally(() => (this.#running = undefined)));
  }

  async #guarded(data: Data): Promise<void> {
    this.#controls.setBusy(true, false);
    try {
      await this.#run(data);
    } catch (error) {
      this.#setState("failed", "Failed.");
      this.#report.setVerdict("none", "not checked");
      this.#reportError(error);
    } finally {
      this.#controls.setBusy(false, false);
    }
  }

  async #run(data: Data): Promise<void> {
    const report = this.#report;
    report.clear();
    this.#setState("loading", "Asking for a device…");
    if (this.#engine.state === "lost") await this.#engine.recover();
    const { backend, limits } = await this.#engine.open();
    this.#controls.setLongestTensor(Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize));
    const recipe = this.#controls.recipe;
    const onCpu = backend === "cpu";
    const input: AttentionInput = { recipe, tokens: tokensOf(data, recipe), withDefinition: onCpu };
    this.#shownRecipe = recipe;
    this.#markStale();
    this.#root.dataset["backend"] = backend;
    report.start(recipe, input.tokens, biasWeights(recipe), !onCpu);
    const what = `${count(recipe.length)} tokens, ${recipe.heads === 1 ? "1 head" : `${recipe.heads} heads`}`;
    const where = onCpu ? "the CPU" : "WebGPU";
    this.#setState("running", `${what} on ${where}…`);

    const result = await this.#cancellable((signal) =>
      this.#engine.run("attention", input, { signal, onEvent: this.#stages("running", `${what} on ${where}`) }),
    );
    if (result === undefined) return;
    if (onCpu) {
      report.showCpu(result.output, result.milliseconds, result.definition!);
      this.#setState("done", `Done: ${what}, on the CPU.`);
      return;
    }
    report.showGpu(result);
    report.setVerdict("pending", "being checked on the CPU");
    this.#setState("checking", "Checking on the CPU…");
    const check = await this.#cancellable((signal) =>
      this.#engine.check("attention", input, { signal, onEvent: this.#stages("checking", "Checking on the CPU") }),
    );
    if (check === undefined) return;
    report.showCheck(check.output, check.milliseconds);
    this.#setState("done", `Done: ${what}, on WebGPU, checked on the CPU.`);
  }

  #stages(state: State, what: string): (event: AttentionEvent) => void {
    return (event) => {
      if ("stage" in event) this.#setState(state, `${what}: ${event.stage}…`);
    };
  }

  /** What `work` comes to, or nothing where the reader cancelled it. */
  async #cancellable<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    this.#cancellation = new AbortController();
    this.#controls.setBusy(true, true);
    const { signal } = this.#cancellation;
    const stopClock = startClock();
    try {
      return await work(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      this.#report.setVerdict("none", "not checked: cancelled");
      this.#setState("done", "Cancelled.");
      return undefined;
    } finally {
      stopClock();
      this.#cancellation = undefined;
    }
  }

  #markStale(): void {
    const recipe = this.#controls.recipe;
    const stale = this.#shownRecipe !== undefined && JSON.stringify(this.#shownRecipe) !== JSON.stringify(recipe);
    this.#root.classList.toggle("stale", stale);
    this.onRecipe(recipe);
  }

  #setState(state: State, words: string): void {
    this.#root.dataset["state"] = state;
    text("status", words);
  }
}

/** Counts the seconds beside the status; the status itself stays quiet, for it is read aloud. */
function startClock(): () => void {
  const start = performance.now();
  const show = () => text("elapsed", `${((performance.now() - start) / 1000).toFixed(1)} s`);
  const timer = setInterval(show, 100);
  show();
  return () => {
    clearInterval(timer);
    text("elapsed", "");
  };
}
