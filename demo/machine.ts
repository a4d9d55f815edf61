/** Says plainly what the page runs on. */
import type { Runtime } from "../src/index.ts";
import { text } from "./dom.ts";
import type { BackendChoice } from "./engine.ts";

export function showMachine(runtime: Runtime, choice: BackendChoice): void {
  text("backend", runtime.backend === "webgpu" ? "WebGPU" : "CPU (float64, in a worker)");
  text("adapter", runtime.backend === "webgpu" ? adapterName(runtime.adapterInfo) : noAdapter(choice));
}

export function showNoMachine(): void {
  text("backend", "nothing yet");
  text("adapter", "none");
}

export function adapterName(info: GPUAdapterInfo | undefined): string {
  if (info === undefined) return "not named by the browser";
  const parts = [info.vendor, info.architecture, info.device, info.description].filter((part) => part !== "");
  const name = parts.length === 0 ? "not named by the browser" : [...new Set(parts)].join(", ");
  return info.isFallbackAdapter ? `${name} (software adapter: slow)` : name;
}

function noAdapter(choice: BackendChoice): string {
  return choice === "cpu" ? "none: the CPU was chosen" : "none: no WebGPU here";
}
