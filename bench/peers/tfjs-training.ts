/** A step of training in TensorFlow.js: variableGrads, and its Adam with the decay of AdamW. */
import * as tf from "@tensorflow/tfjs-core";
import type { TfTensor, TfVariable } from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import type { Data, Prepared } from "../measure/competitor.ts";
import { ADAMW, CHECKED_STEPS } from "../measure/models.ts";
import type { TrainingRow } from "../measure/rows.ts";
import { distanceSelection, parameterShapes } from "./transformer.ts";

type Variables = Readonly<Record<string, TfVariable>>;

export async function prepareTraining(row: TrainingRow, data: Data, finish: () => Promise<void>): Promise<Prepared> {
  const { batch, side, classes } = row;
  const { rate, betas, epsilon, weightDecay } = ADAMW;
  const shapes = Object.entries(parameterShapes(row));
  const variables: Variables = Object.fromEntries(shapes.map(([name, shape]) => [name, tf.variable(tf.tensor(data[name]!, shape))]));
  const list = Object.values(variables);
  const tokens = tf.tensor(Int32Array.from(data["inputs"]!), [batch * side ** 2], "int32");
  const targets = tf.oneHot(tf.tensor(Int32Array.from(data["targets"]!), [batch], "int32"), classes);
  const selection = tf.tensor(distanceSelection(side), [side ** 2, 2 * side - 1]);
  const optimizer = tf.train.adam(rate, betas[0], betas[1], epsilon);
  const losses: TfTensor[] = [];
  const gradients = () => tf.variableGrads(() => tf.losses.softmaxCrossEntropy(targets, logitsOf(row, variables, tokens, selection)), list);
  tf.tidy(() => void gradients()); // compiles most of it
  await finish();
  const run = () => {
    const loss = tf.tidy(() => {
      const { value, grads } = gradients();
      for (const variable of list) variable.assign(tf.mul(variable, 1 - rate * weightDecay));
      optimizer.applyGradients(grads);
      return value;
    });
    if (losses.length < CHECKED_STEPS) losses.push(loss);
    else loss.dispose();
  };
  return {
    run,
    finish,
    async read() {
      while (losses.length < CHECKED_STEPS) run();
      const values = await Promise.all(losses.map((loss) => loss.data()));
      return Float32Array.from(values.map(([value]) => value!));
    },
    dispose() {
      optimizer.dispose();
      for (const tensor of [...list, tokens, targets, selection, ...losses]) tensor.dispose();
    },
  };
}

function logitsOf(row: TrainingRow, p: Variables, tokens: TfTensor, selection: TfTensor): TfTensor {
  const { batch, side, layers, width } = row;
  const linear = (x: TfTensor, name: string) => tf.add(tf.matMul(x, p[`${name}.weight`]!, false, true), p[`${name}.bias`]!);
  const norm = (x: TfTensor, name: string) => {
    const { mean, variance } = tf.moments(x, -1, true);
    const scaled = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5)));
    return tf.add(tf.mul(scaled, p[`${name}.weight`]!), p[`${name}.bias`]!);
  };

  let x = tf.matMul(tf.oneHot(tokens, row.tokens, 1, 0, "float32"), p["embed.weight"]!);
  for (let i = 0; i < layers; i++) {
    const name = `layers.${i}`;
    const y = norm(x, `${name}.norm1`);
    const [q, k, v] = ["q", "k", "v"].map((part) => linear(y, `${name}.attention.${part}`));
    x = tf.add(x, linear(attention(row, q!, k!, v!, p[`${name}.attention.relative.weight`]!, selection), `${name}.attention.out`));
    const hidden = gelu(linear(norm(x, `${name}.norm2`), `${name}.feedForward.0`));
    x = tf.add(x, linear(hidden, `${name}.feedForward.1`));
  }
  return linear(tf.mean(tf.reshape(norm(x, "norm"), [batch, side ** 2, width]), 1), "head");
}

function gelu(x: TfTensor): TfTensor {
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
}

/** SIKF: softmax over the features of queries and over the tokens of keys; plus the matrix of all pairs, made of the table, times all values of a head. */
function attention(
  { batch, side, width, heads }: TrainingRow,
  q: TfTensor,
  k: TfTensor,
  v: TfTensor,
  table: TfTensor,
  selection: TfTensor,
): TfTensor {
  const length = side ** 2;
  const dim = width / heads;
  const distances = 2 * side - 1;
  const split = (x: TfTensor, order: readonly number[]) => tf.transpose(tf.reshape(x, [batch, length, heads, dim]), order);
  const keys = split(k, [0, 2, 3, 1]);
  const total = tf.reshape(tf.logSumExp(keys, 3), [batch, heads, 1, dim]);
  const state = tf.matMul(tf.softmax(keys), split(v, [0, 2, 1, 3]));
  const queries = tf.softmax(tf.add(split(q, [0, 2, 1, 3]), total));
  const attended = tf.transpose(tf.matMul(queries, state), [0, 2, 1, 3]);

  const byColumns = tf.reshape(tf.matMul(tf.reshape(table, [heads * distances, distances]), selection, false, true), [heads, distances, length]);
  const byRows = tf.matMul(tf.reshape(tf.transpose(byColumns, [0, 2, 1]), [heads * length, distances]), selection, false, true);
  const pairs = tf.reshape(tf.transpose(tf.reshape(byRows, [heads, side, side, side, side]), [0, 3, 1, 4, 2]), [heads, length, length]);
  const values = tf.reshape(split(v, [2, 1, 0, 3]), [heads, length, batch * dim]);
  const biased = tf.transpose(tf.reshape(tf.matMul(pairs, values), [heads, length, batch, dim]), [2, 1, 0, 3]);
  return tf.reshape(tf.add(attended, biased), [batch * length, width]);
}
