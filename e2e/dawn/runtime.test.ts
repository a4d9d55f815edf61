/** The GPU cases that are about the runtime, in Node. */
import { isOfRuntime } from "../cases/index.ts";
import { testSuites } from "./suites.ts";

testSuites(isOfRuntime);
