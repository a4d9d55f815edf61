// What finding and installing browsers have in common.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** The path that the environment variable names, or the first of `paths` that exists; undefined where there is none. */
export function findBrowser(variable, paths) {
  const named = process.env[variable];
  if (named) {
    if (!existsSync(named)) throw new Error(`${variable} names ${named}, which does not exist`);
    return named;
  }
  return paths.find((path) => existsSync(path));
}

/** Whether Debian's packages may be installed, and were. */
export function installPackages(...names) {
  return isLinuxRoot() && run("apt-get", ["update"]) && run("apt-get", ["install", "-y", ...names]);
}

export function isLinuxRoot() {
  return process.platform === "linux" && process.getuid() === 0;
}

export function run(command, args) {
  return spawnSync(command, args, { stdio: "inherit", shell: process.platform === "win32" }).status === 0;
}
