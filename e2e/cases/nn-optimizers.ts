/** Steps of optimisers, and what keeps a number that is not finite from the parameters. */
import { graph, graphSpec } from "../../src/graph/graph.ts";
import { planProgram, task, type TaskNode } from "../../src/operations/operation.ts";
import { adamW, average, guard, record, sgd, sumOfSquares } from "../../src/operations/optimizers/operation.ts";
import {
  adamWSpec,
  averageSpec,
  guardSpec,
  HISTORY_COLUMNS,
  HISTORY_ROWS,
  HISTORY_SIZE,
  recordSpec,
  sgdSpec,
  sumOfSquaresSpec,
} from "../../src/operations/optimizers/spec.ts";
import type { Runtime } from "../../src/index.ts";
import { limitsWith } from "../../src/testing/planning.ts";
import { checkTask } from "./bytes.ts";
import { type CaseContext, check, normals, type Suite, together } from "./case.ts";
import { compareNodes, compareTask, type NarrowValues } from "./compare-nodes.ts";
import { runProgram } from "./run-program.ts";

const BOUND = 1e-6;
const STEPS = 20;
/** Of which a binding holds 2048 numbers. */
const SMALL = { limits: { maxStorageBufferBindingSize: 2 ** 13 } };

const sumsTo = (size: number) => task(sumOfSquares, sumOfSquaresSpec({ size }));
const groupsOf = (size: number) =>
  [...new Set([1, Math.ceil(size / 3), Math.ceil(size / 2) + 1, size].filter((end) => end <= size))].map((end, i) => ({
    end,
    weightDecay: 0.1 * (i % 3),
    rateFactor: 1 + i,
  }));

/** The optimisers, with everything that makes another text. */
function optimizersOf(size: number) {
  const betas = { size, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
  return [
    task(adamW, adamWSpec({ ...betas, rateCount: 6 })),
    task(adamW, adamWSpec({ ...betas, groups: groupsOf(size), clipNorm: 2, rateIndex: 2 })),
    task(adamW, adamWSpec({ ...betas, beta1: 0, beta2: 0.25, epsilon: 0.01, weightDecay: 0.1, clipNorm: 1e9, rateCount: 6 })),
    task(sgd, sgdSpec({ size, rateCount: 6 })),
    task(sgd, sgdSpec({ size, momentum: 0.9, weightDecay: 0.1, clipNorm: 2, rateIndex: 1, rateCount: 6 })),
    task(sgd, sgdSpec({ size, momentum: 0.9, nesterov: true, groups: groupsOf(size), rateCount: 6 })),
  ];
}

/** What an optimiser of {@link optimizersOf} changes. */
function changedBy({ operation, spec }: ReturnType<typeof optimizersOf>[number]): readonly string[] {
  if (operation === adamW) return ["parameters", "mean", "square"];
  return (spec as { momentum?: number }).momentum === 0 ? ["parameters"] : ["parameters", "momentum"];
}

/** Tensors of a step, by the names of the optimisers'. */
function givenOf(size: number, seed: number): Record<string, Float32Array | Uint32Array> {
  return {
    parameters: normals(seed, size),
    average: normals(seed + 1, size),
    mean: normals(seed + 2, size),
    square: normals(seed + 3, size).map((x) => x * x),
    momentum: normals(seed + 4, size),
    loss: Float32Array.of(1.5),
    clock: Uint32Array.of(1, 2, 41, 3),
    health: new Uint32Array(2),
  };
}

/** Nodes of a training step as a trainer has them; gradients and rates are those of the step. */
function stepNodes(optimizer: ReturnType<typeof optimizersOf>[number], size: number, step: number): readonly TaskNode[] {
  const own = Object.fromEntries(["parameters", "mean", "square", "momentum", "average", "norm", "health"].map((name) => [name, name]));
  const gradients = `gradients ${step}`;
  return [
    { task: sumsTo(size), values: { x: gradients, out: "norm" } },
    { task: task(guard, guardSpec()), values: { norm: "norm", loss: "loss", clock: "clock", health: "health" } },
    { task: optimizer, values: { ...own, gradients, rates: `rates ${step}` } },
    { task: task(average, averageSpec({ size, decay: 0.99 })), values: own },
  ];
}

async function compareSteps(runtime: Runtime, size: number, seed: number, only?: number): Promise<void> {
  await together(optimizersOf(size), async (optimizer, at) => {
    if (only !== undefined && at !== only) return;
    const given = givenOf(size, seed);
    const nodes: TaskNode[] = [];
    for (let step = 0; step < STEPS; step++) {
      given[`gradients ${step}`] = normals(seed + 10 + step, size);
      // Any of them may be the first: of the corrections of AdamW none is larger than 1.
      given[`rates ${step}`] = Float32Array.of(0.01, 0.1, 0.02, 0.3, 0.4, 0.5);
      nodes.push(...stepNodes(optimizer, size, step));
    }
    const results = [...changedBy(optimizer), "average", "health"];
    await compareNodes(runtime, nodes, given, results, BOUND, `${JSON.stringify(optimizer.spec)}, ${STEPS} steps, seed ${seed}`);
  });
}

const NOT_FINITE = [NaN, Infinity, -Infinity];

function isFiniteByBits(data: NarrowValues[string], at = 0): boolean {
  return (new Uint32Array(data.buffer)[at]! & 0x7f800000) !== 0x7f800000;
}

/** The sums of squares of tensors of one size on the GPU, all in one Program: their bits. */
async function gpuSums(runtime: Runtime, all: readonly Float32Array[]): Promise<readonly Float32Array[]> {
  const one = sumsTo(all[0]!.length);
  const nodes = all.map((_, i): TaskNode => ({ task: one, values: { x: `x ${i}`, out: `out ${i}` } }));
  const results = all.map((_, i) => `out ${i}`);
  const program = planProgram("test", task(graph, graphSpec({ nodes, results })), runtime.limits);
  const bits = await runProgram(runtime.device!, program, Object.fromEntries(all.map((x, i) => [`x ${i}`, x])));
  return results.map((name) => new Float32Array(bits[name]!));
}

async function compareSums(runtime: Runtime, sizes: readonly number[]): Promise<void> {
  for (const size of sizes) {
    const x = normals(size, size);
    const what = `sum of squares of ${size} numbers, seed ${size}`;
    const { out } = await compareTask(runtime, sumsTo(size), { x }, ["out"], BOUND, what);
    const broken = [...NOT_FINITE, 1e30, -3e19].flatMap((value) => [0, Math.floor(size / 3), size - 1].map((at) => ({ value, at })));
    const spoilt = broken.map(({ value, at }) => x.map((number, i) => (i === at ? value : number)));
    const [again, ...sums] = await gpuSums(runtime, [x, ...spoilt]);
    check(out![0] === again![0], `${what}: other bits the second time`);
    for (const [i, { value, at }] of broken.entries()) check(!isFiniteByBits(sums[i]!), `${what}: finite, with ${value} at ${at}`);
  }
}

/** Checks that a step with such a loss and such gradients changes nothing but `health`, and neither does what follows. */
async function checkStopped(runtime: Runtime, size: number, broken: { readonly loss?: number; readonly gradient?: number }): Promise<void> {
  const seed = 5;
  await together(optimizersOf(size), async (optimizer) => {
    const given = givenOf(size, seed);
    for (const step of [0, 1]) {
      given[`gradients ${step}`] = normals(seed + 10 + step, size);
      given[`rates ${step}`] = new Float32Array(6).fill(0.1);
    }
    if (broken.loss !== undefined) given["loss"] = Float32Array.of(broken.loss);
    if (broken.gradient !== undefined) given["gradients 0"]![size - 1] = broken.gradient;
    const results = [...changedBy(optimizer), "average", "health"];
    const what = `${JSON.stringify(optimizer.spec)} with ${JSON.stringify(broken)} as ${broken.loss ?? broken.gradient}, seed ${seed}`;
    const nodes = [...stepNodes(optimizer, size, 0), ...stepNodes(optimizer, size, 1)];
    // The second step has the same loss; its gradients are finite.
    const got = await compareNodes(runtime, nodes, given, results, 0, what);
    const found = (broken.loss === undefined ? 0 : 1) + (broken.gradient === undefined ? 0 : 2);
    check(`${got["health"]}` === `42,${found}`, `${what}: health ${got["health"]}`);
    for (const name of results) {
      if (name === "health") continue;
      const [before, after] = [given[name]!, got[name]!].map(({ buffer }) => new Uint32Array(buffer));
      check(
        before!.every((bits, i) => bits === after![i]),
        `${what}: ${name} has changed`,
      );
    }
  });
}

/** Checks the row of a step of several batches, after the one before it and amid what is there. */
async function compareRecords(runtime: Runtime, counts: boolean, step: number): Promise<void> {
  const given: Record<string, Float32Array | Uint32Array> = {
    clock: Uint32Array.of(7, 8, step, 9),
    norm: Float32Array.of(2.5),
    health: Uint32Array.of(step + 1, 2),
    history: normals(step, HISTORY_SIZE),
  };
  // Columns that nobody writes are zeros.
  const first = (step % HISTORY_ROWS) * HISTORY_COLUMNS;
  given["history"]!.fill(0, first, first + HISTORY_COLUMNS);
  const nodes = [0, 1, 2].map((batch): TaskNode => {
    given[`loss ${batch}`] = Float32Array.of(1.5 + batch);
    given[`counts ${batch}`] = Uint32Array.of(10 + batch, batch);
    const values = { loss: `loss ${batch}`, clock: "clock", history: "history", counts: `counts ${batch}`, norm: "norm", health: "health" };
    return { task: task(record, recordSpec({ isFirst: batch === 0, isLast: batch === 2, counts })), values };
  });
  const what = `record of step ${step}, counts ${counts}`;
  const { history } = await compareNodes(runtime, nodes, given, ["history"], 0, what);
  const row = [...history!.subarray(first, first + HISTORY_COLUMNS)];
  const expected = [step, step + 1, 2.5, 7.5, counts ? 33 : 0, counts ? 3 : 0, 0, 0];
  check(`${row}` === `${expected}`, `${what}: ${row} instead of ${expected}`);
}

async function withSmall(context: CaseContext, body: (runtime: Runtime) => Promise<void>): Promise<void> {
  const small = await context.open(SMALL);
  try {
    await body(small);
  } finally {
    small.dispose();
  }
}

export const nnOptimizerSuite: Suite = {
  name: "optimizers of models",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "sums of squares, and numbers that are not finite",
      sample: true,
      run: async (context) => compareSums(await context.runtime, [1, 127, 4097, 100_004]),
    },
    {
      name: "sums of squares in parts",
      run: async (context) => {
        await withSmall(context, (small) => compareSums(small, [2049, 10_000]));
      },
    },
    {
      name: `${STEPS} steps of each optimizer`,
      sample: true,
      run: async (context) => {
        for (const size of [1, 1001, 4096]) await compareSteps(await context.runtime, size, size);
      },
    },
    {
      name: `${STEPS} steps of each optimizer, other sizes`,
      run: async (context) => {
        for (const size of [3, 4, 50_000]) await compareSteps(await context.runtime, size, size);
      },
    },
    {
      name: "steps in parts",
      run: async (context) => {
        await withSmall(context, async (small) => {
          for (const size of [5000, 5001]) await compareSteps(small, size, size, 1);
        });
      },
    },
    {
      name: "records of steps",
      sample: true,
      run: async (context) => {
        for (const counts of [false, true]) for (const step of [0, 5, HISTORY_ROWS + 1]) await compareRecords(await context.runtime, counts, step);
      },
    },
    {
      name: "bytes that are stated",
      run: async (context) => {
        const health = new Uint32Array(2);
        await checkTask(context, task(guard, guardSpec()), { health });
        const tasks = [5003, 20_000].flatMap((size) => [sumsTo(size), ...optimizersOf(size), task(average, averageSpec({ size, decay: 0.99 }))]);
        await together(tasks, (one) => checkTask(context, one, { health }));
        await together(tasks, (one) => checkTask(context, one, { health }, limitsWith(SMALL.limits)));
      },
    },
    {
      name: "a loss or a gradient that is not finite changes nothing",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        await checkStopped(runtime, 5, { loss: NaN });
        await checkStopped(runtime, 8, { gradient: -Infinity });
        await checkStopped(runtime, 5, { loss: Infinity, gradient: NaN });
      },
    },
  ],
};
