/** What optimisers do in float64, against PyTorch, and the plans. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { FastRpbError } from "../../core/errors.ts";
import { runTask, type WideValues } from "../../testing/nodes.ts";
import { LIMIT_SETS, limitsWith } from "../../testing/planning.ts";
import { programComplaints, thawed, total } from "../../testing/programs.ts";
import { normals, random, relativeL2 } from "../../testing/random.ts";
import { planProgram, type Task, task } from "../operation.ts";
import { adamW, average, guard, sgd, sumOfSquares } from "./operation.ts";
import { type AdamWOptions, adamWSpec, averageSpec, guardSpec, sgdSpec, type SgdOptions, sumOfSquaresSpec } from "./spec.ts";

type Options = Omit<AdamWOptions & SgdOptions, "size"> & { readonly optimizer: "adamW" | "sgd" };
type Numbers = readonly number[];
interface Fixture {
  readonly parameters: Numbers;
  readonly gradients: readonly Numbers[];
  readonly rates: Numbers;
  readonly averageDecay: number;
  readonly cases: readonly ({ readonly options: Options; readonly first: Numbers } & Readonly<Record<string, Numbers>>)[];
}

const FIXTURE = JSON.parse(readFileSync(new URL("../../testing/fixtures/nn-optimizers.json", import.meta.url), "utf8")) as Fixture;
const SIZE = FIXTURE.parameters.length;
const WELL = { health: new Uint32Array(2) };
const KEPT = ["mean", "square", "momentum"] as const;
const zeros = () => new Float64Array(SIZE);

function optimizerOf({ optimizer, ...options }: Options, rateIndex: number): Task {
  const all = { ...options, size: SIZE, rateIndex };
  return optimizer === "adamW" ? task(adamW, adamWSpec(all)) : task(sgd, sgdSpec(all));
}

describe("20 steps of PyTorch", () => {
  test.each(FIXTURE.cases.map((entry, at) => [JSON.stringify(entry.options), entry, at] as const))("%s", async (_name, entry, at) => {
    const { options } = entry;
    const rateIndex = at % 3;
    const one = optimizerOf(options, rateIndex);
    const mean = task(average, averageSpec({ size: SIZE, decay: FIXTURE.averageDecay }));
    const start = Float64Array.from(FIXTURE.parameters);
    let state: WideValues = { ...WELL, parameters: start, average: start, mean: zeros(), square: zeros(), momentum: zeros() };
    for (const [step, numbers] of FIXTURE.gradients.entries()) {
      const gradients = Float64Array.from(numbers);
      const { out: norm } = await runTask(task(sumOfSquares, sumOfSquaresSpec({ size: SIZE })), { x: gradients });
      const { beta1 = 0, beta2 = 0 } = options;
      const own = [FIXTURE.rates[step]!, 1 - beta1 ** (step + 1), Math.sqrt(1 - beta2 ** (step + 1)), NaN].slice(
        0,
        options.optimizer === "sgd" ? 1 : 4,
      );
      const rates = Float64Array.from([...Array<number>(rateIndex).fill(NaN), ...own]);
      state = await runTask(one, { ...state, gradients, norm: norm!, rates });
      state = await runTask(mean, state);
      if (step === 0) expect(relativeL2(state["parameters"]!, entry.first)).toBeLessThan(1e-15);
    }
    for (const name of ["parameters", "average", ...KEPT]) {
      if (entry[name]) expect(relativeL2(state[name]!, entry[name]), name).toBeLessThan(1e-14);
    }
    expect(Object.keys(entry).filter((name) => KEPT.some((kept) => kept === name))).toEqual(
      Object.keys(tensorsOf(one)).filter((name) => KEPT.some((kept) => kept === name)),
    );
  });
});

function tensorsOf({ operation, spec }: Task) {
  return operation.tensors(spec, limitsWith());
}

describe("guard", () => {
  const look = async (norm: number, loss: number, step: number, health: readonly [number, number] = [0, 0]) => {
    const given = {
      norm: Float64Array.of(norm),
      loss: Float64Array.of(loss),
      clock: Uint32Array.of(7, 8, step, 9),
      health: Uint32Array.from(health),
    };
    return [...(await runTask(task(guard, guardSpec()), given))["health"]!];
  };

  test("lets go on what is finite", async () => {
    expect(await look(1, -2, 5)).toEqual([0, 0]);
    expect(await look(0, 1e300, 0)).toEqual([0, 0]);
  });

  test("tells the step and what it was", async () => {
    expect(await look(NaN, 1, 0)).toEqual([1, 2]);
    expect(await look(Infinity, 1, 41)).toEqual([42, 2]);
    expect(await look(1, -Infinity, 3)).toEqual([4, 1]);
    expect(await look(NaN, NaN, 3)).toEqual([4, 3]);
  });

  test("stays with the first", async () => {
    expect(await look(1, 1, 9, [4, 1])).toEqual([4, 1]);
    expect(await look(NaN, NaN, 9, [4, 1])).toEqual([4, 1]);
  });

  test("nothing changes after it", async () => {
    const size = 5;
    const drawn = (seed: number) => Float64Array.from(normals(seed, size));
    const given = { gradients: drawn(1), parameters: drawn(2), mean: drawn(3), square: drawn(4), momentum: drawn(5), average: drawn(6) };
    const rest = { norm: Float64Array.of(NaN), rates: Float64Array.of(0.1, 0.1, 0.1, 0), health: Uint32Array.of(3, 2) };
    const tasks = [
      task(adamW, adamWSpec({ size, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, clipNorm: 1, weightDecay: 0.1 })),
      task(sgd, sgdSpec({ size, momentum: 0.9, clipNorm: 1, rateCount: 4 })),
      task(average, averageSpec({ size, decay: 0.9 })),
    ];
    for (const one of tasks) expect(await runTask(one, { ...given, ...rest })).toEqual({ ...given, ...rest });
  });
});

test("specs refuse groups that are not all parameters in order, and rates that are not there", () => {
  const group = (end: number) => ({ end, weightDecay: 0, rateFactor: 1 });
  for (const ends of [[], [3], [5, 4], [2, 2, 4], [0, 4], [4, 5]])
    expect(() => sgdSpec({ size: 4, groups: ends.map(group) }), `${ends}`).toThrow(TypeError);
  expect(() => adamWSpec({ size: 4, beta1: 0.9, beta2: 0.9, epsilon: 1, rateIndex: 1, rateCount: 4 })).toThrow(TypeError);
  expect(() => sgdSpec({ size: 4, nesterov: true })).toThrow(TypeError);
  expect(thawed(sgdSpec({ size: 4, groups: [group(1), group(4)] }))).toEqual([]);
});

describe("plans", () => {
  const seed = 7;
  const uniform = random(seed);
  const sizes = [
    1,
    2,
    3,
    4,
    5,
    100,
    1023,
    1024,
    1025,
    2 ** 18,
    2 ** 18 + 1,
    1e6 + 1,
    3e6,
    ...Array.from({ length: 6 }, () => Math.ceil(3e6 * uniform() ** 3)),
  ];
  const groups = (size: number) => (size < 3 ? undefined : [1, 2, size].map((end) => ({ end, weightDecay: end % 2, rateFactor: end })));
  const tasksOf = (size: number): readonly Task[] => [
    task(sumOfSquares, sumOfSquaresSpec({ size })),
    task(adamW, adamWSpec({ size, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clipNorm: 1, weightDecay: 0.01, groups: groups(size) })),
    task(adamW, adamWSpec({ size, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, rateIndex: 3 })),
    task(sgd, sgdSpec({ size })),
    task(sgd, sgdSpec({ size, momentum: 0.9, nesterov: true, clipNorm: 2, groups: groups(size) })),
    task(average, averageSpec({ size, decay: 0.999 })),
  ];

  test.each(Object.entries(LIMIT_SETS))("on a device: %s", (_name, limits) => {
    for (const one of [task(guard, guardSpec()), ...sizes.flatMap(tasksOf)]) {
      const what = `${JSON.stringify(one.spec)}, seed ${seed}`;
      let program;
      try {
        program = planProgram("test", one, limits);
      } catch (error) {
        if (error instanceof FastRpbError && error.code === "limit") continue;
        throw error;
      }
      expect(programComplaints(program, limits), what).toEqual([]);
      expect(thawed(program), what).toEqual([]);
      const least = total(program.buffers, ({ role, bytes }) => (role === "inout" ? 2 * bytes : role === "workspace" ? 2 * bytes : bytes));
      expect(program.cost.bytesMoved, what).toBeLessThanOrEqual(least + 8 * 4 * program.dispatches.length);
    }
  });

  test("one dispatch where a binding holds all, two for a sum of more than a workgroup takes", () => {
    const counted = (one: Task) => planProgram("test", one, limitsWith()).cost.dispatches;
    const size = 100_000;
    expect(tasksOf(size).map(counted)).toEqual([2, 1, 1, 1, 1, 1]);
    expect(tasksOf(100).map(counted)).toEqual([1, 1, 1, 1, 1, 1]);
  });

  test("parameters that no binding holds go in slices, of which each knows its first", () => {
    const limits = limitsWith({ maxStorageBufferBindingSize: 2 ** 20 });
    const program = planProgram("test", tasksOf(2 ** 20)[1]!, limits);
    const first = program.dispatches.map(({ kernel, params }) => params[kernel.params.indexOf("first")]);
    expect(first).toEqual([0, 1, 2, 3].map((slice) => (slice * 2 ** 20) / 16));
  });
});
