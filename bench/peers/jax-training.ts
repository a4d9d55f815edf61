/** A step of training in jax-js: one jitted function of the parameters and of what AdamW keeps. */
import * as jax from "@jax-js/jax";
import type { JaxArray } from "@jax-js/jax";
import type { Data, Prepared } from "../measure/competitor.ts";
import { ADAMW, CHECKED_STEPS } from "../measure/models.ts";
import type { TrainingRow } from "../measure/rows.ts";
import { distanceSelection, parameterShapes } from "./transformer.ts";

const { numpy: np, nn } = jax;

type Arrays = Record<string, JaxArray>;

/** What a step takes over and gives back. */
interface State {
  readonly parameters: Arrays;
  readonly means: Arrays;
  readonly squares: Arrays;
  readonly count: JaxArray;
}

export async function prepareTraining(row: TrainingRow, data: Data): Promise<Prepared> {
  const { batch, side } = row;
  const shapes = Object.entries(parameterShapes(row));
  const arrays = (numbers: (name: string, size: number) => Float32Array): Arrays =>
    Object.fromEntries(
      shapes.map(([name, shape]) => [
        name,
        np.array(
          numbers(
            name,
            shape.reduce((a, b) => a * b, 1),
          ),
          { shape },
        ),
      ]),
    );
  let state: State = {
    parameters: arrays((name) => data[name]!),
    means: arrays((_, size) => new Float32Array(size)),
    squares: arrays((_, size) => new Float32Array(size)),
    count: np.array(new Float32Array(1), { shape: [] }),
  };
  const inputs = {
    tokens: np.array(Int32Array.from(data["inputs"]!), { shape: [batch * side ** 2], dtype: np.int32 }),
    targets: np.array(Int32Array.from(data["targets"]!), { shape: [batch], dtype: np.int32 }),
    selection: np.array(distanceSelection(side), { shape: [side ** 2, 2 * side - 1] }),
  };
  await jax.blockUntilReady([state, inputs]);
  const step = jax.jit((before: State, given: typeof inputs): { readonly loss: JaxArray; readonly state: State } => {
    const loss = (parameters: Arrays, { tokens, targets, selection }: typeof inputs) => lossOf(row, parameters, tokens, targets, selection);
    const [value, gradients] = jax.valueAndGrad(loss)(jax.tree.ref(before.parameters), given);
    return { loss: value, state: updated(before, gradients) };
  });
  // Compiles all of it, many kernels at a time.
  jax.tree.dispose(await jax.blockUntilReady(step(jax.tree.ref(state), jax.tree.ref(inputs))));
  const losses: JaxArray[] = [];
  const run = () => {
    const { loss, state: after } = step(state, jax.tree.ref(inputs));
    state = after;
    loss.ref.gpuBufferSync(); // work is lazy: this submits all of the step, and does not wait for the GPU
    if (losses.length < CHECKED_STEPS) losses.push(loss);
    else loss.dispose();
  };
  return {
    run,
    async finish() {
      await jax.getWebGPUDevice().queue.onSubmittedWorkDone();
    },
    async read() {
      while (losses.length < CHECKED_STEPS) run();
      const values = await Promise.all(losses.map((loss) => loss.ref.data()));
      return Float32Array.from(values.map(([value]) => value!));
    },
    dispose: () => jax.tree.dispose([state, inputs, losses]),
  };
}

/** AdamW (Loshchilov and Hutter 2019). */
function updated({ parameters, means, squares, count }: State, gradients: Arrays): State {
  const { rate, betas, epsilon, weightDecay } = ADAMW;
  const [beta1, beta2] = betas;
  const now = count.add(1);
  const corrections = betas.map((beta) => np.expm1(now.ref.mul(Math.log(beta))).mul(-1));
  const after = { parameters: {} as Arrays, means: {} as Arrays, squares: {} as Arrays };
  for (const [name, gradient] of Object.entries(gradients)) {
    const mean = means[name]!.mul(beta1).add(gradient.ref.mul(1 - beta1));
    const square = squares[name]!.mul(beta2).add(gradient.ref.mul(gradient).mul(1 - beta2));
    const root = np.sqrt(square.ref.div(corrections[1]!.ref)).add(epsilon);
    const move = mean.ref.div(corrections[0]!.ref).div(root).mul(rate);
    after.parameters[name] = parameters[name]!.mul(1 - rate * weightDecay).sub(move);
    after.means[name] = mean;
    after.squares[name] = square;
  }
  for (const correction of corrections) correction.dispose();
  return { ...after, count: now };
}

function lossOf(row: TrainingRow, p: Arrays, tokens: JaxArray, targets: JaxArray, selection: JaxArray): JaxArray {
  const { batch, side, layers, width, classes } = row;
  const linear = (x: JaxArray, name: string) => np.matmul(x, np.transpose(p[`${name}.weight`]!)).add(p[`${name}.bias`]!);
  const norm = (x: JaxArray, name: string) => nn.standardize(x, -1, { epsilon: 1e-5 }).mul(p[`${name}.weight`]!).add(p[`${name}.bias`]!);

  let x = np.matmul(nn.oneHot(tokens, row.tokens), p["embed.weight"]!);
  for (let i = 0; i < layers; i++) {
    const name = `layers.${i}`;
    const y = norm(x.ref, `${name}.norm1`);
    const [q, k, v] = ["q", "k", "v"].map((part) => linear(y.ref, `${name}.attention.${part}`));
    y.dispose();
    const attended = attention(row, q!, k!, v!, p[`${name}.attention.relative.weight`]!, selection.ref);
    x = x.add(linear(attended, `${name}.attention.out`));
    const hidden = nn.gelu(linear(norm(x.ref, `${name}.norm2`), `${name}.feedForward.0`), { approximate: false });
    x = x.add(linear(hidden, `${name}.feedForward.1`));
  }
  selection.dispose();
  const pooled = np.mean(norm(x, "norm").reshape([batch, side ** 2, width]), 1);
  const shares = nn.logSoftmax(linear(pooled, "head"), -1);
  return np.sum(shares.mul(nn.oneHot(targets, classes))).mul(-1 / batch);
}

/** SIKF: softmax over the features of queries and over the tokens of keys; plus the matrix of all pairs, made of the table, times all values of a head. */
function attention(
  { batch, side, width, heads }: TrainingRow,
  q: JaxArray,
  k: JaxArray,
  v: JaxArray,
  table: JaxArray,
  selection: JaxArray,
): JaxArray {
  const length = side ** 2;
  const dim = width / heads;
  const distances = 2 * side - 1;
  const split = (x: JaxArray, order: readonly number[]) => np.transpose(x.reshape([batch, length, heads, dim]), order);
  const keys = split(k, [0, 2, 3, 1]);
  const total = nn.logsumexp(keys.ref, 3, { keepdims: true });
  const state = np.matmul(np.exp(keys.sub(total.ref)), split(v.ref, [0, 2, 1, 3]));
  const queries = nn.softmax(split(q, [0, 2, 1, 3]).add(total.reshape([batch, heads, 1, dim])), -1);
  const attended = np.transpose(np.matmul(queries, state), [0, 2, 1, 3]);

  const byColumns = np.matmul(table.reshape([heads * distances, distances]), np.transpose(selection.ref)).reshape([heads, distances, length]);
  const byRows = np.matmul(np.transpose(byColumns, [0, 2, 1]).reshape([heads * length, distances]), np.transpose(selection));
  const pairs = np.transpose(byRows.reshape([heads, side, side, side, side]), [0, 3, 1, 4, 2]).reshape([heads, length, length]);
  const values = split(v, [2, 1, 0, 3]).reshape([heads, length, batch * dim]);
  const biased = np.transpose(np.matmul(pairs, values).reshape([heads, length, batch, dim]), [2, 1, 0, 3]);
  return attended.add(biased).reshape([batch * length, width]);
}
