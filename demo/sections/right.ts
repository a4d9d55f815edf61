/** "Is it right here?": the self-test, as it runs. */
import type { SelfTestCheck } from "../../src/index.ts";
import { copyText } from "../clipboard.ts";
import { element, make, text } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { bytes, count, scientific } from "../format.ts";
import { adapterName } from "../machine.ts";
import { whenSeen } from "../when-seen.ts";

/** The plot's ends, as powers of ten. */
const [LOW, HIGH] = [-9, -2];

export class RightSection {
  readonly #engine: Engine;
  readonly #reportError: (error: unknown) => void;
  readonly #run = element("right-run", HTMLButtonElement);
  readonly #stop = element("right-stop", HTMLButtonElement);
  readonly #copy = element("right-copy", HTMLButtonElement);
  readonly #body = element("right-table", HTMLTableElement).tBodies[0]!;
  #checks: SelfTestCheck[] = [];
  #running: AbortController | undefined;

  constructor(engine: Engine, reportError: (error: unknown) => void) {
    this.#engine = engine;
    this.#reportError = reportError;
    this.#run.addEventListener("click", () => void this.#test());
    this.#stop.addEventListener("click", () => this.#running?.abort());
    this.#copy.addEventListener("click", () => void copyText(this.#report(), (words) => text("right-note", words)));
    whenSeen(element("right", HTMLElement), () => void this.#begin());
  }

  /** After another backend was chosen. */
  restart(): void {
    this.#running?.abort();
    this.#clear();
    this.#verdict("none", "Not tested yet.");
    void this.#begin();
  }

  /** By itself only where it takes seconds. */
  async #begin(): Promise<void> {
    const runtime = await this.#engine.open().catch(() => undefined);
    if (!runtime) return;
    this.#showMachine();
    if (runtime.backend === "webgpu" && this.#engine.slow) {
      text("right-note", "The adapter here is a program on the CPU: the test takes a minute or so, most of it for compiling.");
    } else if (!this.#running && this.#checks.length === 0) await this.#test();
  }

  async #test(): Promise<void> {
    if (this.#running) return;
    const running = new AbortController();
    this.#running = running;
    this.#clear();
    this.#busy(true);
    this.#verdict("pending", "Testing…");
    try {
      await this.#engine.run("selfTest", undefined, {
        signal: running.signal,
        onEvent: ({ done, total, check }) => {
          this.#add(check);
          element("right-progress", HTMLProgressElement).value = done / total;
        },
      });
      this.#conclude();
    } catch (error) {
      const words = `${count(this.#checks.length)} checks were done.`;
      if (running.signal.aborted) {
        if (this.#failed === 0) this.#verdict("none", `Stopped: ${words}`);
      } else {
        this.#verdict("none", `The test broke off: ${words}`);
        this.#reportError(error);
      }
    } finally {
      if (this.#running === running) {
        this.#running = undefined;
        this.#busy(false);
      }
    }
  }

  #clear(): void {
    this.#checks = [];
    this.#body.replaceChildren();
    element("right-progress", HTMLProgressElement).value = 0;
    text("right-note", "");
    this.#copy.disabled = true;
  }

  #busy(busy: boolean): void {
    // A focused button that is disabled would drop the focus to the page.
    const focus = document.activeElement === this.#run || document.activeElement === this.#stop;
    this.#run.disabled = busy;
    this.#stop.disabled = !busy;
    if (focus) (busy ? this.#stop : this.#run).focus({ preventScroll: true });
  }

  #add(check: SelfTestCheck): void {
    this.#checks.push(check);
    const row = make("tr");
    const name = make("th", check.name);
    name.scope = "row";
    row.className = check.ok ? "" : "failed";
    row.append(
      name,
      make("td", check.ok ? scientific(check.error) : `✗ ${scientific(check.error)}`),
      make("td", scientific(check.bound)),
      plot(check),
    );
    // What failed comes first: nobody should have to look for it.
    if (check.ok) this.#body.append(row);
    else {
      this.#body.prepend(row);
      this.#warn();
    }
  }

  get #failed(): number {
    return this.#checks.filter(({ ok }) => !ok).length;
  }

  #warn(): void {
    this.#verdict("fail", `✗ ${count(this.#failed)} of ${count(this.#checks.length)} checks failed.`);
    text(
      "right-note",
      "Do not trust this device as it is. Update the browser and the graphics driver, or choose the CPU backend above; and please send the report.",
    );
    this.#copy.disabled = false;
  }

  #conclude(): void {
    const total = this.#checks.length;
    this.#copy.disabled = false;
    if (this.#failed > 0) {
      this.#warn();
      return;
    }
    this.#verdict("pass", `✓ All ${count(total)} checks are within their bounds.`);
    const nearest = Math.max(...this.#checks.map(({ error, bound }) => error / bound));
    const reference =
      this.#engine.runtime?.backend === "cpu" ? " The CPU backend is the reference for GPUs; here it is compared with plain sums." : "";
    text("right-note", `The one nearest to its bound is at ${Math.round(100 * nearest)} % of it.${reference}`);
  }

  #verdict(verdict: "none" | "pending" | "pass" | "fail", words: string): void {
    const target = element("right-summary", HTMLElement);
    target.dataset["verdict"] = verdict;
    target.textContent = words;
  }

  #showMachine(): void {
    const entries = machineEntries(this.#engine).flatMap(([name, value]) => [make("dt", name), make("dd", value)]);
    element("right-machine", HTMLElement).replaceChildren(...entries);
  }

  #report(): string {
    const machine = machineEntries(this.#engine).map(([name, value]) => `- ${name}: ${value}`);
    const rows = [...this.#checks]
      .sort((a, b) => Number(a.ok) - Number(b.ok))
      .map(({ name, error, bound, ok }) => `| ${ok ? "ok" : "FAILED"} | ${name} | ${error.toExponential(2)} | ${bound.toExponential(2)} |`);
    return [
      "fastrpb self-test",
      "",
      ...machine,
      `- browser: ${navigator.userAgent}`,
      "",
      "| | check | error | bound |",
      "|---|---|---|---|",
      ...rows,
      "",
    ].join("\n");
  }
}

/** A point for the error and a line for the bound, on a log scale. */
function plot({ error, bound }: SelfTestCheck): HTMLTableCellElement {
  const cell = make("td");
  cell.className = "plot";
  const track = make("span");
  for (const [className, value] of [
    ["bound", bound],
    ["point", error],
  ] as const) {
    const mark = make("span");
    mark.className = className;
    // An error that is no number is as bad as can be.
    const power = value === 0 ? LOW : Number.isFinite(value) ? Math.log10(value) : HIGH;
    mark.style.left = `${(100 * Math.min(Math.max(power - LOW, 0), HIGH - LOW)) / (HIGH - LOW)}%`;
    track.append(mark);
  }
  track.setAttribute("aria-hidden", "true");
  cell.append(track);
  return cell;
}

const COUNTED = new Set(["maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupsPerDimension", "maxStorageBuffersPerShaderStage"]);

function machineEntries({ runtime }: Engine): [name: string, value: string][] {
  if (!runtime) return [];
  const limits = Object.entries(runtime.limits).flatMap(([name, value]): [string, string][] =>
    typeof value === "number" ? [[name, COUNTED.has(name) ? count(value) : bytes(value)]] : [],
  );
  const features = runtime.device ? [...runtime.device.features].sort().join(", ") || "none" : "none";
  return [["backend", runtime.backend], ["adapter", adapterName(runtime.adapterInfo)], ["features", features], ...limits];
}
