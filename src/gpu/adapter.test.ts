import { expect, test } from "vitest";
import { DEFAULT_CHOICES } from "../core/choices.ts";
import { SLOW_GPU, SOFTWARE_GPU } from "../core/limits.ts";
import { adapterDefaults } from "./adapter.ts";

const info = (changes: Partial<GPUAdapterInfo>) => ({ vendor: "", architecture: "", device: "", description: "", ...changes }) as GPUAdapterInfo;

test("hardware, unknown adapters and SwiftShader are planned for as hardware is", () => {
  expect(adapterDefaults(undefined)).toEqual({ speed: SLOW_GPU, choices: DEFAULT_CHOICES });
  expect(adapterDefaults(info({ vendor: "nvidia", architecture: "hopper" }))).toEqual({ speed: SLOW_GPU, choices: DEFAULT_CHOICES });
  const swiftShader = info({ vendor: "google", architecture: "swiftshader", device: "swiftshader-device-subzero-", isFallbackAdapter: true });
  expect(adapterDefaults(swiftShader)).toEqual({ speed: SOFTWARE_GPU, choices: DEFAULT_CHOICES });
});

test("llvmpipe has choices of its own", () => {
  const { speed, choices } = adapterDefaults(info({ vendor: "mesa", device: "llvmpipe-llvm-19-1-7-256-bits-", isFallbackAdapter: true }));
  expect(speed).toBe(SOFTWARE_GPU);
  expect(choices).toEqual({ ...DEFAULT_CHOICES, columns: 1, exchange: "whole" });
});

test("an adapter that tells no names", () => {
  expect(adapterDefaults({} as GPUAdapterInfo)).toEqual({ speed: SLOW_GPU, choices: DEFAULT_CHOICES });
});
