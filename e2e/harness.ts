/** Runs the GPU cases in a page; the specs beside it call {@link Window.runCase} one at a time. */
import { CaseContext } from "./cases/case.ts";
import { SUITES } from "./cases/index.ts";

declare global {
  interface Window {
    /** Resolves to `undefined`, or to what went wrong. */
    runCase?: (suite: string, name: string) => Promise<string | undefined>;
  }
}

const context = new CaseContext(navigator.gpu);

window.runCase = async (suite, name) => {
  const found = SUITES.find((entry) => entry.name === suite)?.cases.find((entry) => entry.name === name);
  if (!found) return `no case "${name}" in suite "${suite}"`;
  try {
    await found.run(context);
    return undefined;
  } catch (error) {
    return error instanceof Error ? `${error.message}\n${error.stack}` : String(error);
  }
};
