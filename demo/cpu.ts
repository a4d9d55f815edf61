/** Runs the CPU backend in a worker, so that the page stays awake and the work can be cancelled. */
import type { Job, Reply } from "./check.worker.ts";

export type CpuResult = Extract<Reply, { kind: "done" }>;

/** @throws an `AbortError` when `signal` fires; the worker is ended then */
export function runOnCpu(job: Job, signal: AbortSignal, onStage: (text: string) => void): Promise<CpuResult> {
  const worker = new Worker(new URL("./check.worker.ts", import.meta.url), { type: "module" });
  return new Promise<CpuResult>((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error));
    if (signal.aborted) reject(signal.reason as Error);
    worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      if (data.kind === "stage") onStage(data.text);
      else if (data.kind === "failed") reject(new Error(data.message));
      else resolve(data);
    });
    worker.addEventListener("error", (event) => {
      reject(new Error(`The worker for the CPU failed: ${event.message || "it could not start, or ran out of memory"}.`));
    });
    worker.postMessage(job);
  }).finally(() => worker.terminate());
}
