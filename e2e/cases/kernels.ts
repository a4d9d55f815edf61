/** Each kernel that works between input and output, by itself: its workspace is read back and compared with float64. */
import { keyStateLayout } from "../../shaders/attention/feature-map.ts";
import { createFft } from "../../src/math/fft.ts";
import { planProgram } from "../../src/testing/operations.ts";
import type { Program } from "../../src/program/program.ts";
import { chooseSplit } from "../../src/operations/fft/split.ts";
import type { AnySpec } from "../../src/testing/specs.ts";
import { attentionSpec, spectrumSpec, toeplitzSpec } from "../../src/testing/specs.ts";
import { dispatchGroups } from "../../src/testing/programs.ts";
import { type CaseContext, check, checkClose, normals, type Suite } from "./case.ts";
import { runProgram } from "./run-program.ts";

/** The first `count` dispatches of a program, with a workspace as an output. */
function expose(program: Program, workspace: string, count: number): Program {
  const buffers = program.buffers.map(({ slot: _, ...buffer }) =>
    buffer.name === workspace ? { ...buffer, role: "output" as const } : { ...buffer },
  );
  const kept = program.buffers.filter((b) => b.slot !== undefined && b.name !== workspace);
  return {
    ...program,
    buffers: buffers.map((buffer) => {
      const slot = kept.findIndex((b) => b.name === buffer.name);
      return slot < 0 ? buffer : { ...buffer, slot };
    }),
    slots: kept.map((b) => b.bytes),
    dispatches: program.dispatches.slice(0, count),
  };
}

/** After how many dispatches a buffer has been written once, twice and so on. Dispatches that share the work of a kernel write it once. */
function writeEnds({ dispatches }: Program, buffer: string): readonly number[] {
  const firstGroup = (index: number) => dispatches[index]?.params[1] ?? 0;
  return dispatches.flatMap(({ bindings }, i) =>
    firstGroup(i + 1) === 0 && bindings.some((b) => b.buffer === buffer && b.bytesWritten > 0) ? [i + 1] : [],
  );
}

/** Runs a spec up to where `workspace` has been written so many times, or the last time; the workspace starts as NaN. */
async function workspaceOf(
  context: CaseContext,
  spec: AnySpec,
  workspace: string,
  inputs: Readonly<Record<string, Float32Array>>,
  times?: number,
): Promise<Float32Array> {
  const runtime = await context.guaranteed;
  const program = planProgram("test", spec, runtime.limits);
  const ends = writeEnds(program, workspace);
  const exposed = expose(program, workspace, ends[(times ?? ends.length) - 1]!);
  return new Float32Array((await runProgram(runtime.device!, exposed, inputs))[workspace]!);
}

const exp = (x: number) => Math.exp(x);
const elu = (x: number) => (x > 0 ? x + 1 : Math.exp(x));
/** The power of two that elu + 1 is about. */
const eluExponent = (x: number) => (x > 0 ? Math.floor(Math.log2(Math.fround(x + 1))) : Math.round(x * Math.LOG2E));

/** Key states of rows begin … end in float64, with NaN where the layout has padding that nobody writes. */
function keyState(
  options: { headDim: number; valueDim: number; sikf: boolean },
  k: Float32Array,
  v: Float32Array,
  begin: number,
  end: number,
): Float64Array {
  const { headDim, valueDim, sikf } = options;
  const layout = keyStateLayout(headDim, valueDim);
  const state = new Float64Array(layout.size).fill(NaN);
  for (let d = 0; d < headDim; d++) {
    let m = -Infinity;
    for (let j = begin; j < end; j++) m = Math.max(m, (sikf ? Number : eluExponent)(k[j * headDim + d]!));
    state[d] = m;
    const phi = (x: number) => (sikf ? exp(x - m) : elu(x) / 2 ** m);
    state[layout.sum + d] = 0;
    state.fill(0, layout.products + d * layout.stride, layout.products + d * layout.stride + valueDim);
    for (let j = begin; j < end; j++) {
      const weight = phi(k[j * headDim + d]!);
      state[layout.sum + d]! += weight;
      for (let e = 0; e < valueDim; e++) state[layout.products + d * layout.stride + e]! += weight * v[j * valueDim + e]!;
    }
  }
  return state;
}

/** The planner's choice: a buffer holds two complex numbers for each point of it and each head. */
function periodOf(program: Program, buffer: string, heads: number): number {
  return program.buffers.find(({ name }) => name === buffer)!.bytes / (16 * heads);
}

/** Compares where `expected` has a number; the rest is padding. */
function checkWritten(actual: Float32Array, expected: Float64Array, bound: number, what: string): void {
  const written = [...expected.keys()].filter((i) => !Number.isNaN(expected[i]));
  checkClose(
    written.map((i) => actual[i]!),
    written.map((i) => expected[i]!),
    bound,
    what,
  );
}

export const kernelSuite: Suite = {
  name: "kernels",
  cases: [
    ...(["sikf", "elu+1"] as const).map((featureMap) => ({
      name: `linear-attention-reduce and -combine, ${featureMap}: states of chunks and their sum`,
      run: async (context: CaseContext) => {
        const runtime = await context.guaranteed;
        for (const [heads, length, headDim, valueDim] of [
          [2, 1000, 7, 5],
          [1, 777, 65, 66],
          [3, 513, 32, 32],
          [1, 600, 1, 1],
          [1, 300, 100, 3],
        ] as const) {
          const spec = attentionSpec({ heads, length, headDim, valueDim, featureMap });
          const k = normals(1, heads * length * headDim);
          const v = normals(2, heads * length * valueDim);
          const program = planProgram("test", spec, runtime.limits);
          const chunks = program.buffers.find((b) => b.name === "states")!.bytes / (4 * heads * keyStateLayout(headDim, valueDim).size);
          if (chunks === 1 && context.lowered) continue;
          check(chunks > 1, `expected several chunks for length ${length}`);
          const chunkRows = Number(/CHUNK_ROWS = (\d+)u/.exec(program.dispatches[0]!.kernel.code)![1]);
          const head = (data: Float32Array, h: number, dim: number) => data.subarray(h * length * dim, (h + 1) * length * dim);
          const options = { headDim, valueDim, sikf: featureMap === "sikf" };
          const stateOf = (h: number, begin: number, end: number) =>
            keyState(options, head(k, h, headDim), head(v, h, valueDim), begin, Math.min(end, length));
          const range = (n: number) => Array.from({ length: n }, (_, i) => i);
          const partial = range(heads).flatMap((h) => range(chunks).flatMap((c) => [...stateOf(h, c * chunkRows, (c + 1) * chunkRows)]));
          const total = range(heads).flatMap((h) => [...stateOf(h, 0, length)]);
          const what = `${featureMap} ${heads} × ${length} × ${headDim} × ${valueDim}`;
          checkWritten(await workspaceOf(context, spec, "states", { q: k, k, v }), Float64Array.from(partial), 3e-7, `${what}, chunks`);
          checkWritten(await workspaceOf(context, spec, "combined", { q: k, k, v }), Float64Array.from(total), 3e-7, `${what}, combined`);
        }
      },
    })),
    {
      name: "toeplitz-embed: the circulant and the turned skew-circulant half",
      sample: true,
      run: async (context) => {
        const [heads, length] = [3, 9990]; // shorter ones stay in registers
        const spec = spectrumSpec(toeplitzSpec({ heads, length, channels: 1 }));
        const program = planProgram("test", spec, (await context.guaranteed).limits);
        const period = periodOf(program, "spectrum", heads);
        const weights = normals(3, heads * (2 * length - 1));
        const expected = new Float64Array(heads * 2 * period * 2);
        for (let h = 0; h < heads; h++) {
          const t = (k: number) => (Math.abs(k) < length ? weights[h * (2 * length - 1) + length - 1 - k]! : 0);
          for (let k = 0; k < period; k++) {
            const angle = (-Math.PI * k) / period;
            const skew = (t(k) - t(k - period)) / 2 / period;
            const at = 2 * (2 * h * period + k);
            expected[at] = (t(k) + t(k - period)) / 2 / period;
            expected[at + 2 * period] = skew * Math.cos(angle);
            expected[at + 2 * period + 1] = skew * Math.sin(angle);
          }
        }
        // On a small device, one group of heads after the other.
        const groups = writeEnds(program, "embedded").length;
        const step = Math.ceil(heads / groups);
        for (let group = 0; group < groups; group++) {
          const part = expected.subarray(4 * period * step * group, 4 * period * step * (group + 1));
          const embedded = await workspaceOf(context, spec, "embedded", { weights }, group + 1);
          checkClose(embedded.subarray(0, part.length), part, 2 ** -23, `embedded, group ${group + 1} of ${groups}`);
        }
      },
    },
    {
      name: "toeplitz-columns and -rows: work after one pass and after two",
      run: async (context) => {
        const runtime = await context.guaranteed;
        const [length, channels] = [9990, 4];
        const spec = toeplitzSpec({ heads: 1, length, channels });
        const period = periodOf(planProgram("test", spec, runtime.limits), "spectrum", 1);
        check(period > length, `expected some padding, the period is ${period}`);
        const { a, b } = chooseSplit(period, runtime.limits)!;
        const passes = dispatchGroups(planProgram("test", spec, runtime.limits)).length;
        // On a small device, one group of pairs after the other.
        const groups = passes / 3;
        const pairs = channels / 2 / groups;
        check(Number.isInteger(pairs), `expected three passes for each group of pairs, got ${passes}`);
        const v = normals(4, length * channels);
        const spectrum = spectrumOfReal(normals(5, 2 * period * 2), a, b);
        const half = spectrum.slice(); // rows that are images of others are not read
        for (let line = 0; line < 2 * a; line++) {
          const [branch, k] = [Math.floor(line / a), line % a];
          if (2 * k > a - branch) half.fill(NaN, 2 * line * b, 2 * (line + 1) * b);
        }
        const [fftA, fftB] = [createFft(a), createFft(b)];
        const at = (branch: number, k: number, row: number, c: number) => ((branch * a + k) * b + row) * pairs + c;
        for (let group = 0; group < groups; group++) {
          const columns = new Float64Array(2 * period * pairs * 2);
          const rows = new Float64Array(columns.length);
          for (let branch = 0; branch < 2; branch++) {
            for (let c = 0; c < pairs; c++) {
              const channel = 2 * (group * pairs + c);
              for (let row = 0; row < b; row++) {
                const column = new Float64Array(2 * a);
                for (let i = 0; i < a; i++) {
                  const n = i * b + row;
                  const from = n * channels + channel;
                  if (n < length) turn(column, i, v[from]!, v[from + 1]!, branch === 0 ? 0 : n / (2 * period));
                }
                fftA.transform(column, "forward");
                for (let k = 0; k < a; k++) turn(columns, at(branch, k, row, c), column[2 * k]!, column[2 * k + 1]!, (row * k) / period);
              }
              for (let k = 0; k < a; k++) {
                const line = new Float64Array(2 * b);
                for (let row = 0; row < b; row++) line.set(columns.subarray(2 * at(branch, k, row, c), 2 * at(branch, k, row, c) + 2), 2 * row);
                fftB.transform(line, "forward");
                for (let j = 0; j < b; j++) {
                  const s = 2 * ((branch * a + k) * b + j);
                  const [re, im, sr, si] = [line[2 * j]!, line[2 * j + 1]!, spectrum[s]!, spectrum[s + 1]!];
                  line[2 * j] = re * sr - im * si;
                  line[2 * j + 1] = re * si + im * sr;
                }
                fftB.transform(line, "inverse");
                for (let row = 0; row < b; row++) {
                  const i = at(branch, k, row, c);
                  turn(rows, i, line[2 * row]!, line[2 * row + 1]!, (-row * (2 * k + branch)) / (2 * period));
                  [rows[2 * i], rows[2 * i + 1]] = [rows[2 * i + 1]!, rows[2 * i]!]; // left swapped, as the header says
                }
              }
            }
          }
          const work = (times: number) => workspaceOf(context, spec, "work", { v, spectrum: half }, 2 * group + times);
          checkClose(await work(1), columns, 3e-7, `columns, group ${group + 1} of ${groups}`);
          checkClose(await work(2), rows, 3e-7, `rows, group ${group + 1} of ${groups}`);
        }
      },
    },
  ],
};

/**
 * Spectra [2, a, b] of a circulant and a skew-circulant matrix of real numbers, from any numbers: at k = k_a + a·k_b, the conjugate of what
 * is at the negative of the frequency k, or k + 1/2.
 */
function spectrumOfReal(numbers: Float32Array, a: number, b: number): Float32Array {
  const period = a * b;
  for (let branch = 0; branch < 2; branch++) {
    const at = (k: number) => 2 * ((branch * a + (k % a)) * b + Math.floor(k / a));
    for (let k = 0; k < period; k++) {
      const image = (period - branch - k) % period;
      if (image === k) numbers[at(k) + 1] = 0;
      if (image < k) numbers.set([numbers[at(image)]!, -numbers[at(image) + 1]!], at(k));
    }
  }
  return numbers;
}

/** Writes z exp(−2πi t) as complex number `index`. */
function turn(target: Float64Array, index: number, re: number, im: number, t: number): void {
  const [c, s] = [Math.cos(2 * Math.PI * t), -Math.sin(2 * Math.PI * t)];
  target[2 * index] = re * c - im * s;
  target[2 * index + 1] = re * s + im * c;
}
