import { describe, expect, test } from "vitest";
import { lineWeights, planeWeights, presetCurve, PRESET_NOTES, reachOf, resample, SCENES, type Preset, type SceneName } from "./scenes.ts";

const scenes = Object.keys(SCENES) as SceneName[];
const presets = (Object.keys(PRESET_NOTES) as Preset[]).filter((preset) => preset !== "distance");
const magnitudes = (values: Float32Array) => values.reduce((sum, value) => sum + Math.abs(value), 0);

describe("weights along a line", () => {
  for (const scene of scenes) {
    for (const preset of presets) {
      test(`${scene}, ${preset}: at most 1 in the editor; their magnitudes sum to 1`, () => {
        const curve = presetCurve(preset, scene);
        const reach = reachOf(scene, false);
        expect(curve).toHaveLength(2 * reach + 1);
        expect(Math.max(...curve)).toBeCloseTo(1, 6);
        const { length } = SCENES[scene];
        const { all, window } = lineWeights(curve, length);
        expect(all).toHaveLength(2 * length - 1);
        expect(magnitudes(all)).toBeCloseTo(1, 5);
        for (const offset of [-reach, -1, 0, 1, reach]) {
          expect(window[(offset + window.length) % window.length]).toBe(all[offset + length - 1]);
        }
        expect(all[length - 1 + reach + 1], "beyond its reach there is none").toBe(0);
      });
    }
  }

  test("a curve of zeros stays one", () => {
    expect(magnitudes(lineWeights(new Float32Array(9), 20).all)).toBe(0);
  });
});

describe("weights over the plane", () => {
  test("depend on the distance alone, and their magnitudes sum to 1", () => {
    const side = 28;
    const { all, window, windowShape } = planeWeights(presetCurve("distance", "digit"), side);
    const at = (dy: number, dx: number) => all[(dy + side - 1) * (2 * side - 1) + dx + side - 1]!;
    expect(magnitudes(all)).toBeCloseTo(1, 5);
    expect(at(3, 4)).toBe(at(0, 5));
    expect(at(-3, 4)).toBe(at(5, 0));
    expect(at(0, 0)).toBeGreaterThan(at(0, 1));
    expect(window[windowShape[1]! - 1]).toBe(at(0, -1));
    expect(window[(windowShape[0]! - 2) * windowShape[1]! + 3]).toBe(at(-2, 3));
  });
});

test("a curve over another reach keeps its ends and its middle", () => {
  const curve = Float32Array.of(0.25, 0.5, 1, -0.5, -0.25);
  expect([...resample(curve, 4)]).toEqual([0.25, 0.375, 0.5, 0.75, 1, 0.25, -0.5, -0.375, -0.25]);
  expect([...resample(curve, 2)]).toEqual([...curve]);
});
