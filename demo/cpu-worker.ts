/** Sends tasks to the worker with the CPU backend. */
import type { Job, Reply } from "./engine.worker.ts";
import type { EventOf, InputOf, OutputOf, TaskName } from "./tasks/index.ts";

export interface TaskOptions<Name extends TaskName> {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: EventOf<Name>) => void) | undefined;
}

export class CpuWorker {
  #worker: Worker | undefined;
  #jobs = 0;
  /** Ends the task in progress with an error. */
  #end: (reason: Error) => void = () => {};

  /** One task at a time. @throws the reason of the signal where it fires; the worker is ended then, and the next task starts another */
  run<Name extends TaskName>(name: Name, input: InputOf<Name>, { signal, onEvent }: TaskOptions<Name> = {}): Promise<OutputOf<Name>> {
    const id = this.#jobs++;
    const worker = (this.#worker ??= new Worker(new URL("./engine.worker.ts", import.meta.url), { type: "module" }));
    const listeners = new AbortController();
    return new Promise<OutputOf<Name>>((resolve, reject) => {
      this.#end = reject;
      signal?.addEventListener("abort", () => this.dispose(signal.reason as Error), { signal: listeners.signal });
      if (signal?.aborted) this.dispose(signal.reason as Error);
      worker.addEventListener(
        "message",
        ({ data }: MessageEvent<Reply>) => {
          if (data.id !== id) return;
          if (data.kind === "event") onEvent?.(data.event as EventOf<Name>);
          else if (data.kind === "failed") reject(new Error(data.message));
          else resolve(data.output as OutputOf<Name>);
        },
        { signal: listeners.signal },
      );
      worker.addEventListener(
        "error",
        (event) => this.dispose(new Error(`The worker for the CPU failed: ${event.message || "it could not start, or ran out of memory"}.`)),
        { signal: listeners.signal },
      );
      worker.postMessage({ id, name, input } satisfies Job);
    }).finally(() => {
      this.#end = () => {};
      listeners.abort();
    });
  }

  /** Ends the worker; the next task starts another. The task in progress rejects. */
  dispose(reason: Error = new DOMException("The worker was ended.", "AbortError")): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#end(reason);
  }
}
