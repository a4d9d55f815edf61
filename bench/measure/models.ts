/** The kinds of rows of `fastrpb/nn`: a matrix product, and a step of training. */
import type { Runtime, Tensor } from "../../src/index.ts";
import type { Batch } from "../../src/nn.ts";
import type { Data } from "./competitor.ts";
import type { Kind, Output } from "./kind.ts";
import type { Library } from "./library.ts";
import { normals } from "./numbers.ts";
import type { MatmulRow, TrainingRow } from "./rows.ts";

/** Losses of so many steps are the result that is compared: from the second on they depend on all gradients. */
export const CHECKED_STEPS = 3;
export const ADAMW = { rate: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.01 } as const;

/** Rows of a product that the CPU computes in a moment. */
const CHECKED_ROWS = 16;

/** The result of the last run, which the library makes itself. */
class Latest implements Output {
  #tensor: Tensor | undefined;

  keep(tensor: Tensor): void {
    this.#tensor?.dispose();
    this.#tensor = tensor;
  }

  data = () => this.#tensor!.data();
}

/** x: [rows, size], weight: [size, size]. A product is no plan of its own: a model of one linear layer computes it. */
export const matmul: Kind<MatmulRow, Latest> = {
  heavy: true,
  data: ({ rows, size }) => ({ x: normals(9, rows * size), weight: normals(10, size * size) }),
  outputLength: ({ rows, size }) => rows * size,
  flops: ({ rows, size }) => 2 * rows * size * size,
  async open(runtime, row, library) {
    const { rows, size } = row;
    const { defineModel, linear, loadModel, writeSafetensors } = await library.nn();
    const model = defineModel((_, { x }) => linear(x, "linear", { outputs: size, bias: false }), { inputs: { x: { shape: [size] } } });
    const { weight } = (await matmul.data(row, library)) as { readonly weight: Float32Array };
    const file = writeSafetensors([["linear.weight", { dtype: "F32", shape: [size, size], bytes: new Uint8Array(weight.buffer) }]]);
    const net = await loadModel(runtime, file, { model, batch: rows });
    return {
      cost: net.cost,
      output: () => new Latest(),
      load(data) {
        const x = runtime.tensor(data["x"]!, [rows, size]);
        return {
          run: (out) => out.keep(net.run({ x })),
          async profile(out) {
            const { output, dispatches } = await net.profile({ x });
            out.keep(output["out"]!);
            return { dispatches };
          },
        };
      },
    };
  },
};

/** The last rows of a product: as much as the CPU computes in a moment. */
export function lastRows(row: MatmulRow, { x, weight }: Data): { readonly row: MatmulRow; readonly data: Data } {
  return { row: { ...row, rows: CHECKED_ROWS }, data: { x: x!.subarray(x!.length - CHECKED_ROWS * row.size), weight: weight! } };
}

/** inputs: tokens [batch, side²], targets: classes [batch], whole numbers both; and all parameters by their names, as they start. */
export const training: Kind<TrainingRow, Output> = {
  heavy: true,
  leastRepetitions: 4,
  async data(row, library) {
    const { batch, side, tokens, classes } = row;
    const runtime = await library.createRuntime({ backend: "cpu" });
    const { trainer, model } = await trainerOf(runtime, { ...row, batch: 1 }, library);
    const names = [...model.parameters.keys()];
    const parameters = await Promise.all(names.map(async (name) => [name, Float32Array.from(await trainer.parameter(name))] as const));
    runtime.dispose();
    return { inputs: integers(11, batch * side ** 2, tokens), targets: integers(12, batch, classes), ...Object.fromEntries(parameters) };
  },
  outputLength: () => CHECKED_STEPS,
  async open(runtime, row, library) {
    const { trainer } = await trainerOf(runtime, row, library);
    const losses: Promise<number>[] = [];
    let batch: Batch = {};
    const step = () => {
      const { loss } = trainer.step(batch);
      if (losses.length < CHECKED_STEPS) losses.push(loss.value());
    };
    return {
      cost: trainer.cost,
      output: () => ({
        async data() {
          while (losses.length < CHECKED_STEPS) step();
          return Float32Array.from(await Promise.all(losses));
        },
      }),
      load({ inputs, targets }) {
        batch = {
          inputs: runtime.tensor(Uint32Array.from(inputs!), [row.batch, row.side ** 2], "u32"),
          targets: runtime.tensor(Uint32Array.from(targets!), [row.batch], "u32"),
        };
        return { run: step, profile: () => trainer.profile(batch) };
      },
    };
  },
};

async function trainerOf(runtime: Runtime, { batch, side, layers, width, heads, feedForward, tokens, classes }: TrainingRow, library: Library) {
  const { adamW, createTrainer, crossEntropy, transformer } = await library.nn();
  const model = transformer({
    input: { tokens },
    length: side ** 2,
    grid: [side, side],
    layers,
    width,
    heads,
    feedForward,
    attention: { featureMap: "sikf", bias: "fastrpb" },
    output: { classes },
  });
  const trainer = await createTrainer(runtime, model, { batch, seed: 1, loss: crossEntropy(), optimizer: adamW(ADAMW) });
  return { trainer, model };
}

/** Random integers from 0 to below `count`. */
function integers(seed: number, n: number, count: number): Float32Array {
  return normals(seed, n).map((value) => Math.floor(Math.abs(value) * 1000) % count);
}
