// Finds Firefox, the other engine: wgpu and naga instead of Dawn and Tint.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Browser, Cache } from "@puppeteer/browsers";
import { findBrowser, installPackages, run } from "./browser.mjs";
import { DRIVER_FOLDERS } from "./vulkan.mjs";

const SYSTEM_PATHS = [
  "/usr/bin/firefox-esr",
  "/usr/bin/firefox",
  "/Applications/Firefox.app/Contents/MacOS/firefox",
  "C:\\Program Files\\Mozilla Firefox\\firefox.exe",
];
/** Puppeteer's own folder. */
const CACHE = process.env.PUPPETEER_CACHE_DIR ?? join(homedir(), ".cache/puppeteer");
/** Releases to 140, an ESR, refuse every adapter, whatever their preferences. */
const FIRST_VERSION = 141;

/** Path of a Firefox with WebGPU: FIREFOX_PATH, the system's, or Puppeteer's own; undefined where there is none. */
export function findFirefox() {
  const installed = new Cache(CACHE).getInstalledBrowsers().filter(({ browser }) => browser === Browser.FIREFOX);
  const path = findBrowser("FIREFOX_PATH", [...SYSTEM_PATHS.filter(isNewEnough), ...installed.map(({ executablePath }) => executablePath)]);
  return path !== undefined && isNewEnough(path) ? path : undefined;
}

/**
 * Finds Firefox and a Vulkan driver for it, or installs them: Debian's packages, which root may install, or else Puppeteer's build. What
 * to do where neither works.
 */
export function ensureFirefox() {
  const complete = () => findFirefox() !== undefined && hasDriver();
  if (complete()) return undefined;
  console.log("== installing Firefox");
  if (!(installPackages("firefox-esr", "mesa-vulkan-drivers") && complete()) && !findFirefox()) {
    run("npx", ["@puppeteer/browsers", "install", "firefox@esr", "--path", CACHE]);
  }
  if (complete()) return undefined;
  return findFirefox()
    ? "Firefox finds no Vulkan driver: install one (without a GPU: Mesa's lavapipe, Debian's mesa-vulkan-drivers), or set VK_DRIVER_FILES."
    : `There is no Firefox ${FIRST_VERSION} or newer and it could not be installed: set FIREFOX_PATH to one, or run \`npx @puppeteer/browsers install firefox@esr --path ${CACHE}\`.`;
}

function isNewEnough(path) {
  if (!existsSync(path)) return false;
  try {
    // "Mozilla Firefox 153.7.0esr"
    const version = / (\d+)\./.exec(execFileSync(path, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
    return version !== null && Number(version[1]) >= FIRST_VERSION;
  } catch {
    return false;
  }
}

/** Other systems than Linux have other interfaces, always there. */
function hasDriver() {
  if (process.platform !== "linux" || process.env.VK_DRIVER_FILES) return true;
  return DRIVER_FOLDERS.some((folder) => existsSync(folder) && readdirSync(folder).some((name) => name.endsWith(".json")));
}
