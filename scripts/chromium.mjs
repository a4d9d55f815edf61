// Finds Chromium, and in its folder the Vulkan loader and SwiftShader, with which Dawn runs in Node too.
import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { chromium } from "playwright";
import { findBrowser, installPackages, isLinuxRoot, run } from "./browser.mjs";

const SYSTEM_PATHS = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/opt/google/chrome/chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];
const LIBRARY_FOLDERS = ["/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome"];

/** Path of a Chromium: CHROMIUM_PATH, the system's, or Playwright's own; undefined where there is none. */
export function findChromium() {
  return findBrowser("CHROMIUM_PATH", [...SYSTEM_PATHS, chromium.executablePath()]);
}

/** Finds Chromium, or installs it: Debian's package, which root may install, or else Playwright's build. What to do where neither works. */
export function ensureChromium() {
  if (findChromium()) return undefined;
  console.log("== installing Chromium");
  if (!(installPackages("chromium") && findChromium())) run("npx", ["playwright", "install", ...(isLinuxRoot() ? ["--with-deps"] : []), "chromium"]);
  if (findChromium()) return undefined;
  return "There is no Chromium and it could not be installed: set CHROMIUM_PATH to one, or run `npx playwright install --with-deps chromium`.";
}

/** Where Chromium's Vulkan libraries may be. */
export function chromiumFolders() {
  const chromiumPath = findChromium();
  return [...(chromiumPath ? [dirname(realpathSync(chromiumPath))] : []), ...LIBRARY_FOLDERS];
}

/**
 * Environment in which Dawn finds a Vulkan driver on a machine without a GPU: Chromium's SwiftShader. A driver that the caller names
 * (VK_DRIVER_FILES) is left alone; other systems than Linux need nothing.
 */
export function vulkanEnvironment() {
  if (process.platform !== "linux" || process.env.VK_DRIVER_FILES) return {};
  const folder = chromiumFolders().find((candidate) => existsSync(join(candidate, "vk_swiftshader_icd.json")));
  if (!folder) return {};
  const libraries = [process.env.LD_LIBRARY_PATH, folder].filter(Boolean).join(":");
  return { VK_DRIVER_FILES: join(folder, "vk_swiftshader_icd.json"), LD_LIBRARY_PATH: libraries };
}
