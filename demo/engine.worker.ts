/** The CPU backend in a worker: minutes of arithmetic there do not freeze the page, and ending the worker cancels them. */
import { createRuntime, type Runtime } from "../src/index.ts";
import { TASKS, type TaskName } from "./tasks/index.ts";
import type { Task } from "./tasks/task.ts";

export interface Job {
  readonly id: number;
  readonly name: TaskName;
  readonly input: unknown;
}

export type Reply =
  | { readonly id: number; readonly kind: "event"; readonly event: unknown }
  | { readonly id: number; readonly kind: "done"; readonly output: unknown }
  | { readonly id: number; readonly kind: "failed"; readonly message: string };

let opening: Promise<Runtime> | undefined;

addEventListener("message", ({ data: { id, name, input } }: MessageEvent<Job>) => {
  const reply = (message: Reply, transfer: Transferable[] = []) => postMessage(message, { transfer });
  const emit = (event: unknown) => reply({ id, kind: "event", event });
  opening ??= createRuntime({ backend: "cpu" });
  opening
    .then((runtime) => (TASKS[name] as unknown as Task<unknown, unknown, unknown>)(runtime, input, { signal: new AbortController().signal, emit }))
    .then((output) => reply({ id, kind: "done", output }, transferables(output)))
    .catch((error: unknown) => reply({ id, kind: "failed", message: error instanceof Error ? error.message : String(error) }));
});

/** The arrays of an output, which it hands over. */
function transferables(output: unknown): Transferable[] {
  if (typeof output !== "object" || output === null) return [];
  return [...new Set(Object.values(output).flatMap((value) => (value instanceof Float32Array ? [value.buffer as ArrayBuffer] : [])))];
}
