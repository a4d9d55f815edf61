import type { SelfTestCase } from "../runtime/self-test.ts";

/** Loads the self-test's cases of models: one function, so that a runtime has it once. */
export async function loadSelfTests(): Promise<readonly SelfTestCase[]> {
  return (await import("./self-test.ts")).MODEL_CASES;
}
