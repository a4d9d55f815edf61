import { columnSums } from "../reductions/operation.ts";
import { columnSumsSpec } from "../reductions/spec.ts";
import type { ActivationSpec, AddSpec } from "../elementwise/spec.ts";
import { type Backward, cpuOnDemand, layout, type Operation, type Task, task, type TaskNode } from "../operation.ts";
import { planMatmul } from "./plan.ts";
import { type MatmulHeads, type MatmulOptions, matmulSpec, type MatmulSpec, matrixShape, type MatrixName } from "./spec.ts";

/** Matrix products, with what follows them: `a`, `b`, `bias`, `residual` → `out`. */
export const matmul: Operation<MatmulSpec> = {
  name: "matmul",
  label: ({ batch, m, n, k }) => `matmul ${batch > 1 ? `${batch} of ` : ""}${m}×${n}×${k}`,
  tensors: (spec) => ({
    a: layout("input", matrixShape(spec, "a")),
    b: layout("input", matrixShape(spec, "b")),
    ...(spec.bias && { bias: layout("input", [spec.n]) }),
    ...(spec.residual && { residual: layout("input", matrixShape(spec, "out")) }),
    out: layout("output", matrixShape(spec, "out")),
  }),
  plan: (program, spec, tensors, scratch) => planMatmul(program, spec, tensors, scratch),
  ...cpuOnDemand(async () => (await import("./cpu.ts")).matmulCpu),
  backward: matmulBackward,
  absorb,
};

/** An activation or a sum that comes next is done on the way out. */
function absorb(spec: MatmulSpec, next: Task, tensor: string): ReturnType<NonNullable<Operation["absorb"]>> {
  if (spec.activation !== "none" || spec.residual) return undefined;
  const after = next.spec as ActivationSpec | AddSpec;
  if (after.operation === "activation") return { task: task(matmul, Object.freeze({ ...spec, activation: after.kind })), tensors: {} };
  if (after.operation !== "add" || after.period !== after.size) return undefined;
  return { task: task(matmul, Object.freeze({ ...spec, residual: true })), tensors: { residual: tensor === "x" ? "y" : "x" } };
}

/**
 * da = dOut·bᵀ, db = aᵀ·dOut, both written as they are stored; dBias the sums of dOut over all rows. Products with an activation are put together only
 * after gradients.
 */
function matmulBackward(spec: MatmulSpec, wanted: readonly string[]): Backward {
  if (spec.activation !== "none") throw new TypeError(`matmul: no gradient of ${spec.activation} within a product`);
  const { batch, m, n, k, transposeA, transposeB, heads } = spec;
  const nodes: TaskNode[] = [];
  const gradients: Record<string, string> = {};
  const add = (result: string, sizes: Pick<MatmulOptions, "m" | "n" | "k">, a: Operand, b: Operand) => {
    const values = { a: a.value, b: b.value, out: `d${result}` };
    nodes.push({
      task: task(matmul, matmulSpec({ batch, ...sizes, transposeA: a.transposed, transposeB: b.transposed, ...movedHeads(heads, values) })),
      values,
    });
    gradients[result] = values.out;
  };
  const dOut = (transposed: boolean) => ({ value: "dOut", transposed });
  for (const name of wanted) {
    if (name === "a") {
      if (transposeA) add("a", { m: k, n: m, k: n }, { value: "b", transposed: transposeB }, dOut(true));
      else add("a", { m, n: k, k: n }, dOut(false), { value: "b", transposed: !transposeB });
    } else if (name === "b") {
      if (transposeB) add("b", { m: n, n: k, k: m }, dOut(true), { value: "a", transposed: transposeA });
      else add("b", { m: k, n, k: m }, { value: "a", transposed: !transposeA }, dOut(false));
    } else if (name === "bias") {
      nodes.push(...biasGradient(spec));
      gradients["bias"] = "dBias";
    } else if (name === "residual") {
      gradients["residual"] = "dOut";
    } else {
      throw new TypeError(`matmul: no gradient of ${name}`);
    }
  }
  return { nodes, gradients };
}

/** The sums of dOut over all rows; where it is in heads first over those of each head, and then over the sequences. */
function biasGradient({ batch, m, n, heads }: MatmulSpec): readonly TaskNode[] {
  const sums = (x: string, out: string, matrices: number, rows: number, columns: number) => ({
    task: task(columnSums, columnSumsSpec({ matrices, rows, columns })),
    values: { x, out },
  });
  if (heads?.of !== "out") return [sums("dOut", "dBias", 1, batch * m, n)];
  const sequences = m / heads.length;
  return [sums("dOut", "dBiases", sequences * heads.heads, heads.length, n / heads.heads), sums("dBiases", "dBias", 1, sequences, n)];
}

interface Operand {
  readonly value: string;
  readonly transposed: boolean;
}

/** The heads of a gradient's product: of whichever of its matrices is the one in heads, or its gradient. */
function movedHeads(heads: MatmulHeads | undefined, values: Readonly<Record<MatrixName, string>>): { heads?: MatmulHeads } {
  if (!heads) return {};
  const of = (Object.keys(values) as MatrixName[]).find((name) => [heads.of, heads.of === "out" ? "dOut" : `d${heads.of}`].includes(values[name]));
  return of ? { heads: { ...heads, of } } : {};
}
