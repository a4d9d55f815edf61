/** Of the demo: where the time of a run goes, and the code to use. */
import { join } from "node:path";
import { type Browser, expect, type Page, test } from "playwright/test";
import type * as biasModule from "../demo/bias.ts";
import type * as timelineModule from "../demo/sections/timeline.ts";
import type * as useModule from "../demo/sections/use.ts";
import type * as libraryModule from "../src/index.ts";
import { ADDRESS, type Demo, expectAccessible, expectNoOverflow, inEveryLook, newDemo, PATIENCE } from "./demo-page.ts";

const UNITS = ["B", "KiB", "MiB", "GiB"];

async function open(browser: Browser, query = "", prepare?: (page: Page) => Promise<unknown>): Promise<Demo> {
  const demo = await newDemo(browser, prepare);
  await demo.page.goto(`${ADDRESS}${query}`);
  await demo.page.locator("#inside").scrollIntoViewIfNeeded();
  await expect(demo.page.getByTestId("run")).toBeEnabled({ timeout: PATIENCE });
  await expect(demo.page.locator("html")).toHaveAttribute("data-state", "done");
  return demo;
}

function parseBytes(words: string): number {
  const [value, unit] = words.replaceAll(",", "").split(/\s/) as [string, string];
  expect(UNITS, words).toContain(unit);
  return Number(value) * 1024 ** UNITS.indexOf(unit);
}

interface TableRow {
  readonly label: string;
  readonly milliseconds: number | undefined;
  readonly moved: number;
  readonly read: number;
  readonly written: number;
  readonly share: string;
}

async function tableRows(page: Page): Promise<TableRow[]> {
  const rows = await page
    .getByTestId("dispatches")
    .locator("tbody tr")
    .evaluateAll((all) => all.map((row) => [...(row as HTMLTableRowElement).cells].map((cell) => cell.textContent)));
  return rows.map(([label, , time, read, written, share]) => {
    const [, value, unit] = /^([\d.,]+)\s(ms|s)$/.exec(time!) ?? [];
    const milliseconds = value === undefined ? undefined : Number(value.replaceAll(",", "")) * (unit === "s" ? 1000 : 1);
    const [readBytes, writtenBytes] = [parseBytes(read!), parseBytes(written!)];
    return { label: label!, milliseconds, read: readBytes, written: writtenBytes, moved: readBytes + writtenBytes, share: share! };
  });
}

interface Bar {
  readonly label: string;
  readonly words: string;
  readonly from: number;
  readonly to: number;
}

/** Every bar, in shares of the axis. */
function bars(page: Page): Promise<Bar[]> {
  return page
    .getByTestId("timeline")
    .locator("li")
    .evaluateAll((items) =>
      items.flatMap((item) => {
        const track = item.querySelector(".track")!.getBoundingClientRect();
        return [...item.querySelectorAll(".bar")].map((bar) => {
          const box = bar.getBoundingClientRect();
          const [from, to] = [(box.left - track.left) / track.width, (box.right - track.left) / track.width];
          const label = item.querySelector(".name")!.textContent.replace(/^\d+\. /, "");
          return { label, words: item.querySelector(".numbers")!.textContent, from, to };
        });
      }),
    );
}

/** The rows of the drawing of memory: a cell's words, by column; none where there is no bar. */
function bufferRows(page: Page): Promise<{ name: string; words: string[] }[]> {
  return page
    .getByTestId("program-buffers")
    .locator("tbody tr:not(.group)")
    .evaluateAll((rows) =>
      rows.map((row) => ({
        name: row.querySelector("th")!.textContent,
        words: [...row.querySelectorAll("td")].map((cell) => cell.querySelector(".unseen")?.textContent ?? ""),
      })),
    );
}

async function expectClean(page: Page, what: string): Promise<void> {
  await inEveryLook(page, [360, 1280, 2560], async (width, theme) => {
    await expectNoOverflow(page, `${what}, ${width} px, ${theme}`);
    for (const id of ["timeline-card", "use"]) {
      const path = join(test.info().project.outputDir, `demo-${what}-${id}-${width}-${theme}.png`);
      await page.locator(`#${id}`).screenshot({ path, animations: "disabled" });
    }
    for (const id of ["#inside", "#use"]) await expectAccessible(page, `${what}, ${id}, ${width} px, ${theme}`, id);
  });
}

test.describe("a run that is timed", () => {
  let demo: Demo;

  test.beforeAll(async ({ browser }) => {
    demo = await open(browser);
  });

  test.afterEach(() => {
    expect(demo.complaints.splice(0), "no errors, no warnings, no other hosts").toEqual([]);
  });

  test.afterAll(async () => {
    await demo.page.close();
  });

  test("a bar for each dispatch, as long as its time, one after the other", async () => {
    const { page } = demo;
    const rows = await tableRows(page);
    const drawn = await bars(page);
    expect(drawn.map(({ label }) => label)).toEqual(rows.map(({ label }) => label));
    await expect(page.getByTestId("timeline-note")).toContainText("by the GPU’s clock");
    const whole = rows.reduce((all, { milliseconds }) => all + milliseconds!, 0);
    let before = 0;
    for (const [index, { from, to, words }] of drawn.entries()) {
      const { milliseconds, moved } = rows[index]!;
      expect(Math.abs(from - before / whole)).toBeLessThan(0.02);
      expect(Math.abs(to - from - milliseconds! / whole)).toBeLessThan(0.02);
      before += milliseconds!;
      const [, movedWords] = /^.*?s ([\d.,]+\s[KMG]?i?B) /.exec(words)!;
      expect(Math.abs(parseBytes(movedWords!) / moved - 1)).toBeLessThan(0.02);
    }
  });

  test("shares of the copy bandwidth are bytes by time by that of a copy", async () => {
    const { page } = demo;
    const note = (await page.getByTestId("timeline-note").textContent())!;
    const bandwidth = parseBytes(/A plain copy moves ([\d.,]+\s[KMG]iB) a second/.exec(note)![1]!);
    expect(bandwidth).toBeGreaterThan(2 ** 26);
    const drawn = await bars(page);
    for (const [index, { milliseconds, moved, share }] of (await tableRows(page)).entries()) {
      const expected = (100 * moved) / (milliseconds! / 1000) / bandwidth;
      expect(drawn[index]!.words).toContain(`${share} of copy`);
      if (share.startsWith("<")) expect(expected).toBeLessThan(0.0105);
      else expect(Math.abs(Number(share.replace(/\s%$/, "")) / expected - 1), share).toBeLessThan(0.1);
    }
    await expect(page.getByTestId("dispatches").locator("tfoot td").last()).toHaveText(/^(<\s)?[\d.]+\s%$/);
  });

  test("the drawing of memory agrees with the table", async () => {
    const { page } = demo;
    const rows = await tableRows(page);
    const buffers = await bufferRows(page);
    expect(buffers.map(({ name }) => name.split(" ")[0])).toEqual(expect.arrayContaining(["q", "k", "v", "spectrum", "table", "states", "out"]));
    const amounts = (verb: string, column: number) =>
      buffers.reduce((all, { words }) => {
        const [, amount] = new RegExp(`${verb} ([\\d.,]+\\s[KMG]?i?B)`).exec(words[column]!) ?? [];
        return all + (amount === undefined ? 0 : parseBytes(amount));
      }, 0);
    for (const [column, { read, written }] of rows.entries()) {
      expect(Math.abs(amounts("reads", column) / read - 1)).toBeLessThan(0.02);
      expect(Math.abs(amounts("writes", column) / written - 1)).toBeLessThan(0.02);
    }
    const foot = page.getByTestId("program-buffers").locator("tfoot tr");
    const unit = /^In use, (\w+)$/.exec((await foot.locator("th").textContent())!)![1]!;
    for (const [column, words] of (await foot.locator("td").allTextContents()).entries()) {
      const alive = buffers.filter((buffer) => buffer.words[column] !== "");
      const expected = alive.reduce((all, { name }) => all + parseBytes(name.slice(name.search(/[\d.,]+\s[KMG]?i?B$/))), 0);
      expect(Math.abs(parseBytes(`${words} ${unit}`) / expected - 1)).toBeLessThan(0.02);
    }
  });

  test("it fits the screen, and everyone can read it", async () => {
    await expectClean(demo.page, "inside");
  });

  test("the code of the run is what ran", async ({ browser }) => {
    const { page } = demo;
    const plain = await browser.newPage();
    await plain.goto("/e2e/blank.html");
    await page.locator("#length").evaluate((slider: HTMLInputElement) => {
      slider.value = "0";
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    });
    for (const [heads, curve] of [
      [1, "decay"],
      [4, "decay"],
      [4, "window"],
      [4, "periodic"],
      [1, "back"],
    ] as const) {
      await page
        .getByTestId("heads")
        .locator("label", { has: page.locator(`input[value="${heads}"]`) })
        .click();
      await page.getByTestId("curve").selectOption(curve);
      const code = (await page.getByTestId("use-run").textContent())!;
      expect(code).toContain(`heads: ${heads}, length: 256,`);
      const { shape, finite, sameWeights } = await plain.evaluate(
        async ({ code, heads, curve }) => {
          const [library, { biasWeights }] = (await Promise.all([import("/src/index.ts" as string), import("/demo/bias.ts" as string)])) as [
            typeof libraryModule,
            typeof biasModule,
          ];
          const body = `${code.replace(/^import (\{.*\}) from "fastrpb";/, "const $1 = library;")}\nruntime.dispose(); return { weights, out, result };`;
          const run = new Function("library", "q", "k", "v", `return (async () => { ${body} })();`) as (
            ...values: unknown[]
          ) => Promise<{ weights: Float32Array; out: { shape: readonly number[] }; result: Float32Array }>;
          const stand = () => Float32Array.from({ length: heads * 256 * 32 }, (_, index) => Math.sin(index));
          const { weights, out, result } = await run(library, stand(), stand(), stand());
          const expected = biasWeights({ source: "digits", curve, heads, length: 256 });
          return {
            shape: [...out.shape],
            finite: result.length === heads * 256 * 32 && result.every(Number.isFinite) && result.some((value) => value !== 0),
            sameWeights: weights.length === expected.length && weights.every((weight, index) => weight === expected[index]),
          };
        },
        { code, heads, curve },
      );
      expect({ shape, finite, sameWeights }, code).toEqual({ shape: [1, heads, 256, 32], finite: true, sameWeights: true });
    }
    await plain.close();
  });

  test("the code of the product runs, in one dimension and in two", async ({ browser }) => {
    const { page } = demo;
    await expect(page.getByTestId("use-product")).toContainText("runtime.toeplitz(");
    const shown = (await page.getByTestId("use-product").textContent())!;
    // The scene that the page starts with may be a sequence or a grid.
    const [, length] = /length: (\d+)/.exec(shown) ?? [];
    const [, height, width] = /grid: \[(\d+), (\d+)\]/.exec(shown) ?? [];
    const sizes = length === undefined ? [Number(height), Number(width)] : [Number(length)];
    const product = (values: readonly number[]) => values.reduce((all, value) => all * value, 1);
    const others = await page.evaluate(async () => {
      const { UseSection } = (await import("/demo/sections/use.ts" as string)) as typeof useModule;
      const use = new UseSection();
      const code = document.querySelector('[data-testid="use-product"]')!;
      const before = code.textContent;
      use.setProduct({ grid: [7, 5] }, 3);
      const after = code.textContent;
      use.setRun({ source: "novel", digit: 0, curve: "window", heads: 8, length: 16384 });
      const long = document.querySelector('[data-testid="use-run"]')!.textContent;
      return { before, after, long };
    });
    expect(others.before).toBe(shown);
    expect(others.long).toContain("await attention.runAsync(");
    const plain = await browser.newPage();
    await plain.goto("/e2e/blank.html");
    for (const [code, weights, shape] of [
      [shown, product(sizes.map((size) => 2 * size - 1)), [1, 1, product(sizes), 1]],
      [others.after, 13 * 9, [1, 1, 35, 3]],
    ] as const) {
      const found = await plain.evaluate(
        async ({ code, weights, values }) => {
          const library = (await import("/src/index.ts" as string)) as typeof libraryModule;
          const body = `${code.replace(/^import (\{.*\}) from "fastrpb";/, "const $1 = library;")}\nruntime.dispose(); return { out, result };`;
          const run = new Function("library", "weights", "v", `return (async () => { ${body} })();`) as (
            ...values: unknown[]
          ) => Promise<{ out: { shape: readonly number[] }; result: Float32Array }>;
          const { out, result } = await run(library, new Float32Array(weights).fill(0.5), new Float32Array(values).fill(1));
          return { shape: [...out.shape], values: [...new Set(result.map((value) => Math.round(1000 * value)))] };
        },
        { code, weights, values: shape[2] * shape[3] },
      );
      // Half of every token, summed.
      expect(found, code).toEqual({ shape: [...shape], values: [500 * shape[2]] });
    }
    await plain.close();
  });

  test("the code can be copied, or is selected where that is refused", async () => {
    const { page } = demo;
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    for (const id of ["use-run", "use-product"]) {
      await page.getByTestId(`${id}-copy`).click();
      await expect(page.locator(`#${id}-status`)).toHaveText("Copied.");
      expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await page.getByTestId(id).textContent());
    }
    await page.evaluate(() => {
      Clipboard.prototype.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    await page.getByTestId("use-run-copy").click();
    await expect(page.locator("#use-run-status")).toHaveText(/^Press (Ctrl\+|⌘)C\.$/);
    const selected = await page.evaluate(() => getSelection()!.toString().trim());
    expect(selected).toBe((await page.getByTestId("use-run").textContent())!.trim());
  });

  test("times of 0, shares above 100 %, and a plan that came out otherwise", async () => {
    const { page } = demo;
    await page.evaluate(async () => {
      const { Timeline } = (await import("/demo/sections/timeline.ts" as string)) as typeof timelineModule;
      const dispatch = (label: string, milliseconds: number | undefined) => ({
        label,
        milliseconds,
        workgroups: [1, 1, 1] as const,
        workgroupSize: [1, 1, 1] as const,
        bytesRead: 3e6,
        bytesWritten: 1e6,
        flops: 0,
        estimatedSeconds: 0,
      });
      const cost = { dispatches: 2, bytesMoved: 8e6, bytesMinimum: 8e6, flops: 0, workspaceBytes: 0 };
      const result = { output: new Float32Array(), milliseconds: 1, warm: true, cost, copyBandwidth: 1e9, program: undefined };
      const recipe = { source: "digits", digit: 0, curve: "decay", heads: 1, length: 784 } as const;
      const timeline = new Timeline();
      timeline.show({ ...result, dispatches: [dispatch("toeplitz a", 0), dispatch("linear attention b", 2)] }, recipe);
      document.documentElement.dataset["first"] = document.querySelector("#timeline-card")!.textContent;
      timeline.show({ ...result, dispatches: [dispatch("toeplitz a", 0), dispatch("toeplitz a", 0)] }, recipe);
    });
    const first = (await page.locator("html").getAttribute("data-first"))!;
    expect(first).toMatch(/1\. toeplitz a≈\s0\sms 3\.81\sMiB +2\. linear/);
    expect(first).toMatch(/2\sms 3\.81\sMiB 200\s% of copy/);
    expect(first).toContain("Above 100 %: from caches.");
    expect(first).toContain("Not available");
    await expect(page.getByTestId("program-buffers")).toBeHidden();
    await expect(page.getByTestId("timeline-note")).toContainText("the browser rounded every time to 0");
    await expect(page.getByTestId("timeline").locator("li")).toHaveCount(1);
    await expect(page.getByTestId("timeline").locator("li .name")).toContainText("in 2 dispatches");
    expect((await bars(page)).map(({ from, to }) => [from, to].map((share) => Math.round(100 * share)))).toEqual([
      [0, 50],
      [50, 100],
    ]);
  });
});

test("a run that takes long is not repeated", async ({ browser }) => {
  const demo = await open(browser, "", (page) =>
    page.addInitScript(() => {
      const { onSubmittedWorkDone } = GPUQueue.prototype;
      GPUQueue.prototype.onSubmittedWorkDone = async function () {
        await onSubmittedWorkDone.call(this);
        await new Promise((resolve) => setTimeout(resolve, 600));
      };
    }),
  );
  const { page, complaints } = demo;
  await expect(page.locator("#dispatches-note")).toContainText("Not timed: a run this long is not repeated to time its parts.");
  await expect(page.getByTestId("timeline-note")).toContainText("Bars are as long as the bytes that a dispatch moves");
  const rows = await tableRows(page);
  expect(rows.map(({ milliseconds, share }) => [milliseconds, share])).toEqual(rows.map(() => [undefined, "–"]));
  const whole = rows.reduce((all, { moved }) => all + moved, 0);
  for (const [index, { from, to }] of (await bars(page)).entries()) expect(Math.abs(to - from - rows[index]!.moved / whole)).toBeLessThan(0.02);
  expect(complaints).toEqual([]);
  await page.close();
});

test("a device without timestamps has bars of bytes", async ({ browser }) => {
  const { page, complaints } = await open(browser, "", (page) =>
    page.addInitScript(() => {
      const features = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "features")!.get!;
      Object.defineProperty(GPUAdapter.prototype, "features", {
        get(this: GPUAdapter) {
          return new Set([...(features.call(this) as Set<string>)].filter((feature) => feature !== "timestamp-query"));
        },
      });
    }),
  );
  await expect(page.getByTestId("timeline-note")).toContainText("this device does not time single dispatches");
  await expect(page.getByTestId("timeline").locator("li")).not.toHaveCount(0);
  await expect(page.getByTestId("program-buffers")).toBeVisible();
  await expect(page.locator("#dispatches-note")).toContainText("this device lacks timestamp-query");
  expect(complaints).toEqual([]);
  await page.close();
});

test("on the CPU nothing is drawn, and the page says why", async ({ browser }) => {
  const { page, complaints } = await open(browser, "?backend=cpu");
  await expect(page.getByTestId("timeline-note")).toHaveText("The CPU backend has no dispatches, so nothing is drawn here.");
  await expect(page.getByTestId("timeline")).toBeHidden();
  await expect(page.getByTestId("program-buffers")).toBeHidden();
  await expect(page.getByTestId("verdict")).toContainText("64 rows, against the formula");
  await expectClean(page, "inside-cpu");
  expect(complaints).toEqual([]);
  await page.close();
});
