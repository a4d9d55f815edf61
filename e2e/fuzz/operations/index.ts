import type { OperationName } from "../case.ts";
import type { Operation } from "../operation.ts";
import { attentionGradientOperation, attentionOperation } from "./attention.ts";
import { complexMultiplyOperation } from "./complex-multiply.ts";
import { convolveOperation } from "./convolve.ts";
import { decoderOperation } from "./decoder.ts";
import { MODEL_OPERATIONS } from "./model-operations.ts";
import { modelOperation } from "./model.ts";
import { fftGradientOperation, fftOperation } from "./fft.ts";
import { toeplitzGradientOperation, toeplitzOperation } from "./toeplitz.ts";

export const OPERATION: Readonly<Record<OperationName, Operation>> = {
  fft: fftOperation,
  "fft gradient": fftGradientOperation,
  complexMultiply: complexMultiplyOperation,
  convolve: convolveOperation,
  toeplitz: toeplitzOperation,
  "toeplitz gradient": toeplitzGradientOperation,
  attention: attentionOperation,
  "attention gradient": attentionGradientOperation,
  decoder: decoderOperation,
  ...MODEL_OPERATIONS,
  model: modelOperation,
};
