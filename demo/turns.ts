/** Who may go: everyone at once, but those who want to be alone. In the order of asking. */
export class Turns {
  /** Of the last who asked to be alone. */
  #alone: Promise<void> = Promise.resolve();
  /** Of those who go together since. */
  readonly #together = new Set<Promise<void>>();

  /**
   * Waits for its turn.
   *
   * @returns what ends the turn
   * @throws the reason of the signal, where it fires before the turn comes
   */
  async take(alone: boolean, signal?: AbortSignal): Promise<() => void> {
    let end = () => {};
    const turn = new Promise<void>((resolve) => (end = resolve));
    const before = alone ? Promise.all([this.#alone, ...this.#together]) : this.#alone;
    if (alone) {
      // Whoever comes later waits for all who were there before, even if this one gives up.
      this.#alone = Promise.all([before, turn]).then(() => {});
      this.#together.clear();
    } else {
      this.#together.add(turn);
      void turn.then(() => this.#together.delete(turn));
    }
    try {
      await withSignal(before, signal);
    } catch (error) {
      end();
      throw error;
    }
    return end;
  }
}

function withSignal(promise: Promise<unknown>, signal: AbortSignal | undefined): Promise<unknown> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.finally(() => signal.removeEventListener("abort", abort)).then(resolve, reject);
  });
}
