/** The GPU cases of devices that fail, in Node. */
import { testSuites } from "./suites.ts";

testSuites("faults");
