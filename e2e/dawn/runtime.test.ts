/** The GPU cases that are about the runtime, in Node. */
import { testSuites } from "./suites.ts";

testSuites("runtime");
