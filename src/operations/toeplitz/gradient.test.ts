/** Plans of the gradient of a Toeplitz product: within the limits, every channel of every head once, no sum read before it is begun. */
import { expect, test } from "vitest";
import { elementCount } from "../../core/check.ts";
import { type ToeplitzGradientSpec, toeplitzGradientSpec, type ToeplitzOptions, toeplitzSpec, weightsShape } from "../../testing/specs.ts";
import { DESKTOP_LIMITS, LIMIT_SETS, limitsWith } from "../../testing/planning.ts";
import { constantOf, leastReads, programComplaints, tryPlan } from "../../testing/programs.ts";
import { planProgram } from "../../testing/operations.ts";
import type { Program, ProgramDispatch } from "../../program/program.ts";
import { sum } from "../../program/units.ts";

function specOf(options: ToeplitzOptions, variableLengths = false): ToeplitzGradientSpec {
  return { ...toeplitzGradientSpec(toeplitzSpec(options)), variableLengths };
}

function param(dispatch: ProgramDispatch, name: string): number {
  return dispatch.params[dispatch.kernel.params.indexOf(name)]!;
}

/** What is wrong with the sums of correlations: each (batch row, head, pair) once, and in a place that was begun for its head. */
function sumComplaints(spec: ToeplitzGradientSpec, program: Program): string[] {
  const found: string[] = [];
  const pairs = Math.ceil(spec.channels / 2);
  const times = new Map<string, number>();
  /** Head of each place. */
  const places = new Map<number, number>();
  let firstPair = NaN;
  let points = NaN;
  const weights = elementCount(weightsShape(spec).slice(1));
  let written = 0;
  for (const dispatch of program.dispatches) {
    const at = (name: string) => param(dispatch, name);
    const { id, constants } = dispatch.kernel;
    const [source] = dispatch.bindings;
    if (id === "toeplitz/pack") firstPair = at("firstPair");
    if (id === "fft/pass" && source!.buffer === "v") firstPair = ((source!.offset / 8 + 2 ** 32 - at("sourceBase")) % 2 ** 32) % pairs;
    if (id === "toeplitz/correlate-fused") {
      points =
        dispatch.bindings.find(({ name }) => name === "sums")!.bytesWritten / 8 / at("heads") / at("parts") / constantOf(dispatch, "shape.columns");
      for (let h = 0; h < at("heads"); h++) {
        places.set(h, h);
        for (let column = 0; column < at("columns"); column++) {
          times.set(`${Math.floor(column / pairs) * spec.heads + h}, ${column % pairs}`, 1);
        }
      }
    }
    if (id === "toeplitz/correlate" && constants["multiplied"] !== true) {
      points = constantOf(dispatch, "points");
      const slice = dispatch.bindings.find(({ name }) => name === "sum")!;
      const first = (slice.offset / 8 + ((2 ** 32 - at("sumBase")) % 2 ** 32)) / points;
      if (!Number.isInteger(first)) found.push(`sums start at ${first}`);
      for (let i = 0; i < at("swept"); i++) {
        const h = at("firstSwept") + i;
        const adding = constants["accumulate"] === true;
        if (adding ? places.get(first + i) !== h : places.get(first + i) === h) found.push(`head ${h}, adding: ${adding}`);
        places.set(first + i, h);
        for (let local = 0; local < at("count"); local++) {
          const bh = at("firstHead") + local;
          if (bh % spec.heads !== h) continue;
          for (let p = 0; p < at("pairs"); p++) {
            const key = `${bh}, ${firstPair + p}`;
            times.set(key, (times.get(key) ?? 0) + 1);
          }
        }
      }
    }
    if (id === "toeplitz/weight-gradient") {
      const out = dispatch.bindings.find(({ name }) => name === "out")!;
      const first = out.offset / 4 + ((2 ** 32 - at("outBase")) % 2 ** 32);
      const correlations = dispatch.bindings.find(({ name }) => name === "correlations")!;
      const place = (correlations.offset / 8 + ((2 ** 32 - at("correlationsBase")) % 2 ** 32)) / points;
      if (first !== written || out.bytesWritten !== 4 * at("count")) found.push(`${at("count")} weights from ${first} on`);
      for (let i = 0; i < at("count") / weights; i++) {
        if (places.get(place + i) !== first / weights + i) found.push(`the sum of head ${first / weights + i} is not there`);
      }
      written += at("count");
    }
  }
  if (written !== spec.heads * weights) found.push(`${written} weights`);
  for (let bh = 0; bh < spec.batch * spec.heads; bh++) {
    for (let p = 0; p < pairs; p++) if (times.get(`${bh}, ${p}`) !== 1) found.push(`pair ${p} of ${bh}: ${times.get(`${bh}, ${p}`) ?? 0} times`);
  }
  return found;
}

const SPECS = [
  specOf({ heads: 1, length: 1, channels: 1 }),
  specOf({ heads: 5, batch: 3, length: 100, channels: 7 }),
  specOf({ heads: 3, batch: 2, length: 1001, channels: 40, causal: true }, true),
  specOf({ heads: 2, batch: 2, length: 20000, channels: 5 }),
  specOf({ heads: 4, batch: 3, grid: [30, 21], channels: 3 }),
  specOf({ heads: 7, batch: 2, grid: [1, 90], channels: 33 }),
];

test.each(Object.entries(LIMIT_SETS))("obeys %s", (name, limits) => {
  let planned = 0;
  for (const spec of SPECS) {
    const program = tryPlan(spec, limits);
    if (!program) continue;
    planned++;
    const what = JSON.stringify(spec);
    expect(programComplaints(program, limits), what).toEqual([]);
    for (const { name: buffer, role, bytes } of program.buffers) {
      const moved = (way: "bytesRead" | "bytesWritten") =>
        sum(program.dispatches, ({ bindings }) => sum(bindings, (binding) => (binding.buffer === buffer ? binding[way] : 0)));
      if (role === "output") expect(moved("bytesWritten"), `${what}, ${buffer}`).toBe(bytes);
      if (role === "input") expect(moved("bytesRead"), `${what}, ${buffer}`).toBeGreaterThanOrEqual(leastReads(program, { name: buffer, bytes }));
    }
    expect(sumComplaints(spec, program), what).toEqual([]);
  }
  expect(planned, "a test of nothing").toBeGreaterThanOrEqual({ default: 6, desktop: 6, "tiny workgroups": 3 }[name] ?? 4);
});

test("a million tokens, heads one by one where the sums of all would not fit", () => {
  const spec = specOf({ heads: 16, length: 2 ** 20, channels: 4 });
  const program = planProgram("test", spec, DESKTOP_LIMITS);
  expect(sumComplaints(spec, program)).toEqual([]);
  expect(program.cost.workspaceBytes).toBeLessThanOrEqual(DESKTOP_LIMITS.workspaceBytes);
  expect(program.dispatches.filter(({ kernel }) => kernel.id === "toeplitz/weight-gradient")).toHaveLength(16);
});

test("too little workspace is refused by its name", () => {
  const spec = specOf({ heads: 1, length: 2 ** 16, channels: 4 });
  expect(() => planProgram("test", spec, limitsWith({ workspaceBytes: 2 ** 22 }))).toThrow(
    /test: one pair of channels takes \d+ bytes, but workspaceBytes/,
  );
  expect(() => planProgram("test", spec, limitsWith({ maxStorageBufferBindingSize: 2 ** 19 }))).toThrow(/maxStorageBufferBindingSize/);
});
