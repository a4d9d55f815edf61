/** What the tests of the demo share. They take it as it is built: `npm run build:demo` first. The server sends it under a Content-Security-Policy of `default-src 'self'`. */
import { join } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";
import { type Browser, expect, type Page, test } from "playwright/test";

export const ADDRESS = "/dist-demo/index.html";
/** The largest relative error that passes. */
export const BOUND = 1e-6;
export const WIDTHS = [360, 768, 1280, 2560] as const;
export const THEMES = ["light", "dark"] as const;
type Theme = (typeof THEMES)[number];
/** For one wait. Pictures and table need a fraction of it; compiling on a processor without a GPU takes seconds. */
export const PATIENCE = 90_000;

/** A page of the demo, with all that it complains about. */
export interface Demo {
  readonly page: Page;
  /** Console messages of level error or warning, uncaught errors, and requests to other hosts. */
  readonly complaints: string[];
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** RGBA, row by row. */
  readonly pixels: Uint8Array;
}

declare global {
  interface Window {
    /** Workgroups of every dispatch, a list for each submit that had any. */
    recordedSubmits?: number[][];
    recordedDevice?: GPUDevice;
    recordedShifts?: string[];
  }
}

export async function newDemo(browser: Browser, prepare?: (page: Page) => Promise<unknown>): Promise<Demo> {
  // axe-core wants a context of its own.
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light" });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message}`));
  page.on("requestfailed", (request) => {
    const reason = request.failure()?.errorText;
    // Cancelling may end a worker whose code is still on its way.
    if (reason !== "net::ERR_ABORTED") complaints.push(`failed: ${request.url()}, ${reason}`);
  });
  page.on("request", (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (protocol !== "http:" || hostname !== "localhost") complaints.push(`request: ${request.url()}`);
  });
  await prepare?.(page);
  return { page, complaints };
}

export async function pictureOf(page: Page, id: string): Promise<Picture> {
  const { width, height, words } = await page.getByTestId(id).evaluate((canvas: HTMLCanvasElement) => {
    const { data, width, height } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
    return { width, height, words: [...new Uint32Array(data.buffer)] };
  });
  return { width, height, pixels: new Uint8Array(Uint32Array.from(words).buffer) };
}

export function pixel({ width, pixels }: Picture, row: number, column: number): number[] {
  return Array.from(pixels.subarray(4 * (row * width + column), 4 * (row * width + column) + 4));
}

export function colours({ pixels }: Picture): number {
  const seen = new Set<number>();
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]! > 0) seen.add(pixels[i]! * 65536 + pixels[i + 1]! * 256 + pixels[i + 2]!);
  return seen.size;
}

/** The largest difference of two pictures in a part of a colour, of 255. */
export function apart(a: Picture, b: Picture): number {
  expect([a.width, a.height]).toEqual([b.width, b.height]);
  return a.pixels.reduce<number>((most, value, index) => Math.max(most, Math.abs(value - b.pixels[index]!)), 0);
}

export async function expectNoOverflow(page: Page, what: string): Promise<void> {
  const { scrollWidth, clientWidth } = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return { scrollWidth, clientWidth };
  });
  expect(scrollWidth, `${what}: the page does not scroll sideways`).toBeLessThanOrEqual(clientWidth);
}

/** Shows the page at every width and in both themes, in turn; each width in each theme with `FULL=1`. Then it is wide and light, as before. */
export async function inEveryLook(page: Page, widths: readonly number[], look: (width: number, theme: Theme) => Promise<void>): Promise<void> {
  const full = process.env["FULL"] !== undefined;
  for (const [i, width] of widths.entries()) {
    await page.setViewportSize({ width, height: 800 });
    for (const theme of full ? THEMES : [THEMES[i % THEMES.length]!]) {
      await page.emulateMedia({ colorScheme: theme });
      await look(width, theme);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1280, height: 800 });
}

export async function expectFits(page: Page, what: string): Promise<void> {
  await inEveryLook(page, WIDTHS, async (width, theme) => {
    await expectNoOverflow(page, `${what}, ${width} px, ${theme}`);
    const path = join(test.info().project.outputDir, `demo-${what}-${width}-${theme}.png`);
    await page.screenshot({ path, fullPage: true, animations: "disabled" });
  });
}

/** Keeps the workgroups of what the page dispatches, submit by submit, and the device. */
export function recordGpu(): void {
  const submits: number[][] = [];
  let current: number[] = [];
  window.recordedSubmits = submits;
  const { dispatchWorkgroups } = GPUComputePassEncoder.prototype;
  GPUComputePassEncoder.prototype.dispatchWorkgroups = function (x, y = 1, z = 1) {
    current.push(x * y * z);
    dispatchWorkgroups.call(this, x, y, z);
  };
  const { submit } = GPUQueue.prototype;
  GPUQueue.prototype.submit = function (buffers) {
    if (current.length > 0) submits.push(current);
    current = [];
    return submit.call(this, buffers);
  };
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    return (window.recordedDevice = await requestDevice.call(this, descriptor));
  };
}

/** Opens the page, and waits until it has a backend. */
export async function openPage({ page }: Demo, query = ""): Promise<void> {
  await page.goto(`${ADDRESS}${query}`);
  await expect(page.locator("html")).toHaveAttribute("data-engine", "ready", { timeout: PATIENCE });
}

/** What axe-core finds: nothing, it is hoped. */
export async function expectAccessible(page: Page, what: string, section?: string): Promise<void> {
  const builder = new AxeBuilder({ page });
  const { violations } = await (section === undefined ? builder : builder.include(section)).analyze();
  const found = violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target.join(" ")} (${failureSummary})`).join("; ")}`,
  );
  expect(found, what).toEqual([]);
}

/** Remembers every layout shift that no input of the reader's explains. For `addInitScript`. */
export function recordShifts(): void {
  const shifts: string[] = [];
  window.recordedShifts = shifts;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as LayoutShift[]) {
      if (entry.hadRecentInput) continue;
      const moved = entry.sources.map(({ node, previousRect: a, currentRect: b }) => {
        const element = node instanceof Element ? node : node?.parentElement;
        return `${element?.id || element?.className || element?.tagName} from ${a.x},${a.y} ${a.width}×${a.height} to ${b.x},${b.y} ${b.width}×${b.height}`;
      });
      shifts.push(`${entry.value.toFixed(4)}: ${moved.join("; ")}`);
    }
  }).observe({ type: "layout-shift", buffered: true });
}

interface LayoutShift extends PerformanceEntry {
  readonly value: number;
  readonly hadRecentInput: boolean;
  readonly sources: readonly { readonly node: Node | null; readonly previousRect: DOMRect; readonly currentRect: DOMRect }[];
}
