/** The section "One run, inside" of the demo. */
import { expect, type Locator, type Page, test } from "playwright/test";
import {
  ADDRESS,
  apart,
  BOUND,
  colours,
  type Demo,
  expectFits,
  expectNoOverflow,
  newDemo,
  PATIENCE,
  type Picture,
  pictureOf,
  pixel,
  recordGpu,
  WIDTHS,
} from "./demo-page.ts";

/** Opens the page and waits until its first run has ended. */
async function open({ page }: Demo, query = ""): Promise<void> {
  await goto(page, query);
  await ended(page);
}

/** To the section: it runs when somebody comes to look. */
async function goto(page: Page, query: string): Promise<void> {
  await page.goto(`${ADDRESS}${query}`);
  await page.locator("#inside").scrollIntoViewIfNeeded();
}

/** Run cannot be pressed from the start of a run to its end. */
async function ended(page: Page, state = "done"): Promise<void> {
  await expect(page.getByTestId("run")).toBeEnabled({ timeout: PATIENCE });
  await expect(page.getByTestId("cancel")).toBeDisabled();
  await expect(page.locator("html")).toHaveAttribute("data-state", state);
}

/** Presses Run, and waits until that run has ended. */
async function run(page: Page): Promise<void> {
  await page.getByTestId("run").click();
  await ended(page);
}

async function expectPass(page: Page): Promise<void> {
  await expect(page.getByTestId("verdict")).toHaveAttribute("data-verdict", "pass");
  await expect(page.getByTestId("verdict")).toContainText("Pass");
  await expect(page.getByTestId("banner")).toBeHidden();
  const error = Number((await page.getByTestId("error").getAttribute("data-value")) || NaN);
  expect(error).toBeGreaterThan(0);
  expect(error).toBeLessThan(BOUND);
  await expect(page.getByTestId("error")).toHaveText(/^\d(\.\d)?\s×\s10⁻[⁰¹²³⁴⁵⁶⁷⁸⁹]+$/);
}

/** Moves the slider to a length; `undefined`: as far as it goes. */
async function setLength(page: Page, length?: number): Promise<void> {
  await page.getByTestId("length").evaluate((slider: HTMLInputElement, wanted) => {
    const shown = document.querySelector('[data-testid="length-value"]')!;
    for (let index = Number(slider.max); index >= 0; index--) {
      slider.value = String(index);
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      if (wanted === undefined || shown.textContent === wanted) return;
    }
    throw new Error(`The slider has no ${wanted}.`);
  }, length?.toLocaleString("en"));
}

function choose(page: Page, group: "source" | "heads", value: string): Promise<void> {
  // The radio button itself lies invisible under its label.
  return page
    .getByTestId(group)
    .locator("label", { has: page.locator(`input[value="${value}"]`) })
    .click();
}

async function longest(page: Page, heads: number): Promise<number> {
  await choose(page, "heads", String(heads));
  await setLength(page);
  return Number((await page.getByTestId("length-value").textContent())!.replaceAll(",", ""));
}

const UNITS = ["B", "KiB", "MiB", "GiB"];

function parseBytes(words: string): number {
  const [value, unit] = words.replaceAll(",", "").split(/\s/) as [string, string];
  expect(UNITS, words).toContain(unit);
  return Number(value) * 1024 ** UNITS.indexOf(unit);
}

function parseMilliseconds(words: string): number {
  const [, value, unit] = /^([\d.,]+)\s(ms|s)$/.exec(words)!;
  return Number(value!.replaceAll(",", "")) * (unit === "s" ? 1000 : 1);
}

async function cells(rows: Locator): Promise<string[][]> {
  return rows.evaluateAll((all) => all.map((row) => [...(row as HTMLTableRowElement).cells].map((cell) => cell.textContent)));
}

/** Presses Cancel the moment that the page tells of a stage of that state; whoever looks from outside may be too late. */
function cancelOnce(state: string): void {
  const observer = new MutationObserver(() => {
    const stage = document.querySelector('[data-testid="status"]')!.textContent.includes(": ");
    if (document.documentElement.dataset["state"] !== state || !stage) return;
    observer.disconnect();
    document.querySelector<HTMLButtonElement>('[data-testid="cancel"]')!.click();
  });
  observer.observe(document.documentElement, { attributeFilter: ["data-state"] });
}

async function expectCancelled(page: Page): Promise<void> {
  await ended(page);
  await expect(page.getByTestId("status")).toHaveText("Cancelled.");
  await expect(page.getByTestId("verdict")).toHaveAttribute("data-verdict", "none");
  await expect(page.getByTestId("error")).toHaveAttribute("data-value", "");
  await expect(page.getByTestId("banner")).toBeHidden();
}

test.describe("on WebGPU", () => {
  let demo: Demo;

  test.beforeAll(async ({ browser }) => {
    demo = await newDemo(browser, (page) => page.addInitScript(recordGpu));
    await open(demo);
  });

  test.afterEach(() => {
    expect(demo.complaints.splice(0), "no errors, no warnings, no other hosts").toEqual([]);
  });

  test.afterAll(async () => {
    await demo.page.close();
  });

  test("it loads, runs, and passes the check", async () => {
    const { page } = demo;
    await expect(page.locator("html")).toHaveAttribute("data-backend", "webgpu");
    await expect(page.getByTestId("backend")).toHaveText("WebGPU");
    await expect(page.getByTestId("adapter")).toHaveText(/[a-z]{2}/i);
    await expect(page.getByTestId("adapter")).not.toHaveText(/^none/);
    await expect(page.getByTestId("status")).toHaveText("Done: 784 tokens, 1 head, on WebGPU, checked on the CPU.");
    await expectPass(page);
  });

  test("the pictures show something, and the same on both sides", async () => {
    const { page } = demo;
    const gpu = await pictureOf(page, "output-gpu");
    const cpu = await pictureOf(page, "output-cpu");
    expect([gpu.width, gpu.height]).toEqual([512, 32]);
    expect(colours(gpu)).toBeGreaterThan(30);
    expect(colours(cpu)).toBeGreaterThan(30);
    expect(apart(gpu, cpu)).toBeLessThanOrEqual(6);
    expect(colours(await pictureOf(page, "bias-matrix"))).toBeGreaterThan(30);
    expect(colours(await pictureOf(page, "bias-curve"))).toBeGreaterThan(1);
    await expect(page.locator("#inside .placeholder:visible")).toHaveCount(0);
  });

  test("the table has a row for each dispatch, and its total", async () => {
    const { page } = demo;
    const table = page.getByTestId("dispatches");
    await expect(table).toBeVisible();
    const rows = await cells(table.locator("tbody tr"));
    const submitted = await page.evaluate(() => window.recordedSubmits!);
    const workgroups = rows.map(([, size]) =>
      size!
        .replaceAll(",", "")
        .split(" × ")
        .reduce((product, axis) => product * Number(axis), 1),
    );
    expect(submitted).toContainEqual(workgroups);
    expect(rows.length).toBeGreaterThan(2);
    for (const [label, , time, read, written] of rows) {
      expect(label).toMatch(/^(toeplitz|linear attention) /);
      expect(time).toMatch(/^([\d.,]+\s(ms|s)|≈\s0\sms|not timed)$/);
      expect(parseBytes(read!)).toBeGreaterThan(0);
      expect(parseBytes(written!)).toBeGreaterThan(0);
    }
    const totals = await cells(table.locator("tfoot tr"));
    expect(totals).toHaveLength(1);
    const [label, , , read, written] = totals[0]!;
    expect(label).toBe(`Total of ${rows.length}`);
    const sum = (column: number) => rows.reduce((all, row) => all + parseBytes(row[column]!), 0);
    // Each number is rounded to three digits.
    expect(Math.abs(parseBytes(read!) / sum(3) - 1)).toBeLessThan(0.02);
    expect(Math.abs(parseBytes(written!) / sum(4) - 1)).toBeLessThan(0.02);
    const moved = parseBytes((await page.getByTestId("bytes-moved").textContent())!);
    expect(Math.abs(moved / (sum(3) + sum(4)) - 1)).toBeLessThan(0.02);
    expect(parseBytes((await page.getByTestId("scratch").textContent())!)).toBeGreaterThan(0);
    expect(parseMilliseconds((await page.getByTestId("wall-time").textContent())!)).toBeGreaterThan(0);
  });

  test("it fits the screen", async () => {
    const { page } = demo;
    const light = await pictureOf(page, "output-gpu");
    await expectFits(page, "webgpu");
    await page.setViewportSize({ width: 1280, height: 640 });
    await expect(page.getByTestId("run"), "the form's buttons stay in sight").toBeInViewport({ ratio: 1 });
    await page.setViewportSize({ width: 1280, height: 800 });
    // A theme changes what the zero looks like; going back draws what was there before.
    await page.emulateMedia({ colorScheme: "dark" });
    await expect.poll(async () => apart(await pictureOf(page, "output-gpu"), light)).toBeGreaterThan(100);
    await page.emulateMedia({ colorScheme: "light" });
    await expect.poll(async () => apart(await pictureOf(page, "output-gpu"), light)).toBe(0);
  });

  test("it takes the novel, other lengths and more heads", async () => {
    const { page } = demo;
    const before = await pictureOf(page, "output-gpu");
    await choose(page, "source", "novel");
    await setLength(page, 4096);
    await choose(page, "heads", "4");
    await expect(page.getByTestId("length-value")).toHaveText("4,096");
    await expect(page.locator("html")).toHaveClass(/stale/);
    await run(page);
    await expect(page.locator("html")).not.toHaveClass(/stale/);
    await expect(page.getByTestId("status")).toHaveText("Done: 4,096 tokens, 4 heads, on WebGPU, checked on the CPU.");
    await expectPass(page);
    const gpu = await pictureOf(page, "output-gpu");
    expect(colours(gpu)).toBeGreaterThan(30);
    expect(apart(gpu, await pictureOf(page, "output-cpu"))).toBeLessThanOrEqual(6);
    expect(apart(gpu, before)).toBeGreaterThan(50);
    await page.getByTestId("head").selectOption("3");
    expect(apart(await pictureOf(page, "output-gpu"), gpu), "another head looks different").toBeGreaterThan(50);
    await expect(page.locator("#closer-novel")).toContainText("Call me Ishmael");
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 800 });
      await expectNoOverflow(page, `novel, ${width} px`);
    }
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  test("the slider goes to a million tokens", async () => {
    const { page } = demo;
    expect(await longest(page, 8)).toBeGreaterThanOrEqual(65_536);
    expect(await longest(page, 4)).toBeGreaterThanOrEqual(65_536);
    expect(await longest(page, 1)).toBe(1_048_576);
  });

  test("cancelling the check, or the run, leaves a page that works", async () => {
    const { page } = demo;
    await choose(page, "source", "digits");
    await choose(page, "heads", "1");
    await setLength(page, 784);

    await page.evaluate(cancelOnce, "checking");
    await page.getByTestId("run").click();
    await expectCancelled(page);
    expect(colours(await pictureOf(page, "output-gpu")), "the GPU had its result").toBeGreaterThan(30);
    await run(page);
    await expectPass(page);

    await page.evaluate(cancelOnce, "running");
    await page.getByTestId("run").click();
    await expectCancelled(page);
    await run(page);
    await expect(page.locator("html")).toHaveAttribute("data-backend", "webgpu");
    await expectPass(page);
  });

  test("a lost device is told, and the next run asks for another", async () => {
    const { page } = demo;
    await page.evaluate(() => window.recordedDevice!.destroy());
    await expect(page.getByTestId("banner")).toContainText("The GPU device was lost");
    await run(page);
    await expectPass(page);
  });

  test("the backend can be changed on the page", async () => {
    const { page } = demo;
    await page.getByTestId("backend-choice").selectOption("cpu");
    await expect(page.locator("html")).toHaveAttribute("data-backend", "cpu");
    await ended(page);
    await expect(page.getByTestId("backend")).toHaveText(/^CPU/);
    await expectPass(page);
    expect(colours(await pictureOf(page, "output-gpu")), "nothing is left of the GPU's run").toBe(0);
  });
});

test.describe("on the CPU", () => {
  let demo: Demo;

  test.beforeAll(async ({ browser }) => {
    demo = await newDemo(browser);
    await open(demo, "?backend=cpu");
  });

  test.afterEach(() => {
    expect(demo.complaints.splice(0), "no errors, no warnings, no other hosts").toEqual([]);
  });

  test.afterAll(async () => {
    await demo.page.close();
  });

  test("it loads, runs, and passes the check", async () => {
    const { page } = demo;
    await expect(page.locator("html")).toHaveAttribute("data-backend", "cpu");
    await expect(page.getByTestId("backend")).toHaveText(/^CPU/);
    await expect(page.getByTestId("adapter")).toHaveText("none: the CPU was chosen");
    await expect(page.getByTestId("status")).toHaveText("Done: 784 tokens, 1 head, on the CPU.");
    await expectPass(page);
    expect(parseMilliseconds((await page.getByTestId("wall-time").textContent())!)).toBeGreaterThan(0);
    await expect(page.getByTestId("dispatches")).toBeHidden();
    await expect(page.locator("#dispatches-note")).toContainText("The CPU backend has no dispatches");
  });

  test("the pictures show something", async () => {
    const { page } = demo;
    expect(colours(await pictureOf(page, "output-cpu"))).toBeGreaterThan(30);
    expect(colours(await pictureOf(page, "bias-matrix"))).toBeGreaterThan(30);
    await expect(page.locator("#output-gpu-placeholder")).toHaveText("No WebGPU in this run");
  });

  test("it takes the novel, other lengths and more heads", async () => {
    const { page } = demo;
    expect(await longest(page, 1)).toBeGreaterThanOrEqual(65_536);
    await choose(page, "source", "novel");
    await choose(page, "heads", "4");
    await setLength(page, 4096);
    await run(page);
    await expect(page.getByTestId("status")).toHaveText("Done: 4,096 tokens, 4 heads, on the CPU.");
    await expectPass(page);
  });

  test("the picture of the bias follows the curve", async () => {
    const { page } = demo;
    const pictures: Picture[] = [];
    for (const curve of ["decay", "window", "periodic", "back"]) {
      await page.getByTestId("curve").selectOption(curve);
      await run(page);
      await expectPass(page);
      const picture = await pictureOf(page, "bias-matrix");
      for (const other of pictures) expect(apart(picture, other), curve).toBeGreaterThan(50);
      pictures.push(picture);
      // A Toeplitz matrix is constant along its diagonals; 4,096 tokens share out evenly over 256 rows.
      for (const offset of [-200, -3, 0, 3, 200]) {
        const along = [0, 20, 50].map((step) => pixel(picture, Math.max(0, -offset) + step, Math.max(0, offset) + step));
        expect(along[1], `${curve}, ${offset}`).toEqual(along[0]);
        expect(along[2], `${curve}, ${offset}`).toEqual(along[0]);
      }
    }
    const [decay, , , back] = pictures as [Picture, Picture, Picture, Picture];
    expect(pixel(decay, 100, 102), "decay is symmetric").toEqual(pixel(decay, 102, 100));
    expect(pixel(back, 100, 102), "looking back leaves what is ahead at zero").toEqual(pixel(back, 0, 255));
    expect(pixel(back, 102, 100)).not.toEqual(pixel(back, 0, 255));
  });

  test("cancelling a long run leaves a page that works", async () => {
    const { page } = demo;
    await choose(page, "heads", "1");
    await setLength(page, 1_048_576);
    await page.getByTestId("run").click();
    await expect(page.locator("html")).toHaveAttribute("data-state", "running");
    await page.getByTestId("cancel").click();
    await expectCancelled(page);
    await choose(page, "source", "digits");
    await setLength(page, 256);
    await run(page);
    await expect(page.getByTestId("status")).toHaveText("Done: 256 tokens, 1 head, on the CPU.");
    await expectPass(page);
  });

  test("it fits the screen", async () => {
    await expectFits(demo.page, "cpu");
  });
});

const NO_WEBGPU: Readonly<Record<string, () => void>> = {
  "navigator.gpu": () => Object.defineProperty(Navigator.prototype, "gpu", { get: () => undefined }),
  "an adapter": () => {
    GPU.prototype.requestAdapter = () => Promise.resolve(null);
  },
};

for (const [missing, prepare] of Object.entries(NO_WEBGPU)) {
  test(`without ${missing} it falls back to the CPU, and says so`, async ({ browser }) => {
    const demo = await newDemo(browser, (page) => page.addInitScript(prepare));
    const { page, complaints } = demo;
    await open(demo);
    await expect(page.locator("html")).toHaveAttribute("data-backend", "cpu");
    await expect(page.getByTestId("backend-choice")).toHaveValue("auto");
    await expect(page.getByTestId("backend")).toHaveText(/^CPU/);
    await expect(page.getByTestId("adapter")).toHaveText("none: no WebGPU here");
    await expectPass(page);
    expect(colours(await pictureOf(page, "output-cpu"))).toBeGreaterThan(30);
    expect(complaints).toEqual([]);

    // Who insists on WebGPU is told why there is nothing, and what to do.
    await goto(page, "?backend=webgpu");
    await ended(page, "failed");
    const problem = page.getByTestId("banner");
    await expect(problem).toBeVisible();
    await expect(problem).toContainText("This browser offers no WebGPU here. Choose the backend “Automatic” or “CPU”.");
    await expect(page.getByTestId("verdict")).toHaveAttribute("data-verdict", "none");
    await expectFits(page, "problem");
    expect(complaints.splice(0).filter((words) => !/^error: .*there is no WebGPU adapter/.test(words))).toEqual([]);
    await page.getByTestId("backend-choice").selectOption("cpu");
    await expect(problem).toBeHidden();
    await ended(page);
    await expectPass(page);
    expect(complaints).toEqual([]);
    await page.close();
  });
}

test("without timestamp-query it says that it has no times, and shows wrong results for what they are", async ({ browser }) => {
  const demo = await newDemo(browser, (page) =>
    page.addInitScript(() => {
      const { has } = GPUSupportedFeatures.prototype;
      GPUSupportedFeatures.prototype.has = function (feature) {
        return feature !== "timestamp-query" && has.call(this, feature);
      };
      // One wrong float in what comes back from the GPU, off by a ten-thousandth of the output's largest.
      const { getMappedRange } = GPUBuffer.prototype;
      GPUBuffer.prototype.getMappedRange = function (...range) {
        const bytes = getMappedRange.apply(this, range);
        const floats = bytes.byteLength % 4 === 0 ? new Float32Array(bytes) : new Float32Array();
        if (this.usage & GPUBufferUsage.MAP_READ && floats.length >= 784 * 32) {
          floats[12_345]! += 1e-4 * floats.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        }
        return bytes;
      };
    }),
  );
  const { page, complaints } = demo;
  await open(demo);
  await expect(page.locator("html")).toHaveAttribute("data-backend", "webgpu");
  await expect(page.locator("#dispatches-note")).toContainText("No times of single dispatches: this device lacks timestamp-query.");
  const rows = await cells(page.getByTestId("dispatches").locator("tbody tr, tfoot tr"));
  expect(rows.length).toBeGreaterThan(3);
  expect(rows.map((row) => row[2])).toEqual(rows.map(() => "not timed"));
  expect(parseMilliseconds((await page.getByTestId("wall-time").textContent())!)).toBeGreaterThan(0);

  await expect(page.getByTestId("verdict")).toHaveAttribute("data-verdict", "fail");
  await expect(page.getByTestId("verdict")).toContainText("Fail");
  expect(Number(await page.getByTestId("error").getAttribute("data-value"))).toBeGreaterThan(BOUND);
  await expectFits(page, "fail");
  expect(complaints).toEqual([]);
  await page.close();
});

test("a CPU that reckons wrong does not pass either", async ({ browser }) => {
  const demo = await newDemo(browser, (page) =>
    page.route(/engine\.worker-.*\.js$/, async (route) => {
      const response = await route.fetch();
      // Only the FFT uses sines: the formula that it is compared with stays right.
      const body = `const sine = Math.sin; Math.sin = (angle) => 1.0001 * sine(angle);\n${await response.text()}`;
      await route.fulfill({ response, body });
    }),
  );
  const { page, complaints } = demo;
  await open(demo, "?backend=cpu");
  await expect(page.getByTestId("verdict")).toHaveAttribute("data-verdict", "fail");
  expect(Number(await page.getByTestId("error").getAttribute("data-value"))).toBeGreaterThan(BOUND);
  expect(complaints).toEqual([]);
  await page.close();
});
