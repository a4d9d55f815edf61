/** What the explorer shows of a product: the matrix, the spectrum of the weights, and the result. */
import { DIGIT_WIDTH } from "../data.ts";
import { element, make, text } from "../dom.ts";
import { count, scientific, significant } from "../format.ts";
import { colourOf, gridToeplitz, magnitude, paint, paintCurve, paintInk, toeplitzGrid, type Grid } from "../pictures.ts";
import { PLANE_WINDOW, SCENES, type SceneName, type Weights } from "../scenes.ts";
import { SAMPLE_RATE } from "../sound.ts";
import type { ProductOutput } from "../tasks/product.ts";
import { colour, theme } from "../theme.ts";

/** More tokens than that make a picture of the matrix that shows nothing. */
const LARGEST_PICTURE = 1024;
const PLANE_STEP = 4;

export interface Shown extends ProductOutput {
  readonly scene: SceneName;
  readonly plane: boolean;
  readonly input: Float32Array;
  readonly weights: Weights;
}

export function drawMatrix({ scene, plane, weights }: Shown, title: string): void {
  const canvas = element("explore-matrix", HTMLCanvasElement);
  const { length } = SCENES[scene];
  let grid: Grid;
  const corner = !plane && length > LARGEST_PICTURE;
  if (plane) grid = gridToeplitz(weights.all, [DIGIT_WIDTH, DIGIT_WIDTH], PLANE_STEP);
  else if (!corner) grid = toeplitzGrid(weights.all, length, 0);
  else grid = toeplitzGrid(weights.all.subarray(length - LARGEST_PICTURE, length + LARGEST_PICTURE - 1), LARGEST_PICTURE, 0);
  paint(canvas, grid, magnitude(grid.values), theme());
  const size = `${count(length)} × ${count(length)}`;
  canvas.setAttribute("aria-label", `Toeplitz matrix W, ${size}; ${title}${corner ? `; the first ${count(LARGEST_PICTURE)} rows and columns` : ""}`);
  text("explore-matrix-note", corner ? `Corner of ${size}, never stored.` : `${size} entries, never stored.`);
}

export function drawSpectrum({ scene, plane, spectrum }: Shown): void {
  const canvas = element("explore-spectrum", HTMLCanvasElement);
  const most = magnitude(spectrum);
  const [low, , high] = element("explore-spectrum-axis", HTMLElement).children;
  if (plane) {
    paint(canvas, wholePlane(spectrum), most, theme());
    low!.textContent = "−½";
    high!.textContent = "½ cycle a pixel";
  } else {
    paintCurve(canvas, spectrum, { line: colour("--accent"), zero: colour("--line") }, { range: [0, Math.max(most, 1e-9)], centred: false });
    low!.textContent = "0";
    high!.textContent = scene === "sound" ? `${SAMPLE_RATE / 2000} kHz` : "½ cycle a token";
  }
  const peak = spectrum.indexOf(most);
  const at = plane
    ? ""
    : scene === "sound"
      ? `, at ${count(Math.round((peak / (spectrum.length - 1)) * (SAMPLE_RATE / 2)))} Hz`
      : `, at ${significant(peak / 2 / (spectrum.length - 1))} cycles a token`;
  canvas.setAttribute("aria-label", `Spectrum of the weights: magnitude by frequency, at most ${significant(most)}${at}.`);
}

export function drawDigit({ input, output }: Shown, digit: string): void {
  const before = element("explore-digit-input", HTMLCanvasElement);
  const after = element("explore-digit-output", HTMLCanvasElement);
  paintInk(
    before,
    Uint8Array.from(input, (value) => 255 * value),
    DIGIT_WIDTH,
    theme(),
  );
  const scale = magnitude(output);
  paint(after, { width: DIGIT_WIDTH, height: DIGIT_WIDTH, values: output }, scale, theme());
  before.setAttribute("aria-label", `The digit ${digit}, 28 by 28 pixels`);
  after.setAttribute("aria-label", `The digit ${digit} after the product with W, from −${scientific(scale)} to ${scientific(scale)}`);
  text("explore-digit-scale", scale === 0 ? "all zero" : `±${significant(scale)}`);
}

export function writeText({ input, output }: Shown, characters: readonly string[], letter: string): void {
  const scale = magnitude(output.subarray(0, characters.length));
  const spans = characters.map((character, n) => {
    const span = make("span", character);
    span.style.backgroundColor = `rgb(${colourOf(output[n]!, scale, theme()).join(" ")} / 60%)`;
    if (input[n] === 1) span.className = "hit";
    return span;
  });
  element("explore-text-output", HTMLElement).replaceChildren(...spans);
  const hits = input.reduce((sum, value) => sum + value, 0);
  const strongest = output.subarray(0, characters.length).reduce((best, value, n, all) => (Math.abs(value) > Math.abs(all[best]!) ? n : best), 0);
  const most =
    scale === 0
      ? "No character sees one."
      : `“${characters[strongest] ?? ""}”, character ${strongest + 1}, sees most: ${significant(output[strongest]!)}.`;
  text(
    "explore-text-note",
    `The colour tells how much of “${letter}” (underlined, ${hits} of ${characters.length}) a character sees through the weights. ${most}`,
  );
}

export function drawSound({ input, output }: Shown): void {
  const colours = { line: colour("--accent"), zero: colour("--line") };
  const most = Math.max(magnitude(input), 1e-9);
  for (const [id, samples, what] of [
    ["explore-sound-input", input, "The sound"],
    ["explore-sound-output", output, "The sound after the product with W"],
  ] as const) {
    const canvas = element(id, HTMLCanvasElement);
    paintCurve(canvas, samples, colours, { range: [-most, most], centred: false });
    canvas.setAttribute("aria-label", `${what}: ${significant(samples.length / SAMPLE_RATE)} s, loudest sample ${significant(magnitude(samples))}`);
  }
}

/** Half of a spectrum of real numbers to all of it, frequency 0 in the middle. */
function wholePlane(half: Float32Array): Grid {
  const side = PLANE_WINDOW;
  const columns = side / 2 + 1;
  const values = new Float32Array(side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [fy, fx] = [(y + side / 2) % side, (x + side / 2) % side];
      const mirrored = fx >= columns;
      values[y * side + x] = half[(mirrored ? (side - fy) % side : fy) * columns + (mirrored ? side - fx : fx)]!;
    }
  }
  return { width: side, height: side, values };
}
