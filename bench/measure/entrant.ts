/** One competitor in one row: warms up, shows its result, then takes samples when its turn comes. */
import type { Budget } from "./budget.ts";
import type { Competitor, Data, Prepared } from "./competitor.ts";
import { kindOf } from "./kinds.ts";
import type { Library } from "./library.ts";
import { median, relativeL2 } from "./numbers.ts";
import type { Entry, Settings } from "./result.ts";
import type { Row } from "./rows.ts";

/** However fast a competitor is: each repetition is a submit that waits in a queue. */
const MOST_REPETITIONS = 10_000;
/** From one trial to the next: a short one is mostly the cost of the wait, and promises too much. */
const MOST_GROWTH = 8;

export class Entrant {
  readonly #competitor: Competitor;
  readonly #row: Row;
  readonly #settings: Settings;
  /** Milliseconds of one repetition. */
  readonly #samples: number[] = [];
  #prepared: Prepared | undefined;
  #repetitions: number;
  #warmup = 0;
  #error: number | undefined;
  #problem: string | undefined;
  /** Milliseconds that the samples took so far. */
  #spent = 0;

  constructor(competitor: Competitor, row: Row, settings: Settings) {
    this.#competitor = competitor;
    this.#row = row;
    this.#settings = settings;
    this.#repetitions = kindOf(row).leastRepetitions ?? 1;
  }

  /** How the warm-up went, or why it will not run. */
  get status(): string {
    return `${this.#competitor.name}: ${this.#problem ?? `warm-up ${this.#warmup.toFixed(0)} ms, ${this.#repetitions} in a sample`}`;
  }

  /**
   * Prepares and runs once, which compiles; compares with `expected`; finds how many repetitions a sample needs.
   *
   * @param expected the exact result of the row, where it is compared
   */
  async enter(data: Data, copies: number, expected: (() => Promise<Float32Array>) | undefined, budget: Budget, library: Library): Promise<void> {
    const competitor = this.#competitor;
    const row = this.#row;
    await this.#attempt(async () => {
      const probe = budget.probe(competitor, row);
      if (probe) budget.record(competitor, probe, await probeTime(competitor, probe, library));
      this.#problem = budget.refusal(competitor, row);
      if (this.#problem) return;
      const started = performance.now();
      this.#prepared = await competitor.prepare(row, data, copies);
      const first = await timeRuns(this.#prepared, 1);
      this.#warmup = performance.now() - started;
      const exact = competitor.reference?.(row, data) ?? (await expected?.());
      const result = await this.#prepared.read();
      if (exact) this.#error = relativeL2(result.subarray(result.length - exact.length), exact);
      const slow = first > 1000 * this.#settings.budgetSeconds;
      budget.record(competitor, row, slow ? first : await this.#calibrate(this.#prepared));
    });
  }

  /** Keeps the GPU busy until its clock rate is up, and lets a sample hold more than a slow clock allowed. */
  async warmUp(): Promise<void> {
    const prepared = this.#prepared;
    if (!prepared || this.#problem) return;
    const end = performance.now() + this.#settings.warmUpMilliseconds;
    await this.#attempt(async () => {
      while (performance.now() < end) await this.#calibrate(prepared);
    });
  }

  /** Takes a sample, unless this competitor failed or had its share of time. */
  async turn(): Promise<void> {
    const prepared = this.#prepared;
    if (!prepared || this.#problem || this.#spent > 1000 * this.#settings.budgetSeconds) return;
    await this.#attempt(async () => {
      const time = await timeRuns(prepared, this.#repetitions);
      this.#spent += time;
      this.#samples.push(time / this.#repetitions);
    });
  }

  /** What came out; frees everything. */
  async leave(): Promise<Entry> {
    const repetitions = this.#repetitions;
    if (this.#prepared?.details) await this.warmUp();
    const details = this.#problem ? undefined : await this.#attempt(async () => this.#prepared?.details?.());
    await this.#attempt(async () => this.#prepared?.dispose());
    this.#prepared = undefined;
    const formulation = this.#competitor.formulation?.(this.#row);
    const entry = { competitor: this.#competitor.name, ...(formulation ? { formulation } : {}) };
    if (this.#problem) return { ...entry, problem: this.#problem };
    const samples = this.#samples;
    const time = {
      median: median(samples),
      minimum: Math.min(...samples),
      maximum: Math.max(...samples),
      samples: samples.length,
      repetitions,
      warmup: this.#warmup,
    };
    return { ...entry, time, ...(this.#error === undefined ? {} : { error: this.#error }), ...(details ? { details } : {}) };
  }

  /** Finds how many repetitions make a sample; gives the time of one. */
  async #calibrate(prepared: Prepared): Promise<number> {
    const wanted = this.#settings.sampleMilliseconds;
    for (;;) {
      const time = await timeRuns(prepared, this.#repetitions);
      if (time >= wanted || this.#repetitions >= MOST_REPETITIONS) return time / this.#repetitions;
      const growth = Math.min(MOST_GROWTH, (1.2 * wanted) / Math.max(time, 1e-3));
      this.#repetitions = Math.min(MOST_REPETITIONS, Math.ceil(this.#repetitions * growth));
    }
  }

  /** A competitor that fails does not stop the others. */
  async #attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#problem = `failed: ${message.split("\n")[0]!.slice(0, 200)}`;
      return undefined;
    }
  }
}

/** Milliseconds of `repetitions` runs and of the wait for them. */
async function timeRuns(prepared: Prepared, repetitions: number): Promise<number> {
  const started = performance.now();
  for (let i = 0; i < repetitions; i++) {
    const pending = prepared.run();
    if (pending) await pending;
  }
  await prepared.finish();
  return performance.now() - started;
}

/** Milliseconds of one warm run. */
async function probeTime(competitor: Competitor, row: Row, library: Library): Promise<number> {
  const prepared = await competitor.prepare(row, await kindOf(row).data(row, library), 1);
  try {
    await timeRuns(prepared, 1);
    return await timeRuns(prepared, 1);
  } finally {
    prepared.dispose();
  }
}
