import { describe, expect, test } from "vitest";
import { Turns } from "./turns.ts";

/** Asks for a turn, and writes down when it comes. */
function ask(turns: Turns, name: string, alone: boolean, log: string[], signal?: AbortSignal): Promise<() => void> {
  return turns.take(alone, signal).then(
    (end) => {
      log.push(name);
      return end;
    },
    () => {
      log.push(`${name} gave up`);
      return () => {};
    },
  );
}

const settled = () => new Promise((resolve) => setTimeout(resolve));

describe("turns", () => {
  test("those who go together do not wait for each other", async () => {
    const [turns, log] = [new Turns(), [] as string[]];
    void ask(turns, "a", false, log);
    void ask(turns, "b", false, log);
    await settled();
    expect(log).toEqual(["a", "b"]);
  });

  test("one alone waits for all before it, and all after it wait for it", async () => {
    const [turns, log] = [new Turns(), [] as string[]];
    const [a, b] = [ask(turns, "a", false, log), ask(turns, "b", false, log)];
    const alone = ask(turns, "alone", true, log);
    const after = ask(turns, "after", false, log);
    await settled();
    expect(log).toEqual(["a", "b"]);
    (await b)();
    await settled();
    expect(log).toEqual(["a", "b"]);
    (await a)();
    await settled();
    expect(log).toEqual(["a", "b", "alone"]);
    (await alone)();
    await settled();
    expect(log).toEqual(["a", "b", "alone", "after"]);
    (await after)();
  });

  test("who gives up while waiting lets nobody pass who came before, and keeps nobody who comes after", async () => {
    const [turns, log] = [new Turns(), [] as string[]];
    const first = ask(turns, "first", true, log);
    const controller = new AbortController();
    void ask(turns, "second", true, log, controller.signal);
    const third = ask(turns, "third", true, log);
    await settled();
    controller.abort();
    await settled();
    expect(log).toEqual(["first", "second gave up"]);
    (await first)();
    await settled();
    expect(log).toEqual(["first", "second gave up", "third"]);
    (await third)();
  });

  test("a signal that has fired before is refused at once", async () => {
    const [turns, log] = [new Turns(), [] as string[]];
    await ask(turns, "a", false, log, AbortSignal.abort());
    const end = await ask(turns, "b", true, log);
    end();
    expect(log).toEqual(["a gave up", "b"]);
  });
});
