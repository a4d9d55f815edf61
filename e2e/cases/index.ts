import { attentionSuite } from "./attention.ts";
import { bytesSuite } from "./bytes.ts";
import type { Suite } from "./case.ts";
import { complexMultiplySuite } from "./complex-multiply.ts";
import { fftSuite } from "./fft.ts";
import { kernelSuite } from "./kernels.ts";
import { lifecycleSuite } from "./lifecycle.ts";
import { refusalSuite } from "./refusals.ts";
import { toeplitzSuite } from "./toeplitz.ts";

export const SUITES: readonly Suite[] = [
  refusalSuite,
  lifecycleSuite,
  fftSuite,
  complexMultiplySuite,
  toeplitzSuite,
  kernelSuite,
  attentionSuite,
  bytesSuite,
];
