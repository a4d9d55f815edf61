/** The page: reads the form, runs the attention, has the CPU check it, and says what came of it. */
import { createRuntime, type Runtime } from "../src/index.ts";
import { runAttention } from "./attention.ts";
import { biasWeights } from "./bias.ts";
import type { Job } from "./check.worker.ts";
import { Controls } from "./controls.ts";
import { runOnCpu, type CpuResult } from "./cpu.ts";
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
  report.onTheme(() => {
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
      showProblem(error instanceof Error ? error.message : String(error));
      console.error(error);
    } finally {
      controls.setBusy(false, false);
    }
  });
}

async function run(data: Data): Promise<void> {
  const device = await openRuntime();
  const recipe = controls.recipe;
  const job: Job = { recipe, tokens: tokensOf(data, recipe), withDefinition: device.backend === "cpu" };
  const weights = biasWeights(recipe);
  shownRecipe = recipe;
  controls.onChange();
  document.documentElement.dataset["backend"] = device.backend;
  report.start(recipe, job.tokens, weights, device.backend === "webgpu");
  const what = `${count(recipe.length)} tokens, ${recipe.heads === 1 ? "1 head" : `${recipe.heads} heads`}`;

  if (device.backend === "cpu") {
    const result = await onCpu(job, "running", `${what} on the CPU`);
    if (result === undefined) return;
    report.showCpu(result.output, result.milliseconds, result.definition!);
    setState("done", `Done: ${what}, on the CPU.`);
    return;
  }

  const onStage = (stage: string) => setState("running", `${what} on WebGPU: ${stage}…`);
  report.showGpu(await runAttention(device, recipe, job.tokens, weights, onStage));
  report.setVerdict("pending", "the CPU is at it");
  const check = await onCpu(job, "checking", "Checking on the CPU");
  if (check === undefined) return;
  report.showCheck(check.output, check.milliseconds);
  setState("done", `Done: ${what}, on WebGPU, checked on the CPU.`);
}

/** The CPU's result, or nothing where the reader cancelled. */
async function onCpu(job: Job, state: State, doing: string): Promise<CpuResult | undefined> {
  cancellation = new AbortController();
  controls.setBusy(true, true);
  const stopClock = startClock();
  try {
    return await runOnCpu(job, cancellation.signal, (stage) => setState(state, `${doing}: ${stage}…`));
  } catch (error) {
    if (!cancellation.signal.aborted) throw error;
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
