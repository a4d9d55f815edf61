/** What a task is: a computation that runs on the page's GPU, or on the CPU backend in a worker; it never touches the page. */
import type { Runtime } from "../../src/index.ts";

export interface TaskContext<Event> {
  /** Aborts it between two steps; the CPU's worker is ended instead. */
  readonly signal: AbortSignal;
  /** Tells the page how far it is. Events are cloned on their way, as outputs are. */
  readonly emit: (event: Event) => void;
}

export type Task<Input, Event, Output> = (runtime: Runtime, input: Input, context: TaskContext<Event>) => Promise<Output>;

/** Lets the page paint, and the signal arrive, before a stretch of work that holds the thread. */
export async function breathe({ signal }: { readonly signal: AbortSignal }): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
  signal.throwIfAborted();
}

/** Disposes of what it held, the latest first. */
export class Scope {
  readonly #held: { dispose(): void }[] = [];

  hold<T extends { dispose(): void }>(thing: T): T {
    this.#held.push(thing);
    return thing;
  }

  dispose(): void {
    for (const thing of this.#held.splice(0).reverse()) thing.dispose();
  }
}

/** Plans of a runtime that tasks come back to, by what they were made of; a few of them. */
export class PlanCache<Plan extends { dispose(): void }> {
  static readonly #MOST = 8;
  readonly #plans = new WeakMap<Runtime, Map<string, Promise<Plan>>>();

  get(runtime: Runtime, options: object, make: () => Promise<Plan>): Promise<Plan> {
    let plans = this.#plans.get(runtime);
    if (plans === undefined) this.#plans.set(runtime, (plans = new Map()));
    const key = JSON.stringify(options);
    let plan = plans.get(key);
    if (plan === undefined) {
      for (const [oldest, dropped] of plans) {
        if (plans.size < PlanCache.#MOST) break;
        plans.delete(oldest);
        void dropped.then((old) => old.dispose());
      }
      plan = make();
      plans.set(key, plan);
      // What failed once may do another time: a device comes back, memory becomes free.
      plan.catch(() => plans.delete(key));
    }
    return plan;
  }
}
