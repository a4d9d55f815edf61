/** The page: one engine, and the sections that run on it. */
import { FastRpbError } from "../src/index.ts";
import { loadData } from "./data.ts";
import { element, text } from "./dom.ts";
import { type BackendChoice, Engine } from "./engine.ts";
import { showMachine, showNoMachine } from "./machine.ts";
import type { CostSection } from "./sections/cost.ts";
import { Explorer } from "./sections/explorer.ts";
import { RightSection } from "./sections/right.ts";
import { RunSection } from "./sections/run.ts";
import { ShiftSection } from "./sections/shift.ts";
import { UseSection } from "./sections/use.ts";
import { whenSeen } from "./when-seen.ts";

const query = new URLSearchParams(location.search);
const choice = element("backend-choice", HTMLSelectElement);
const banner = element("banner", HTMLElement);
const recover = element("recover", HTMLButtonElement);
const asked = query.get("backend");
choice.value = asked === "webgpu" || asked === "cpu" ? asked : "auto";

const engine = new Engine(choice.value as BackendChoice);
const explorer = new Explorer(engine, reportError);
const right = new RightSection(engine, reportError);
const shift = new ShiftSection(engine, reportError);
const run = new RunSection(engine, query, reportError);
const use = new UseSection();
explorer.onShape = (shape) => use.setProduct(shape, 1);
run.onRecipe = (recipe) => use.setRun(recipe);

// With its plots, which take a library, when somebody comes to look.
let cost: CostSection | undefined;
whenSeen(element("cost", HTMLElement), () => {
  import("./sections/cost.ts").then((section) => {
    cost = new section.CostSection(engine, reportError);
  }, reportError);
});

engine.onState((state, why) => {
  document.documentElement.dataset["engine"] = state;
  if (state === "ready") {
    showMachine(engine.runtime!, engine.choice);
    hideBanner();
  } else if (state !== "opening") showNoMachine();
  if (state === "lost") showBanner(`The GPU device was lost${why ? ` (${why})` : ""}. What it held is gone; the page can ask for it again.`, true);
});

choice.addEventListener("change", () => {
  hideBanner();
  engine.choose(choice.value as BackendChoice).then(restart, reportError);
});
recover.addEventListener("click", () => {
  recover.disabled = true;
  engine
    .recover()
    .then(refresh, reportError)
    .finally(() => (recover.disabled = false));
});
element("banner-close", HTMLButtonElement).addEventListener("click", hideBanner);
// What misses its target must not replace the page.
for (const type of ["dragover", "drop"] as const) addEventListener(type, (event) => event.preventDefault());

engine.open().catch(reportError);
loadData()
  .then((data) => {
    explorer.start(data);
    run.start(data);
  })
  .catch(reportError);

function refresh(): void {
  explorer.refresh();
  shift.refresh();
}

function restart(): void {
  refresh();
  right.restart();
  cost?.restart();
  run.restart().catch(reportError);
}

/** Every section comes here with what went wrong and is not its own to tell. */
function reportError(error: unknown): void {
  // Whoever chooses another backend ends what ran on the one before.
  if (error instanceof DOMException && error.name === "AbortError") return;
  if (error instanceof FastRpbError && error.code === "disposed") return;
  console.error(error);
  // The loss is on the banner already, with the way out of it.
  if (engine.state === "lost") return;
  showBanner(explain(error), false);
}

function showBanner(words: string, recoverable: boolean): void {
  text("banner-text", words);
  recover.hidden = !recoverable;
  banner.hidden = false;
}

function hideBanner(): void {
  banner.hidden = true;
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
