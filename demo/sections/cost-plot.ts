/** A plot against N, both axes logarithmic. */
import uPlot from "uplot";
import { count } from "../format.ts";
import { colour, onRepaint } from "../theme.ts";

export interface Line {
  readonly colour: `--${string}`;
  /** Lines and points differ in shape too, so that colours are not needed. */
  readonly dash?: number[];
  readonly width: number;
  readonly mark?: "square" | "triangle" | "circle";
}

export interface PlotOptions {
  readonly lines: readonly Line[];
  /** Of the values; axis labels are at its powers. */
  readonly base: 2 | 10;
  readonly format: (value: number) => string;
  /** What the axes show while there are no values. */
  readonly empty: readonly [number, number];
}

type Values = readonly (number | null)[];

const EMPTY_LENGTHS = [256, 65_536] as const;
const FONT_FAMILY = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
/** In CSS pixels. */
const MARK = 9;

export class CostPlot {
  readonly #plot: uPlot;
  #marked: number | undefined;

  constructor(holder: HTMLElement, { lines, base, format, empty }: PlotOptions) {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const font = `${0.8125 * rem}px ${FONT_FAMILY}`;
    const axis = {
      font,
      labelFont: font,
      stroke: () => colour("--soft"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { stroke: () => colour("--line"), width: 1, size: 5 },
    };
    const space = { x: 4.5 * rem, y: 2 * rem };
    const size = () => ({ width: Math.max(holder.clientWidth, 160), height: holder.clientHeight });
    this.#plot = new uPlot(
      {
        ...size(),
        padding: [0.5 * rem, 2 * rem, 0, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: false, distr: 3, log: 2, range: (_, min, max) => around(min ?? EMPTY_LENGTHS[0], Math.max(max ?? 0, 4096), 1.25) },
          y: { distr: 3, log: base, range: (_, min, max) => (min === null || max === null ? [...empty] : around(min, max, 1.5)) },
        },
        axes: [
          {
            ...axis,
            label: "N, the number of tokens",
            labelSize: 1.5 * rem,
            size: 1.75 * rem,
            splits: (u, _, min, max) => powers(2, min, max, u.bbox.width / devicePixelRatio / space.x),
            values: (_, splits) => splits.map(count),
            filter: (_, splits) => splits,
          },
          {
            ...axis,
            size: 4.75 * rem,
            splits: (u, _, min, max) => powers(base, min, max, u.bbox.height / devicePixelRatio / space.y),
            values: (_, splits) => splits.map(format),
            filter: (_, splits) => splits,
          },
        ],
        series: [
          {},
          ...lines.map(({ colour: name, dash, width }) => ({
            stroke: () => colour(name),
            width,
            spanGaps: true,
            points: { show: false },
            ...(dash && { dash }),
          })),
        ],
        hooks: {
          drawAxes: [(u) => this.#drawMarked(u)],
          drawSeries: [(u, index) => drawMarks(u, index, lines[index - 1])],
        },
      },
      CostPlot.#data(
        [],
        lines.map(() => []),
      ),
      holder,
    );
    let seen = "";
    new ResizeObserver(() => {
      const { width, height } = size();
      if (seen !== (seen = `${width}x${height}`)) this.#plot.setSize({ width, height });
    }).observe(holder);
    onRepaint(() => this.#plot.redraw());
  }

  /** `marked`: where a vertical line stands. */
  show(ns: readonly number[], values: readonly Values[], marked: number | undefined): void {
    this.#marked = marked;
    this.#plot.setData(CostPlot.#data(ns, values));
  }

  /** Without values the axes are there, and nothing on them. */
  static #data(ns: readonly number[], values: readonly Values[]): uPlot.AlignedData {
    if (ns.length === 0) return [[...EMPTY_LENGTHS], ...values.map(() => [null, null])];
    return [[...ns], ...values.map((line) => [...line])];
  }

  #drawMarked(u: uPlot): void {
    if (this.#marked === undefined) return;
    const { ctx, bbox } = u;
    const x = Math.round(u.valToPos(this.#marked, "x", true)) + 0.5;
    ctx.save();
    ctx.strokeStyle = colour("--soft");
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
}

function around(min: number, max: number, factor: number): [number, number] {
  return [min / factor, max * factor];
}

/** Powers of `base`, at most `most` of them, at even distances; with room, twice and five times those of ten too. */
export function powers(base: number, min: number, max: number, most: number): number[] {
  const log = (value: number) => Math.log(value) / Math.log(base);
  const [first, last] = [Math.ceil(log(min) - 1e-9), Math.floor(log(max) + 1e-9)];
  const step = Math.max(1, Math.ceil((last - first) / Math.max(1, most)));
  if (base === 10 && 3 * (last - first + 2) <= most) {
    const between = Array.from({ length: last - first + 2 }, (_, i) => [1, 2, 5].map((digit) => digit * 10 ** (first - 1 + i))).flat();
    return between.filter((value) => value >= min && value <= max);
  }
  const found: number[] = [];
  for (let exponent = first; exponent <= last; exponent += step) found.push(base ** exponent);
  return found;
}

function drawMarks(u: uPlot, index: number, line: Line | undefined): void {
  if (!line?.mark) return;
  const { ctx } = u;
  const radius = (MARK / 2) * devicePixelRatio;
  ctx.save();
  ctx.fillStyle = colour(line.colour);
  ctx.strokeStyle = colour("--card");
  ctx.lineWidth = devicePixelRatio;
  for (const [i, value] of u.data[index]!.entries()) {
    if (value == null) continue;
    const [x, y] = [u.valToPos(u.data[0][i]!, "x", true), u.valToPos(value, "y", true)];
    ctx.beginPath();
    if (line.mark === "circle") ctx.arc(x, y, radius, 0, 2 * Math.PI);
    else if (line.mark === "square") ctx.rect(x - radius, y - radius, 2 * radius, 2 * radius);
    else {
      ctx.moveTo(x, y - 1.2 * radius);
      ctx.lineTo(x + 1.2 * radius, y + radius);
      ctx.lineTo(x - 1.2 * radius, y + radius);
      ctx.closePath();
    }
    ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
}
