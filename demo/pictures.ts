/** Arrays to pixels. */

/** A matrix to be drawn, row by row. */
export interface Grid {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
}

/** A tensor `[heads, length, channels]` and the head to look at. */
export interface View {
  readonly length: number;
  readonly channels: number;
  readonly head: number;
}

/** Pictures of sequences are at most so wide. */
export const MOST_COLUMNS = 512;
const MOST_MATRIX_ROWS = 256;

/** Tokens to columns, channels to rows. Where there are more tokens than columns, a cell is the mean. */
export function meanGrid(data: Float32Array, { length, channels, head }: View): Grid {
  const width = Math.min(length, MOST_COLUMNS);
  const values = new Float32Array(width * channels);
  const sums = new Float64Array(channels);
  let from = head * length * channels;
  for (let column = 0, n = 0; column < width; column++) {
    const first = n;
    const end = Math.floor(((column + 1) * length) / width);
    sums.fill(0);
    for (; n < end; n++) for (let channel = 0; channel < channels; channel++) sums[channel]! += data[from++]!;
    for (let channel = 0; channel < channels; channel++) values[channel * width + column] = sums[channel]! / (end - first);
  }
  return { width, height: channels, values };
}

/** `a − b` in the same layout. Where there are more tokens than columns, a cell is the largest difference, so that none hides. */
export function differenceGrid(a: Float32Array, b: Float32Array, { length, channels, head }: View): Grid {
  const width = Math.min(length, MOST_COLUMNS);
  const values = new Float32Array(width * channels);
  let from = head * length * channels;
  for (let column = 0, n = 0; column < width; column++) {
    const end = Math.floor(((column + 1) * length) / width);
    for (; n < end; n++) {
      for (let channel = 0; channel < channels; channel++, from++) {
        const apart = a[from]! - b[from]!;
        const cell = channel * width + column;
        if (!(Math.abs(apart) <= Math.abs(values[cell]!))) values[cell] = apart;
      }
    }
  }
  return { width, height: channels, values };
}

/** The Toeplitz matrix `W[i][j] = w[j − i + N − 1]`. Where N is larger than the picture, a cell is the exact mean of its block. */
export function toeplitzGrid(weights: Float32Array, length: number, head: number): Grid {
  const offsets = 2 * length - 1;
  const row = weights.subarray(head * offsets, (head + 1) * offsets);
  const size = Math.min(length, MOST_MATRIX_ROWS);
  const values = new Float32Array(size * size);
  // A block's sum is a difference of sums of prefix sums: first[m] = Σ w below m, second[m] = Σ first below m.
  const second = new Float64Array(2 * length + 1);
  let first = 0;
  for (let m = 0; m < 2 * length; m++) {
    second[m + 1] = second[m]! + first;
    first += row[m] ?? 0;
  }
  const edge = (block: number) => Math.floor((block * length) / size);
  for (let p = 0; p < size; p++) {
    const top = edge(p);
    const bottom = edge(p + 1);
    for (let q = 0; q < size; q++) {
      const left = edge(q) + length;
      const right = edge(q + 1) + length;
      const sum = second[right - top]! - second[right - bottom]! - second[left - top]! + second[left - bottom]!;
      values[p * size + q] = sum / ((bottom - top) * (right - left));
    }
  }
  return { width: size, height: size, values };
}

/** The matrix of a grid of tokens, `W[y W + x][y′ W + x′] = w[y′ − y + H − 1][x′ − x + W − 1]`; of its rows and columns, every `step`-th. */
export function gridToeplitz(weights: Float32Array, [height, width]: readonly [number, number], step: number): Grid {
  const size = Math.floor((height * width) / step);
  const values = new Float32Array(size * size);
  const columns = 2 * width - 1;
  for (let p = 0; p < size; p++) {
    const [y, x] = [Math.floor((p * step) / width), (p * step) % width];
    for (let q = 0; q < size; q++) {
      const [dy, dx] = [Math.floor((q * step) / width) - y, ((q * step) % width) - x];
      values[p * size + q] = weights[(dy + height - 1) * columns + dx + width - 1]!;
    }
  }
  return { width: size, height: size, values };
}

/** One channel of the first `size · size` tokens, as an image; NaN where the sequence has ended. */
export function channelImage(data: Float32Array, { length, channels, head }: View, channel: number, size: number): Grid {
  const values = new Float32Array(size * size).fill(NaN);
  for (let n = 0; n < Math.min(length, values.length); n++) values[n] = data[(head * length + n) * channels + channel]!;
  return { width: size, height: size, values };
}

/** The largest magnitude; infinities and NaN aside. */
export function magnitude(values: Float32Array): number {
  let largest = 0;
  for (const value of values) {
    const size = Math.abs(value);
    if (size > largest && size < Infinity) largest = size;
  }
  return largest;
}

type Colour = readonly [number, number, number];

/** From negative over zero to positive; blue to orange, told apart by people who cannot tell red from green. */
const DIVERGING: Readonly<Record<Theme, readonly Colour[]>> = {
  light: [
    [16, 66, 118],
    [84, 148, 203],
    [246, 246, 243],
    [228, 142, 78],
    [134, 47, 8],
  ],
  dark: [
    [160, 208, 255],
    [46, 112, 176],
    [27, 30, 36],
    [184, 92, 38],
    [255, 200, 150],
  ],
};
const INVALID: Readonly<Record<Theme, Colour>> = { light: [224, 224, 222], dark: [50, 53, 60] };

export type Theme = "light" | "dark";

/** Colours of 256 steps from −1 to 1. */
function ramp(theme: Theme): Uint8ClampedArray {
  const stops = DIVERGING[theme];
  const colours = new Uint8ClampedArray(256 * 3);
  for (let step = 0; step < 256; step++) {
    const position = (step / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(position), stops.length - 2);
    for (let part = 0; part < 3; part++) {
      const from = stops[low]![part]!;
      colours[3 * step + part] = from + (position - low) * (stops[low + 1]![part]! - from);
    }
  }
  return colours;
}

const RAMPS: Readonly<Record<Theme, Uint8ClampedArray>> = { light: ramp("light"), dark: ramp("dark") };

/** The colour of `value` on a scale from `−scale` to `scale`. */
export function colourOf(value: number, scale: number, theme: Theme): Colour {
  if (Number.isNaN(value)) return INVALID[theme];
  const step = Math.round(127.5 + 127.5 * Math.min(Math.max(value / (scale || 1), -1), 1));
  const colours = RAMPS[theme];
  return [colours[3 * step]!, colours[3 * step + 1]!, colours[3 * step + 2]!];
}

/** Draws a grid on the diverging scale from `−scale` to `scale`, one cell a pixel; the style sheet stretches it. */
export function paint(canvas: HTMLCanvasElement, grid: Grid, scale: number, theme: Theme): void {
  const image = blank(canvas, grid.width, grid.height);
  grid.values.forEach((value, index) => {
    const [red, green, blue] = colourOf(value, scale, theme);
    image.data.set([red, green, blue, 255], 4 * index);
  });
  context(canvas).putImageData(image, 0, 0);
}

/** Leaves nothing. */
export function wipe(canvas: HTMLCanvasElement): void {
  context(canvas).clearRect(0, 0, canvas.width, canvas.height);
}

/** Draws 8-bit ink on paper; past the end of `pixels` there is none. */
export function paintInk(canvas: HTMLCanvasElement, pixels: Uint8Array, size: number, theme: Theme): void {
  const image = blank(canvas, size, size);
  for (let index = 0; index < size * size; index++) {
    const ink = pixels[index];
    const [red, green, blue] = ink === undefined ? INVALID[theme] : inkColour(ink / 255, theme);
    image.data.set([red, green, blue, 255], 4 * index);
  }
  context(canvas).putImageData(image, 0, 0);
}

const PAPER: Readonly<Record<Theme, readonly [Colour, Colour]>> = {
  light: [
    [246, 246, 243],
    [28, 32, 38],
  ],
  dark: [
    [27, 30, 36],
    [236, 238, 240],
  ],
};

function inkColour(ink: number, theme: Theme): Colour {
  const [paper, full] = PAPER[theme];
  return [0, 1, 2].map((part) => paper[part]! + ink * (full[part]! - paper[part]!)) as unknown as Colour;
}

export interface CurveColours {
  readonly line: string;
  readonly zero: string;
  readonly cursor?: string;
  readonly behind?: string;
}

export interface CurveOptions {
  /** Default: what the values take, and zero. */
  readonly range?: readonly [low: number, high: number];
  /** An index to mark. */
  readonly cursor?: number | undefined;
  /** As many numbers, drawn dashed behind the others. */
  readonly behind?: Float32Array;
  /** Whether offset 0 is in the middle, and gets a line (default). */
  readonly centred?: boolean;
}

/** Draws numbers over their index. A column shows the whole range of those that fall into it. */
export function paintCurve(canvas: HTMLCanvasElement, values: Float32Array, colours: CurveColours, options: CurveOptions = {}): void {
  const density = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * density));
  const height = Math.max(1, Math.round(canvas.clientHeight * density));
  canvas.width = width;
  canvas.height = height;
  const draw = context(canvas);
  const margin = 6 * density;
  const [low, high] = options.range ?? rangeOf(values);
  const y = (value: number) => height - margin - ((value - low) / (high - low || 1)) * (height - 2 * margin);
  const x = (index: number) => ((index + 0.5) / values.length) * width;
  const line = (from: readonly [number, number], to: readonly [number, number]) => {
    draw.beginPath();
    draw.moveTo(...from);
    draw.lineTo(...to);
    draw.stroke();
  };

  draw.strokeStyle = colours.zero;
  draw.lineWidth = density;
  const zero = Math.round(y(0)) + 0.5;
  line([0, zero], [width, zero]);
  const middle = Math.round(width / 2) + 0.5;
  if (options.centred ?? true) line([middle, 0], [middle, height]);
  if (options.cursor !== undefined) {
    draw.strokeStyle = colours.cursor ?? colours.line;
    draw.setLineDash([4 * density, 3 * density]);
    line([x(options.cursor), 0], [x(options.cursor), height]);
    draw.setLineDash([]);
  }

  draw.lineWidth = 1.75 * density;
  draw.lineJoin = "round";
  if (options.behind) {
    draw.strokeStyle = colours.behind ?? colours.zero;
    draw.setLineDash([5 * density, 4 * density]);
    draw.beginPath();
    options.behind.forEach((value, index) => draw.lineTo(x(index), y(value)));
    draw.stroke();
    draw.setLineDash([]);
  }
  draw.strokeStyle = colours.line;
  draw.beginPath();
  if (values.length <= width) {
    values.forEach((value, index) => draw.lineTo(x(index), y(value)));
  } else {
    for (let column = 0, index = 0; column < width; column++) {
      let least = Infinity;
      let most = -Infinity;
      for (const end = Math.floor(((column + 1) * values.length) / width); index < end; index++) {
        least = Math.min(least, values[index]!);
        most = Math.max(most, values[index]!);
      }
      const rising = column === 0 || most === values[index - 1];
      draw.lineTo(column + 0.5, y(rising ? least : most));
      draw.lineTo(column + 0.5, y(rising ? most : least));
    }
  }
  draw.stroke();
}

function rangeOf(values: Float32Array): [number, number] {
  let low = 0;
  let high = 0;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

function blank(canvas: HTMLCanvasElement, width: number, height: number): ImageData {
  canvas.width = width;
  canvas.height = height;
  return new ImageData(width, height);
}

/** Hundreds of small pictures that are written pixel by pixel have no need of a GPU. */
function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const result = canvas.getContext("2d", { willReadFrequently: true });
  if (result === null) throw new Error("This browser has no 2D canvas.");
  return result;
}
