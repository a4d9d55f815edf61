/**
 * Decides whether a competitor is worth waiting for. What it took for the last row of a kind, scaled by the work of the next, predicts
 * the next; who declares more than linear work is first measured on a small row, because its large ones may take hours.
 */
import type { Competitor } from "./competitor.ts";
import { kindOf } from "./kinds.ts";
import { ROWS, type Row } from "./rows.ts";

export class Budget {
  readonly #seconds: number;
  readonly #pace = new Map<string, number>();

  constructor(seconds: number) {
    this.#seconds = seconds;
  }

  /** Why to skip the row, or `undefined`. The library itself is never skipped. */
  refusal(competitor: Competitor, row: Row): string | undefined {
    if (competitor.package === undefined) return undefined;
    const pace = this.#pace.get(key(competitor, row));
    const predicted = pace === undefined ? 0 : (pace * work(competitor, row)) / 1000;
    return predicted > this.#seconds ? `skipped: > ${this.#seconds} s (about ${predicted.toPrecision(2)} s)` : undefined;
  }

  /** The row to try first, where trying `row` itself could take forever. */
  probe(competitor: Competitor, row: Row): Row | undefined {
    if (competitor.work?.(row) === undefined || this.#pace.has(key(competitor, row))) return undefined;
    const smallest = ROWS.find((candidate) => candidate.kind === row.kind && competitor.supports(candidate));
    return smallest && work(competitor, smallest) < work(competitor, row) ? smallest : undefined;
  }

  record(competitor: Competitor, row: Row, milliseconds: number): void {
    this.#pace.set(key(competitor, row), milliseconds / work(competitor, row));
  }
}

function key(competitor: Competitor, row: Row): string {
  return `${competitor.name} ${row.kind}`;
}

function work(competitor: Competitor, row: Row): number {
  return competitor.work?.(row) ?? kindOf(row).outputLength(row);
}
