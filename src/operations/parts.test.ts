import { describe, expect, test, vi } from "vitest";
import { loadPart } from "../core/load.ts";
import { fftGradientSpec, fftSpec, inPlaceSpec } from "./specs.ts";
import { limitsWith } from "../testing/planning.ts";

/** The planner as a page finds it: nothing is loaded. */
async function fresh() {
  vi.resetModules();
  const parts = await import("./parts.ts");
  return { ...parts, ...(await import("./planners.ts")) };
}

describe("parts of the planner", () => {
  test("planning without them says what is missing, and goes on when it is loaded", async () => {
    const { planProgram, loadProgram, MissingParts } = await fresh();
    const spec = fftSpec({ shape: [8] });
    expect(() => planProgram("test", spec, limitsWith())).toThrow(MissingParts);
    expect(() => planProgram("test", spec, limitsWith())).toThrow("not loaded: fft");
    const program = await loadProgram("test", spec, limitsWith());
    expect(planProgram("test", spec, limitsWith())).toEqual(program);
    expect(() => planProgram("test", fftSpec({ shape: [8], kind: "r2c" }), limitsWith())).toThrow("not loaded: realFft");
  });

  // FftPlan.backward and transforms in place are synchronous, and load nothing.
  test.each([
    ...[8, 97, 5003, 20_000, 2 ** 21, 2 * 10_007].flatMap((length) =>
      (["c2c", "r2c", "c2r"] as const).map((kind) => ({ shape: [2, length], kind, axes: [1] })),
    ),
    { shape: [31, 17, 29], kind: "r2c" as const, axes: [0, 1, 2] },
    { shape: [300, 2003], kind: "c2r" as const, axes: [0, 1] },
  ])("an FFT that has a plan has all for its gradient and for the same in place: %j", async (options) => {
    const { planProgram, loadProgram } = await fresh();
    const spec = fftSpec(options);
    await loadProgram("test", spec, limitsWith());
    planProgram("test", fftGradientSpec(spec), limitsWith());
    if (spec.kind === "c2c") planProgram("test", inPlaceSpec(spec), limitsWith());
  });

  test("a part that cannot be loaded is named, and the next call tries again", async () => {
    const load = vi.fn<() => Promise<string>>().mockRejectedValueOnce(new TypeError("Failed to fetch")).mockResolvedValueOnce("module");
    await expect(loadPart("runtime.fft", "fft", load)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/^runtime\.fft: .*"fft".*Failed to fetch/),
      cause: expect.any(TypeError),
    });
    await expect(loadPart("runtime.fft", "fft", load)).resolves.toBe("module");
  });
});
