/** The demo as a whole: what every section does on both backends, how it bears losses, and what it is to load, to read and to look at. */
import { brotliCompressSync } from "node:zlib";
import { expect, type Page, test } from "playwright/test";
import {
  apart,
  colours,
  type Demo,
  expectAccessible,
  expectFits,
  inEveryLook,
  newDemo,
  openPage,
  PATIENCE,
  type Picture,
  pictureOf,
  recordGpu,
  recordShifts,
} from "./demo-page.ts";

const LARGEST_CODE = 150_000;

function waitForRuns(page: Page, more: number): Promise<void> {
  return expect
    .poll(() => page.locator("#explore").evaluate((section) => Number((section as HTMLElement).dataset["runs"] ?? 0)), { timeout: PATIENCE })
    .toBeGreaterThanOrEqual(more);
}

async function runs(page: Page): Promise<number> {
  return page.locator("#explore").evaluate((section) => Number((section as HTMLElement).dataset["runs"] ?? 0));
}

/** Does something, and waits until the explorer has shown what comes of it. */
async function after(page: Page, what: () => Promise<unknown>): Promise<void> {
  const before = await runs(page);
  await what();
  await waitForRuns(page, before + 1);
  // Nothing that came later is on its way.
  await expect(page.getByTestId("explore-status")).toContainText("from curve to result", { timeout: PATIENCE });
}

function scene(page: Page, name: string): Promise<void> {
  return page
    .getByTestId("explore-scene")
    .locator("label", { has: page.locator(`input[value="${name}"]`) })
    .click();
}

/** Draws a line through points, as shares of the canvas. */
async function drag(page: Page, points: readonly (readonly [x: number, y: number])[]): Promise<void> {
  const canvas = page.getByTestId("explore-curve");
  await canvas.scrollIntoViewIfNeeded();
  const box = (await canvas.boundingBox())!;
  const at = ([x, y]: readonly [number, number]) => [box.x + x * box.width, box.y + y * box.height] as const;
  await page.mouse.move(...at(points[0]!));
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...at(point), { steps: 8 });
  await page.mouse.up();
}

/** One second of a sine, as a WAV file. */
function wave(): Buffer {
  const rate = 8000;
  const file = Buffer.alloc(44 + 2 * rate);
  file.write("RIFF", 0);
  file.writeUInt32LE(36 + 2 * rate, 4);
  file.write("WAVEfmt ", 8);
  for (const [offset, value] of [
    [16, 16],
    [24, rate],
    [28, 2 * rate],
    [40, 2 * rate],
  ] as const)
    file.writeUInt32LE(value, offset);
  for (const [offset, value] of [
    [20, 1],
    [22, 1],
    [32, 2],
    [34, 16],
  ] as const)
    file.writeUInt16LE(value, offset);
  file.write("data", 36);
  for (let n = 0; n < rate; n++) file.writeInt16LE(Math.round(20_000 * Math.sin((2 * Math.PI * 440 * n) / rate)), 44 + 2 * n);
  return file;
}

for (const backend of ["webgpu", "cpu"] as const) {
  test.describe(`on ${backend}`, () => {
    let demo: Demo;

    test.beforeAll(async ({ browser }) => {
      demo = await newDemo(browser, async (page) => {
        await page.addInitScript(recordShifts);
        if (backend === "webgpu") await page.addInitScript(recordGpu);
      });
      await openPage(demo, backend === "cpu" ? "?backend=cpu" : "");
      await waitForRuns(demo.page, 1);
    });

    test.afterEach(() => {
      expect(demo.complaints.splice(0), "no errors, no warnings, no other hosts").toEqual([]);
    });

    test.afterAll(async () => {
      await demo.page.close();
    });

    test("a curve that is drawn changes matrix, spectrum and output", async () => {
      const { page } = demo;
      await after(page, () => page.getByTestId("explore-preset").selectOption("decay"));
      const ids = ["explore-matrix", "explore-spectrum", "explore-digit-output"];
      const pictures = async () => Promise.all(ids.map((id) => pictureOf(page, id)));
      const before = await pictures();
      expect(colours(before[2]!)).toBeGreaterThan(10);
      await after(page, () =>
        drag(page, [
          [0.2, 0.5],
          [0.5, 0.9],
          [0.8, 0.2],
        ]),
      );
      await expect(page.getByTestId("explore-preset")).toHaveValue("drawn");
      (await pictures()).forEach((picture, index) => expect(apart(picture, before[index]!), ids[index]).toBeGreaterThan(20));
      const where = backend === "webgpu" ? "on WebGPU" : "on the CPU";
      await expect(page.getByTestId("explore-status")).toHaveText(new RegExp(`^784 tokens, 1,567 weights: .* from curve to result, ${where}\\.$`));
    });

    test("a weight of 1 at offset 0 and none elsewhere gives the digit back", async () => {
      const { page } = demo;
      // Flat zero, then one weight by the keys.
      await after(page, () =>
        drag(page, [
          [0.001, 0.5],
          [0.999, 0.5],
        ]),
      );
      const canvas = page.getByTestId("explore-curve");
      await canvas.focus();
      await canvas.press("Home");
      await expect(canvas).toHaveAttribute("aria-valuetext", "offset -84: weight 0");
      for (let step = 0; step < 8; step++) await canvas.press("Shift+ArrowRight");
      for (let step = 0; step < 4; step++) await canvas.press("ArrowRight");
      await expect(canvas).toHaveAttribute("aria-valuetext", "offset 0: weight 0");
      await after(page, () => canvas.press("ArrowUp"));
      await expect(canvas).toHaveAttribute("aria-valuenow", "0.10");
      const label = await page.getByTestId("explore-digit-output").getAttribute("aria-label");
      expect(label, "the weights sum to 1, so ink comes back as it was").toMatch(/from −1 to 1$/);
      const [ink, output] = [await pictureOf(page, "explore-digit-input"), await pictureOf(page, "explore-digit-output")];
      for (let index = 0; index < 784; index++) {
        const dark = ink.pixels[4 * index]! < 100;
        const paper = ink.pixels[4 * index]! > 240;
        if (dark) expect(output.pixels[4 * index + 2], `pixel ${index}`).toBeLessThan(120);
        if (paper) expect(output.pixels[4 * index + 2], `pixel ${index}`).toBeGreaterThan(200);
      }
    });

    test("every preset has its own matrix, also over the plane", async () => {
      const { page } = demo;
      const pictures: Picture[] = [];
      for (const preset of ["decay", "window", "periodic", "back"]) {
        await after(page, () => page.getByTestId("explore-preset").selectOption(preset));
        const picture = await pictureOf(page, "explore-matrix");
        for (const other of pictures) expect(apart(picture, other), preset).toBeGreaterThan(50);
        pictures.push(picture);
      }
      await after(page, () => page.getByTestId("explore-preset").selectOption("distance"));
      await expect(page.getByTestId("explore-status")).toContainText("784 tokens, 3,025 weights");
      expect(colours(await pictureOf(page, "explore-spectrum"))).toBeGreaterThan(20);
      const before = await pictureOf(page, "explore-digit-output");
      await after(page, () =>
        drag(page, [
          [0.55, 0.1],
          [0.9, 0.9],
        ]),
      );
      expect(apart(await pictureOf(page, "explore-digit-output"), before)).toBeGreaterThan(20);
      await after(page, () => page.getByTestId("explore-digit").selectOption("7"));
    });

    test("text: letters are found through the weights", async () => {
      const { page } = demo;
      await after(page, () => scene(page, "text"));
      await after(page, () => page.getByTestId("explore-preset").selectOption("window"));
      await after(page, () => page.getByTestId("explore-words").fill("abcabcab xyz"));
      await after(page, () => page.getByTestId("explore-letter").fill("b"));
      await expect(page.locator("#explore-text-note")).toContainText("“b” (underlined, 3 of 12)");
      await expect(page.getByTestId("explore-text-output")).toHaveText("abcabcab xyz");
      await expect(page.locator("#explore-text-output .hit")).toHaveText(["b", "b", "b"]);
      await after(page, () => page.getByTestId("explore-letter").fill("q"));
      await expect(page.locator("#explore-text-note")).toContainText("No character sees one.");
    });

    test("sound: made, read from a file, and refused with a reason", async () => {
      const { page } = demo;
      await after(page, () => scene(page, "sound"));
      const made = await pictureOf(page, "explore-sound-output");
      expect(colours(made)).toBeGreaterThan(1);
      await after(page, () => page.getByTestId("explore-sound").selectOption("noise"));
      const message = page.getByTestId("explore-message");
      await after(page, () => page.getByTestId("explore-file").setInputFiles({ name: "sine.wav", mimeType: "audio/wav", buffer: wave() }));
      await expect(message).toContainText("of your sound, as one channel of 16 kHz");
      await expect(page.getByTestId("explore-sound")).toHaveValue("own");
      const own = await pictureOf(page, "explore-sound-output");
      await page.getByTestId("explore-file").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no sound at all") });
      await expect(message).toHaveText("“notes.txt” is no sound that this browser can read. Choose a WAV, MP3, Ogg or M4A file.");
      await page.getByTestId("explore-file").setInputFiles({ name: "long.wav", mimeType: "audio/wav", buffer: Buffer.alloc(21 * 2 ** 20) });
      await expect(message).toHaveText("“long.wav” has 21 MiB. Choose a sound of up to 20 MiB.");
      // Dropped, it goes the same way.
      await page.locator("#explore").evaluate((section) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File(["<svg/>"], "picture.svg", { type: "image/svg+xml" }));
        section.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
      });
      await expect(message).toContainText("“picture.svg” is no sound");
      await page.getByTestId("explore-record").click();
      await expect(message).toHaveText(
        /^(The microphone was not allowed|There is no microphone that can be used)\. Choose a file, or one of the sounds that the page makes\.$/,
      );
      await expect(page.getByTestId("explore-record")).toBeEnabled();
      expect(apart(await pictureOf(page, "explore-sound-output"), own), "what was there stays").toBe(0);
      await page.getByTestId("explore-play-output").click();
      await expect(page.getByTestId("explore-play-output")).toHaveAttribute("aria-pressed", "true");
      await page.getByTestId("explore-play-output").click();
      await expect(page.getByTestId("explore-play-output")).toHaveAttribute("aria-pressed", "false");
    });

    test("shifted keys move elu + 1 and leave SIKF alone", async () => {
      const { page } = demo;
      await page.locator("#shift").scrollIntoViewIfNeeded();
      await expect(page.getByTestId("shift-sikf-change")).toHaveText("nothing", { timeout: PATIENCE });
      const before = { sikf: await pictureOf(page, "shift-sikf"), elu: await pictureOf(page, "shift-elu") };
      await page.getByTestId("shift-by").fill("2.5");
      await expect(page.getByTestId("shift-value")).toHaveText("+2.5");
      await expect(page.getByTestId("shift-elu-change")).toHaveText(/^[\d.]+ %$/, { timeout: PATIENCE });
      const changes = await page.evaluate(() => ["shift-sikf", "shift-elu"].map((id) => Number(document.getElementById(id)!.dataset["change"])));
      expect(changes[0]).toBeLessThan(2e-6);
      expect(changes[1]).toBeGreaterThan(0.1);
      expect(apart(await pictureOf(page, "shift-elu"), before.elu)).toBeGreaterThan(50);
      const moved = await pictureOf(page, "shift-sikf");
      expect(moved.pixels.filter((value, index) => Math.abs(value - before.sikf.pixels[index]!) > 40).length / moved.pixels.length).toBeLessThan(
        0.001,
      );
    });

    test("the self-test can be stopped, and passes", async () => {
      const { page } = demo;
      const summary = page.getByTestId("right-summary");
      await page.locator("#right").scrollIntoViewIfNeeded();
      if (backend === "webgpu") {
        await page.getByTestId("right-run").click();
        await expect(summary).toHaveText("Testing…");
        await page.getByTestId("right-stop").click();
        await expect(summary).toHaveText(/^Stopped: \d+ checks were done\.$/, { timeout: PATIENCE });
        // On a software GPU it takes a minute, most of it for compiling.
        if (process.env["FULL"] === undefined) return;
        await page.getByTestId("right-run").click();
      }
      await expect(summary).toHaveAttribute("data-verdict", "pass", { timeout: 2 * PATIENCE });
      const rows = page.getByTestId("right-table").locator("tbody tr");
      const count = await rows.count();
      expect(count).toBeGreaterThan(backend === "webgpu" ? 25 : 4);
      await expect(summary).toHaveText(`✓ All ${count} checks are within their bounds.`);
      await expect(page.locator("#right-table .failed")).toHaveCount(0);
      await expect(page.locator("#right-table .point")).toHaveCount(count);
    });

    test("nothing moves while numbers arrive", async () => {
      expect(await demo.page.evaluate(() => window.recordedShifts)).toEqual([]);
    });

    test("nothing to complain about for axe-core", async () => {
      const { page } = demo;
      await inEveryLook(page, [360, 1280], (width, theme) => expectAccessible(page, `${backend}, ${theme}, ${width} px`));
    });

    test("it fits the screen", async () => {
      await expectFits(demo.page, `page-${backend}`);
    });

    if (backend === "webgpu") {
      test("a lost device is told, and brought back", async () => {
        const { page, complaints } = demo;
        await after(page, () => page.getByTestId("explore-preset").selectOption("periodic"));
        await page.evaluate(() => window.recordedDevice!.destroy());
        await expect(page.getByTestId("banner")).toBeVisible();
        await expect(page.getByTestId("banner-text")).toContainText("The GPU device was lost");
        await expect(page.getByTestId("backend")).toHaveText("nothing yet");
        await expectAccessible(page, "the banner", "#banner");
        await after(page, () => page.getByTestId("recover").click());
        await expect(page.getByTestId("banner")).toBeHidden();
        await expect(page.getByTestId("backend")).toHaveText("WebGPU");
        await after(page, () => page.getByTestId("explore-preset").selectOption("back"));
        // Without the button, the next run asks by itself.
        await page.evaluate(() => window.recordedDevice!.destroy());
        await expect(page.getByTestId("banner")).toBeVisible();
        await after(page, () => page.getByTestId("explore-preset").selectOption("decay"));
        await expect(page.getByTestId("banner")).toBeHidden();
        expect(complaints.splice(0).filter((words) => !/device was lost/i.test(words))).toEqual([]);
      });

      test("a wrong result is a red row that tells what to do, and can be copied", async ({ browser }) => {
        const broken = await newDemo(browser, (page) =>
          page.addInitScript(() => {
            // One wrong float in what comes back from the GPU, off by a thousandth.
            const { getMappedRange } = GPUBuffer.prototype;
            GPUBuffer.prototype.getMappedRange = function (...range) {
              const bytes = getMappedRange.apply(this, range);
              if (this.usage & GPUBufferUsage.MAP_READ && bytes.byteLength >= 8192 && bytes.byteLength % 4 === 0) {
                const floats = new Float32Array(bytes);
                floats[77]! += 1e-3 * floats.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
              }
              return bytes;
            };
          }),
        );
        const { page, complaints } = broken;
        await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
        await openPage(broken);
        await page.getByTestId("right-run").click();
        const summary = page.getByTestId("right-summary");
        await expect(summary).toHaveAttribute("data-verdict", "fail", { timeout: 2 * PATIENCE });
        await expect(summary).toHaveText(/^✗ \d+ of \d+ checks failed\.$/);
        await expect(page.getByTestId("right-note")).toContainText("choose the CPU backend above");
        await expect(page.locator("#right-table tbody tr").first()).toHaveClass("failed");
        await page.getByTestId("right-stop").click();
        await expect(page.getByTestId("right-run")).toBeEnabled({ timeout: PATIENCE });
        await expect(summary).toHaveAttribute("data-verdict", "fail");
        await expectAccessible(page, "failed checks", "#right");
        await page.getByTestId("right-copy").click();
        await expect(page.getByTestId("right-note")).toHaveText("Copied.");
        const report = await page.evaluate(() => navigator.clipboard.readText());
        expect(report).toContain("| FAILED | ");
        expect(report).toContain("maxStorageBufferBindingSize");
        expect(complaints).toEqual([]);
        await page.close();
      });
    }
  });
}

test("the page loads little code", async ({ browser }) => {
  const demo = await newDemo(browser);
  const sizes = new Map<string, Promise<number>>();
  demo.page.context().on("response", (response) => {
    const { pathname } = new URL(response.url());
    if (/\.(js|css|html)$/.test(pathname))
      sizes.set(
        pathname,
        response.body().then((body) => brotliCompressSync(body).length),
      );
  });
  await openPage(demo);
  await waitForRuns(demo.page, 1);
  await demo.page.locator("#inside").scrollIntoViewIfNeeded();
  await expect(demo.page.getByTestId("verdict")).toHaveAttribute("data-verdict", "pass", { timeout: PATIENCE });
  await demo.page.locator("#cost").scrollIntoViewIfNeeded();
  await expect(demo.page.getByTestId("cost-measure")).toBeEnabled({ timeout: PATIENCE });
  const bytes = await Promise.all(sizes.values());
  expect([...sizes.keys()].some((name) => name.includes("worker"))).toBe(true);
  expect(
    bytes.reduce((sum, size) => sum + size, 0),
    `bytes of ${[...sizes.keys()].join(", ")}, compressed`,
  ).toBeLessThan(LARGEST_CODE);
  await demo.page.close();
});

test("the first paint waits for no GPU", async ({ browser }) => {
  const demo = await newDemo(browser, (page) =>
    page.addInitScript(() => {
      GPU.prototype.requestAdapter = () => new Promise(() => {});
    }),
  );
  const { page } = demo;
  await page.goto("/dist-demo/index.html");
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await expect.poll(() => page.evaluate(() => performance.getEntriesByName("first-contentful-paint").length), "painted, with no adapter").toBe(1);
  expect(demo.complaints).toEqual([]);
  await page.close();
});
