/** What the bias explorer shows the effect of the weights on: a sequence, and how far its curve reaches. */
import { CURVES, type CurveName } from "./bias.ts";
import { DIGIT_WIDTH } from "./data.ts";
import { SOUND_LENGTH } from "./sound.ts";

export type SceneName = "digit" | "text" | "sound";
/** `"distance"`: over the plane, so it takes a scene that is one. */
export type Preset = CurveName | "distance";

export interface Scene {
  readonly length: number;
  /** Offsets from −reach to reach have weights; the others have none. */
  readonly reach: number;
  /** Of the periodic preset, in tokens. */
  readonly period: number;
}

export const MOST_CHARACTERS = 256;

export const SCENES: Readonly<Record<SceneName, Scene>> = {
  digit: { length: DIGIT_WIDTH ** 2, reach: 3 * DIGIT_WIDTH, period: DIGIT_WIDTH },
  text: { length: MOST_CHARACTERS, reach: 32, period: 8 },
  sound: { length: SOUND_LENGTH, reach: 256, period: 36 },
};

export const PRESET_NOTES: Readonly<Record<Preset, string>> = {
  decay: "Near tokens count most.",
  window: "Tokens within reach count the same, the others not at all.",
  periodic: "Whole periods away they count for, half periods against.",
  back: "Only earlier tokens count.",
  distance: "By the distance of two pixels, in every direction alike.",
};

/** In pixels of the digit. */
const PLANE_REACH = 20;
/** Sides of what is transformed: room for all offsets that have weights. */
const LINE_WINDOW = 1024;
export const PLANE_WINDOW = 64;

export function reachOf(scene: SceneName, plane: boolean): number {
  return plane ? PLANE_REACH : SCENES[scene].reach;
}

/** Weights from −reach to reach; the largest is 1. */
export function presetCurve(preset: Preset, scene: SceneName): Float32Array<ArrayBuffer> {
  const reach = reachOf(scene, preset === "distance");
  const { period } = SCENES[scene];
  const curve = preset === "distance" ? CURVES.decay : CURVES[preset];
  // Half a window is easier to see than an eighth of it.
  const spread = preset === "window" ? reach / 4 : reach / 6;
  return Float32Array.from({ length: 2 * reach + 1 }, (_, index) => curve.at(index - reach, spread, period));
}

/** The same curve over another reach. */
export function resample(curve: Float32Array, reach: number): Float32Array<ArrayBuffer> {
  const before = (curve.length - 1) / 2;
  return Float32Array.from({ length: 2 * reach + 1 }, (_, index) => between(curve, ((index - reach) / reach) * before));
}

export interface Weights {
  /** `[2N − 1]`, or `[2H − 1, 2W − 1]`: what the library takes. Their absolute values sum to 1, or all are 0. */
  readonly all: Float32Array<ArrayBuffer>;
  /** The weights with offset 0 at index 0, negative offsets at the end: what is transformed. */
  readonly window: Float32Array<ArrayBuffer>;
  readonly windowShape: readonly number[];
}

export function lineWeights(curve: Float32Array, length: number): Weights {
  const reach = (curve.length - 1) / 2;
  const all = new Float32Array(2 * length - 1);
  const window = new Float32Array(LINE_WINDOW);
  const scale = 1 / (sumOfMagnitudes(curve) || 1);
  for (let offset = -reach; offset <= reach; offset++) {
    const weight = scale * curve[offset + reach]!;
    if (Math.abs(offset) < length) all[offset + length - 1] = weight;
    window[(offset + LINE_WINDOW) % LINE_WINDOW] = weight;
  }
  return { all, window, windowShape: [LINE_WINDOW] };
}

/** A weight for every offset in the plane, by its Euclidean length. */
export function planeWeights(curve: Float32Array, side: number): Weights {
  const size = 2 * side - 1;
  const all = Float32Array.from({ length: size * size }, (_, index) => {
    const [dy, dx] = [Math.floor(index / size) - side + 1, (index % size) - side + 1];
    return between(curve, Math.hypot(dy, dx));
  });
  const scale = 1 / (sumOfMagnitudes(all) || 1);
  const window = new Float32Array(PLANE_WINDOW ** 2);
  for (let index = 0; index < all.length; index++) {
    all[index]! *= scale;
    const [dy, dx] = [Math.floor(index / size) - side + 1, (index % size) - side + 1];
    window[((dy + PLANE_WINDOW) % PLANE_WINDOW) * PLANE_WINDOW + ((dx + PLANE_WINDOW) % PLANE_WINDOW)] = all[index]!;
  }
  return { all, window, windowShape: [PLANE_WINDOW, PLANE_WINDOW] };
}

/** The curve at an offset between two entries; zero beyond its ends. */
function between(curve: Float32Array, offset: number): number {
  const at = offset + (curve.length - 1) / 2;
  const low = Math.floor(at);
  const share = at - low;
  return (1 - share) * (curve[low] ?? 0) + share * (curve[low + 1] ?? 0);
}

function sumOfMagnitudes(values: Float32Array): number {
  return values.reduce((sum, value) => sum + Math.abs(value), 0);
}
