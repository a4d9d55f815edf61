/** "What does it cost?" on the built page. Small budgets, so that a software GPU measures few lengths. */
import { readFile } from "node:fs/promises";
import { AxeBuilder } from "@axe-core/playwright";
import { type Browser, expect, type Page, test } from "playwright/test";
import { knownSoftmax } from "../demo/known.ts";
import { comparison, csv, headline, reach, tellingLength } from "../demo/sections/cost-words.ts";
import { bytes, duration } from "../demo/format.ts";
import { type CostPoint, largerBatch, Race } from "../demo/tasks/cost.ts";
import { ADDRESS, type Demo, expectNoOverflow, newDemo, PATIENCE, recordGpu, THEMES } from "./demo-page.ts";

declare global {
  interface Window {
    costShifts?: string[];
  }
}

interface Row {
  readonly title: string;
  readonly n: number;
  readonly heads: number;
  readonly time: string;
  readonly runs: number;
  readonly memory: string;
}

const TITLES: Readonly<Record<string, string>> = {
  softmax: "Softmax attention",
  linear: "Linear attention",
  fastrpb: "Linear attention with FastRPB",
};

/** Opens the page at the section. */
async function open(browser: Browser, query: string): Promise<Demo> {
  const demo = await newDemo(browser, async (page) => {
    await page.addInitScript(recordGpu);
    await page.addInitScript(() => {
      window.costShifts = [];
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries() as (PerformanceEntry & { hadRecentInput: boolean; sources: { node: Node | null }[] })[]) {
          const section = document.getElementById("cost");
          const moved = entry.sources.flatMap(({ node }) => (node instanceof Element && section?.contains(node) ? [node.id || node.className] : []));
          if (!entry.hadRecentInput && moved.length > 0) window.costShifts!.push(moved.join(" "));
        }
      }).observe({ type: "layout-shift" });
    });
  });
  await go(demo, query);
  return demo;
}

async function go({ page }: Demo, query: string): Promise<void> {
  await page.goto(`${ADDRESS}${query}#cost`);
  await expect(page.locator("html")).toHaveAttribute("data-engine", "ready", { timeout: PATIENCE });
  await page.locator("#cost").scrollIntoViewIfNeeded();
}

async function measure(page: Page): Promise<void> {
  await page.getByTestId("cost-measure").click();
  await expect(page.getByTestId("cost-measure")).toBeDisabled();
  await expect(page.getByTestId("cost-stop")).toBeEnabled();
}

function rows(page: Page): Promise<Row[]> {
  return page.getByTestId("cost-table").evaluate((table) =>
    [...table.querySelectorAll("tbody tr")].map((row) => {
      const [title, n, heads, time, runs, memory] = [...row.children].map((cell) => cell.textContent!);
      const whole = (words: string | undefined) => Number(words!.replaceAll(",", ""));
      return { title: title!, n: whole(n), heads: whole(heads), time: time!, runs: whole(runs), memory: memory! };
    }),
  );
}

async function expectRows(page: Page, count: number): Promise<void> {
  await expect.poll(async () => (await rows(page)).length, { timeout: PATIENCE }).toBeGreaterThanOrEqual(count);
}

function milliseconds(words: string): number {
  const [value, unit] = words.replaceAll(",", "").split(/\s/) as [string, string];
  return Number(value) * { ms: 1, s: 1000 }[unit as "ms" | "s"];
}

/** What the headline makes of two times. */
function ratioIn(words: string): number {
  const [, factor, more] = /took (?:([\d.,]+) times (less|as much) time|as much time) (?:than|as) softmax attention/.exec(words) ?? [];
  if (!factor) return 1;
  const number = Number(factor.replaceAll(",", ""));
  return more === "less" ? 1 / number : number;
}

async function download(page: Page): Promise<Record<string, string>[]> {
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByTestId("cost-csv").click()]);
  expect(file.suggestedFilename()).toBe("fastrpb-cost.csv");
  const [header, ...lines] = (await readFile(await file.path(), "utf8")).trimEnd().split("\r\n");
  const fields = (line: string) =>
    [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain!);
  const names = fields(header!);
  return lines.map((line) => Object.fromEntries(fields(line).map((value, i) => [names[i]!, value])));
}

/** The table, the file, the headline and the plots tell the same. */
async function expectConsistent(page: Page, backend: string): Promise<void> {
  const table = await rows(page);
  const file = await download(page);
  expect(file.map((row) => row["method"])).toEqual(expect.arrayContaining(["softmax", "linear", "fastrpb"]));
  expect(
    file.map((row) => [
      TITLES[row["method"]!],
      row["n"],
      row["heads"],
      duration(Number(row["milliseconds"])),
      row["runs"],
      bytes(Number(row["bytes"])),
    ]),
  ).toEqual(table.map(({ title, n, heads, time, runs, memory }) => [title, String(n), String(heads), time, String(runs), memory]));
  for (const row of file) {
    expect(row["backend"]).toBe(backend);
    expect(row["adapter"] !== "").toBe(backend === "WebGPU");
    // Queries, keys, values and the result, at least.
    expect(Number(row["bytes"])).toBeGreaterThanOrEqual(4 * 4 * 64 * Number(row["heads"]) * Number(row["n"]));
  }
  const lengths = [...new Set(table.map(({ n }) => n))];
  const slider = page.getByTestId("cost-slider");
  await expect(slider).toHaveAttribute("max", String(lengths.length - 1));
  for (const [index, n] of lengths.entries()) {
    await slider.fill(String(index));
    const words = (await page.getByTestId("cost-headline").textContent())!;
    expect(words).toContain(`At N\u00a0=\u00a0${n.toLocaleString("en")} `);
    const time = (title: string) => table.find((row) => row.title === title && row.n === n)?.time;
    const [softmax, linear, fastrpb] = ["softmax", "linear", "fastrpb"].map((method) => time(TITLES[method]!));
    if (softmax && fastrpb) {
      const ratio = milliseconds(fastrpb) / milliseconds(softmax);
      expect(ratioIn(words) / ratio).toBeGreaterThan(0.94);
      expect(ratioIn(words) / ratio).toBeLessThan(1.06);
    } else {
      expect(words).toContain(`took ${fastrpb ?? softmax ?? linear}, here.`);
      expect(words).toMatch(/was (not )?measured/);
    }
    for (const each of [softmax, linear, fastrpb]) if (each) await expect(page.locator("#cost-details")).toContainText(each);
  }
  for (const id of ["cost-time", "cost-memory"]) {
    await expect(page.getByTestId(id)).toHaveAttribute("aria-label", /Softmax attention: .*Linear attention: .*Linear attention with FastRPB: /);
    await expect(page.getByTestId(id).locator("canvas")).toBeVisible();
  }
}

async function expectPleasant(page: Page, what: string): Promise<void> {
  for (const colorScheme of THEMES) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await new AxeBuilder({ page }).setLegacyMode().include("#cost").analyze();
    expect(violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)])).toEqual([]);
  }
  await page.emulateMedia({ colorScheme: "light" });
  for (const width of [360, 2560, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    await expectNoOverflow(page, `${what}, ${width} px`);
    const boxes = await Promise.all(["cost-measure", "cost-stop", "cost-csv", "cost-heads"].map((id) => page.getByTestId(id).boundingBox()));
    for (const [i, a] of boxes.entries()) {
      for (const b of boxes.slice(i + 1)) {
        const apart = a!.x + a!.width <= b!.x || b!.x + b!.width <= a!.x || a!.y + a!.height <= b!.y || b!.y + b!.height <= a!.y;
        expect(apart, `buttons overlap at ${width} px`).toBe(true);
      }
    }
  }
}

function heightOf(page: Page): Promise<number> {
  return page.locator("#cost").evaluate((section) => section.getBoundingClientRect().height);
}

for (const backend of ["webgpu", "cpu"] as const) {
  test(`it measures on ${backend}, and everything tells the same`, async ({ browser }) => {
    const demo = await open(browser, `?backend=${backend}&cost-budget=70`);
    const { page } = demo;
    await expect(page.getByTestId("cost-heads")).toHaveValue("1");
    await expect(page.getByTestId("cost-csv")).toBeDisabled();
    await expect(page.getByTestId("cost-slider")).toBeDisabled();
    const height = await heightOf(page);
    await page.evaluate(() => (window.costShifts = []));
    await measure(page);
    await expect(page.getByTestId("cost-status")).toHaveText(/^Done: N from 256 to .* on (WebGPU \(|the CPU)/, { timeout: PATIENCE });
    await expect(page.getByTestId("cost-measure")).toBeEnabled();
    expect(await page.evaluate(() => window.costShifts)).toEqual([]);
    expect(await heightOf(page)).toBe(height);
    await expectConsistent(page, backend === "webgpu" ? "WebGPU" : "CPU");
    for (const method of ["softmax", "linear", "fastrpb"]) {
      await expect(page.locator(`#cost-reach-${method}`)).toHaveText(
        /^measured up to N\s=\s[\d,]+: the next length would take longer than the 70\sms/,
      );
    }
    if (backend === "cpu") await expectPleasant(page, "cost");
    expect(demo.complaints).toEqual([]);
    await page.close();
  });
}

test("stopped by the reader or by the tab's going, it keeps what was measured", async ({ browser }) => {
  const demo = await open(browser, "?backend=cpu");
  const { page } = demo;
  await page.getByTestId("cost-heads").selectOption("4");
  await measure(page);
  await expectRows(page, 3);
  await page.getByTestId("cost-stop").click();
  await expect(page.getByTestId("cost-status")).toHaveText("Stopped. What was measured stays.");
  await expect(page.getByTestId("cost-measure")).toBeFocused();
  await expect(page.getByTestId("cost-stop")).toBeDisabled();
  await expectConsistent(page, "CPU");
  expect((await rows(page)).map(({ heads }) => heads)).toEqual(expect.arrayContaining([4]));

  await page.getByTestId("cost-heads").selectOption("1");
  await measure(page);
  await expectRows(page, 1);
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await expect(page.getByTestId("cost-status")).toHaveText(
    "Stopped, because the tab went to the background, where times mean little. Measure again.",
  );
  const kept = await rows(page);
  expect(kept.length).toBeGreaterThan(0);
  await page.evaluate(() => {
    Reflect.deleteProperty(document, "hidden");
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await measure(page);
  await expectRows(page, 1);
  await page.getByTestId("cost-stop").click();
  expect((await rows(page)).every(({ heads }) => heads === 1)).toBe(true);
  expect(demo.complaints).toEqual([]);
  await page.close();
});

test("a device lost in the middle is told, and the points stay", async ({ browser }) => {
  const demo = await open(browser, "?backend=webgpu");
  const { page } = demo;
  await measure(page);
  await expectRows(page, 2);
  await page.evaluate(() => window.recordedDevice!.destroy());
  await expect(page.getByTestId("cost-status")).toHaveText("The GPU device was lost in the middle. What was measured before stays.", {
    timeout: PATIENCE,
  });
  expect((await rows(page)).length).toBeGreaterThanOrEqual(2);
  await expect(page.getByTestId("banner")).toBeVisible();
  await expect(page.getByTestId("cost-csv")).toBeEnabled();
  await measure(page);
  await expectRows(page, 1);
  await page.getByTestId("cost-stop").click();
  await expect(page.getByTestId("cost-measure")).toBeEnabled();
  expect(demo.complaints.filter((words) => !/lost/i.test(words))).toEqual([]);
  await page.close();
});

test.describe("the rules and the words", () => {
  const point = (method: CostPoint["method"], n: number, milliseconds: number): CostPoint => ({
    method,
    n,
    heads: 2,
    milliseconds,
    shortest: 0.9 * milliseconds,
    longest: 1.25 * milliseconds,
    runs: 3,
    bytes: 1000,
  });

  test("a ratio is told with its spread, and against the faster softmax attention", () => {
    const measured = (softmax: number, fastrpb: number) => ({
      points: [point("softmax", 4096, softmax), point("fastrpb", 4096, fastrpb)],
      ends: {},
      over: true,
    });
    const start = "At N\u00a0=\u00a04,096 linear attention with FastRPB took";
    expect(headline(measured(40, 1), 4096)).toBe(`${start} 40 times less time than softmax attention (29 to 56), here.`);
    expect(headline(measured(1, 40), 4096)).toBe(`${start} 40 times as much time as softmax attention (29 to 56), here.`);
    expect(headline(measured(1, 1.1), 4096), "it may be less or more").toBe(`${start} 1.1 times as much time as softmax attention, here.`);
    const hopper = { vendor: "nvidia", architecture: "hopper" } as GPUAdapterInfo;
    const known = knownSoftmax(hopper, 8, 4096);
    expect(headline(measured(2.62, 0.131), 4096, known)).toBe(
      `${start} 10 times less time than PyTorch’s softmax attention takes on such a card (1.31\u00a0ms); ours took 2.62\u00a0ms, here.`,
    );
    expect(headline(measured(1.2, 0.1), 4096, known), "ours is the faster one").toBe(
      `${start} 12 times less time than softmax attention (8.6 to 17), here.`,
    );
    expect(knownSoftmax(hopper, 4, 4096)).toBeUndefined();
    expect(knownSoftmax(undefined, 8, 4096)).toBeUndefined();
  });

  test("a ratio is told as people say it", () => {
    expect(comparison(1 / 83.4)).toBe("83 times less time than softmax attention");
    expect(comparison(1 / 1234)).toBe("1,234 times less time than softmax attention");
    expect(comparison(1 / 9.97)).toBe("10 times less time than softmax attention");
    expect(comparison(1 / 4.21)).toBe("4.2 times less time than softmax attention");
    expect(comparison(0.771)).toBe("1.3 times less time than softmax attention");
    expect(comparison(1.02)).toBe("as much time as softmax attention (to 5\u00a0%)");
    expect(comparison(1.34)).toBe("1.3 times as much time as softmax attention");
    expect(comparison(12.34)).toBe("12 times as much time as softmax attention");
  });

  test("where softmax attention was not measured, the headline says why", () => {
    const points = [point("softmax", 256, 20), point("fastrpb", 256, 10), point("fastrpb", 512, 12.5)];
    const measured = { points, ends: { softmax: { why: "time", n: 512, budget: 4000 } }, over: true } as const;
    expect(tellingLength(points)).toBe(256);
    expect(headline(measured, 512)).toBe(
      "At N\u00a0=\u00a0512 linear attention with FastRPB took 12.5\u00a0ms, here. Softmax attention was measured up to N\u00a0=\u00a0256: " +
        "the next length would take longer than the 4\u00a0s that this page gives a run.",
    );
    expect(reach(measured, "fastrpb")).toBe("measured up to N\u00a0=\u00a0512, and was stopped then.");
    expect(reach({ ...measured, over: false }, "fastrpb")).toBe("measured up to N\u00a0=\u00a0512 so far.");
    expect(reach(measured, "linear")).toBe("not measured: it was stopped before.");
  });

  test("the file quotes what has commas", () => {
    expect(csv([point("softmax", 256, 0.25)], { backend: "WebGPU", adapter: 'a, "b"' })).toBe(
      "method,n,heads,head_dim,milliseconds,shortest,longest,runs,bytes,backend,adapter\r\n" +
        'softmax,256,2,64,0.25,0.225,0.3125,3,1000,WebGPU,"a, ""b"""\r\n',
    );
  });

  test("a method ends where its time, its tensors or the lengths do", () => {
    const race = new Race(1000, { bytes: 2 ** 21, ofDevice: true }, 1);
    expect(race.endBefore("softmax", 256), "the shortest is always measured").toBeUndefined();
    race.took("softmax", 256, 250);
    race.took("linear", 256, 250);
    expect(race.endBefore("softmax", 512)).toBeUndefined();
    race.took("softmax", 512, 251);
    expect(race.endBefore("softmax", 1024)).toEqual({ why: "time", n: 1024, budget: 1000 });
    expect(race.endBefore("softmax", 1024), "told once").toBeUndefined();
    expect(race.runs("softmax")).toBe(false);
    race.took("linear", 8192, 1);
    expect(race.endBefore("linear", 8192)).toBeUndefined();
    expect(race.endBefore("linear", 16_384)).toEqual({ why: "size", n: 16_384, bytes: 2 ** 21, ofDevice: true });
    const long = new Race(1000, { bytes: 2 ** 28, ofDevice: false }, 1);
    expect(long.endBefore("fastrpb", 2 ** 20)).toBeUndefined();
    expect(long.endBefore("fastrpb", 2 ** 21)).toEqual({ why: "longest", n: 2 ** 21 });
  });

  test("the progress never goes back, and ends near its end", () => {
    const race = new Race(1000, { bytes: 2 ** 28, ofDevice: false }, 1);
    const shown = [race.fraction(0)];
    let elapsed = 0;
    for (let n = 256; n <= 4096; n *= 2) {
      for (const method of ["softmax", "linear", "fastrpb"] as const) {
        if (race.endBefore(method, n) ?? !race.runs(method)) continue;
        elapsed += 300;
        race.took(method, n, method === "softmax" ? n ** 2 / 4096 : n / 4);
        shown.push(race.fraction(elapsed));
      }
    }
    expect(shown).toEqual([...shown].sort((a, b) => a - b));
    expect(shown.at(-1)).toBeGreaterThan(0.9);
    expect(shown.at(-1)).toBeLessThanOrEqual(1);
  });

  test("batches grow until the clock can tell them", () => {
    let size = 1;
    const run = 0.02;
    for (let rounds = 0; largerBatch(size, size * run) !== size; rounds++) {
      expect(rounds).toBeLessThan(10);
      size = largerBatch(size, size * run);
    }
    expect(size * run).toBeGreaterThanOrEqual(40);
    expect(largerBatch(3, 60)).toBe(3);
    expect(largerBatch(1, 0)).toBe(8);
  });
});
