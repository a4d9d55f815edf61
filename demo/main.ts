/** The page: reads the form, runs the attention, has the CPU check it, and says what came of it. */
import { createRuntime, FastRpbError, type Runtime } from "../src/index.ts";
import { runAttention, type Result } from "./attention.ts";
import { biasWeights } from "./bias.ts";
import type { Job } from "./check.worker.ts";
import { Controls } from "./controls.ts";
import { runOnCpu } from "./cpu.ts";
import { loadData, type Data } from "./data.ts";
import { element, text } from "./dom.ts";
import { count } from "./format.ts";
import { tokensOf } from "./input.ts";
import { showMachine, showNoMachine } from "./machine.ts";
import type { Recipe } from "./recipe.ts";
import { Report } from "./report.ts";

type State = "loading" | "running" | "checking" | "done" | "failed";

const controls = new Controls(new URLSearchParams(location.search));
const report = new Report();
const loading = loadData();
let runtime: Runtime | undefined;
/** The run in progress, where it can be cancelled. */
let cancellation: AbortController | undefined;
let shownRecipe: Recipe | undefined;
let queue = Promise.resolve();

controls.onRun = () => enqueue(run);
controls.onCancel = () => cancellation?.abort();
controls.onBackend = () => {
  cancellation?.abort();
  enqueue(async (data) => {
    closeRuntime();
    await run(data);
  });
};
controls.onChange = () => {
  const stale = shownRecipe !== undefined && JSON.stringify(shownRecipe) !== JSON.stringify(controls.recipe);
  document.documentElement.classList.toggle("stale", stale);
};
enqueue(async (data) => {
  controls.setDigits(data.digits, report.theme);
  report.onRepaint(() => {
    controls.paintDigits(data.digits, report.theme);
    report.redraw();
  });
  await run(data);
});

/** One job after the other; what goes wrong in a job is told on the page. */
function enqueue(job: (data: Data) => Promise<void>): void {
  queue = queue.then(async () => {
    controls.setBusy(true, false);
    showProblem(undefined);
    try {
      await job(await loading);
    } catch (error) {
      setState("failed", "Failed.");
      report.setVerdict("none", "not checked");
      showProblem(explain(error));
      console.error(error);
    } finally {
      controls.setBusy(false, false);
    }
  });
}

async function run(data: Data): Promise<void> {
  report.clear();
  const device = await openRuntime();
  const recipe = controls.recipe;
  const job: Job = { recipe, tokens: tokensOf(data, recipe), withDefinition: device.backend === "cpu" };
  const weights = biasWeights(recipe);
  shownRecipe = recipe;
  controls.onChange();
  document.documentElement.dataset["backend"] = device.backend;
  report.start(recipe, job.tokens, weights, device.backend === "webgpu");
  const what = `${count(recipe.length)} tokens, ${recipe.heads === 1 ? "1 head" : `${recipe.heads} heads`}`;
  setState("running", `${what} on ${device.backend === "webgpu" ? "WebGPU" : "the CPU"}…`);

  if (device.backend === "cpu") {
    const result = await cancellable((signal) => runOnCpu(job, signal, (stage) => setState("running", `${what} on the CPU: ${stage}…`)));
    if (result === undefined) return;
    report.showCpu(result.output, result.milliseconds, result.definition!);
    setState("done", `Done: ${what}, on the CPU.`);
    return;
  }

  const result = await cancellable((signal) =>
    runOnGpu(device, job, weights, signal, (stage) => setState("running", `${what} on WebGPU: ${stage}…`)),
  );
  if (result === undefined) return;
  report.showGpu(result);
  report.setVerdict("pending", "being checked on the CPU");
  setState("checking", "Checking on the CPU…");
  const check = await cancellable((signal) => runOnCpu(job, signal, (stage) => setState("checking", `Checking on the CPU: ${stage}…`)));
  if (check === undefined) return;
  report.showCheck(check.output, check.milliseconds);
  setState("done", `Done: ${what}, on WebGPU, checked on the CPU.`);
}

/** The attention on the device. Submitted work cannot be called back, so whoever cancels it loses the device. */
function runOnGpu(device: Runtime, job: Job, weights: Float32Array, signal: AbortSignal, onStage: (stage: string) => void): Promise<Result> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => {
      closeRuntime();
      reject(signal.reason as Error);
    });
  });
  const result = runAttention(device, job.recipe, job.tokens, weights, (stage) => {
    if (!signal.aborted) onStage(stage);
  });
  return Promise.race([result, aborted]);
}

/** What `work` comes to, or nothing where the reader cancelled it. */
async function cancellable<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
  cancellation = new AbortController();
  controls.setBusy(true, true);
  const { signal } = cancellation;
  const stopClock = startClock();
  try {
    return await work(signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    report.setVerdict("none", "not checked: cancelled");
    setState("done", "Cancelled.");
    return undefined;
  } finally {
    stopClock();
    cancellation = undefined;
  }
}

async function openRuntime(): Promise<Runtime> {
  if (runtime !== undefined) return runtime;
  setState("loading", "Asking for a device…");
  try {
    runtime = await createRuntime({ backend: controls.backend });
  } catch (error) {
    showNoMachine();
    throw error;
  }
  const opened = runtime;
  showMachine(opened, controls.backend);
  controls.setLongestTensor(Math.min(opened.limits.maxStorageBufferBindingSize, opened.limits.maxBufferSize));
  void opened.lost.then(({ message }) => {
    if (runtime !== opened) return;
    runtime = undefined;
    showNoMachine();
    showProblem(`The GPU device was lost${message ? ` (${message})` : ""}. Run again to ask for a new one.`);
  });
  return opened;
}

function closeRuntime(): void {
  const closing = runtime;
  runtime = undefined;
  closing?.dispose();
}

function setState(state: State, words: string): void {
  document.documentElement.dataset["state"] = state;
  text("status", words);
}

function showProblem(message: string | undefined): void {
  const problem = element("problem", HTMLElement);
  problem.hidden = message === undefined;
  problem.textContent = message ?? "";
}

/** What the reader can do, before what the library said. */
function explain(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof FastRpbError)) return message;
  switch (error.code) {
    case "unavailable":
      return `This browser offers no WebGPU here. Choose the backend “Automatic” or “CPU”. (${message})`;
    case "limit":
      return `That is too much for this device. Choose a shorter sequence or fewer heads. (${message})`;
    case "lost":
      return `The GPU device was lost. Run again to ask for a new one. (${message})`;
    default:
      return message;
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
