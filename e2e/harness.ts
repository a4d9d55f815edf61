/** Runs the GPU cases in a page; the specs beside it call {@link Window.runCase} one at a time. */
import { CaseContext } from "./cases/case.ts";
import { SUITES } from "./cases/index.ts";

/** What became of a case. */
export interface Outcome {
  readonly failure: string | undefined;
  /** WebGPU's errors that no error scope caught: not every browser prints them. */
  readonly uncaptured: readonly string[];
}

declare global {
  interface Window {
    runCase?: (suite: string, name: string) => Promise<Outcome>;
    /** Those that Chromium can run. */
    cases?: readonly { readonly suite: string; readonly name: string }[];
  }
}

let uncaptured: string[] = [];
const requestDevice = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  device.addEventListener("uncapturederror", ({ error }) => uncaptured.push(error.message));
  return device;
};

const context = new CaseContext(navigator.gpu);

window.cases = SUITES.flatMap((suite) =>
  suite.cases.filter(({ skip }) => skip?.chromium === undefined).map(({ name }) => ({ suite: suite.name, name })),
);

window.runCase = async (suite, name) => {
  uncaptured = [];
  return { failure: await run(suite, name), uncaptured };
};

async function run(suite: string, name: string): Promise<string | undefined> {
  const found = SUITES.find((entry) => entry.name === suite)?.cases.find((entry) => entry.name === name);
  if (!found) return `no case "${name}" in suite "${suite}"`;
  try {
    await found.run(context);
    return undefined;
  } catch (error) {
    return error instanceof Error ? `${error.message}\n${error.stack}` : String(error);
  }
}
