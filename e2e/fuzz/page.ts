/** The fuzzer in a page; e2e/fuzz.spec.ts calls it. */
import { fuzz, type FuzzOptions, type FuzzReport } from "./fuzz.ts";
import { gpuMachine, type Machine } from "./machine.ts";

declare global {
  interface Window {
    fuzz?: (options: Omit<FuzzOptions, "log">) => Promise<{ readonly report: FuzzReport; readonly lines: readonly string[] }>;
  }
}

let machine: Promise<Machine> | undefined;

window.fuzz = async (options) => {
  const lines: string[] = [];
  machine ??= gpuMachine(navigator.gpu);
  const report = await fuzz(await machine, { ...options, log: (line) => void lines.push(line) });
  return { report, lines };
};
