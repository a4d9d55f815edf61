/** How parameters follow their gradients. */
import { checkFinite, checkOptions } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import { adamW as adamWOperation, sgd as sgdOperation } from "../operations/optimizers/operation.ts";
import { adamWSpec, type ParameterGroup, sgdSpec } from "../operations/optimizers/spec.ts";
import { type Task, task } from "../operations/operation.ts";
import { constant, type Schedule } from "./schedules.ts";

/** Parameters that are trained otherwise than the rest. */
export interface OptimizerGroup {
  /** Their names, or the ends of these: `"relative.weight"` is all of the bias. */
  readonly names: readonly string[];
  /** Factor on the rate; 0 freezes them. Default 1. */
  readonly rateFactor?: number;
  /** Default: that of the optimiser. */
  readonly weightDecay?: number;
}

/** An optimiser, made by {@link adamW} or {@link sgd}. */
export interface Optimizer {
  readonly kind: string;
  readonly rate: Schedule;
  readonly groups: readonly OptimizerGroup[];
  readonly weightDecay: number;
  readonly clipNorm: number | undefined;
  /** @internal What it keeps of each parameter. */
  readonly states: readonly string[];
  /** @internal A step over all parameters, which lie in groups. */
  readonly task: (size: number, groups: readonly ParameterGroup[]) => Task;
  /** @internal Numbers for a step, which counts from 1. */
  readonly rates: (step: number) => readonly number[];
}

/** What optimisers have in common. */
export interface OptimizerOptions {
  /** The step size, or how it goes: {@link constant}, {@link warmupCosine}, {@link inverseSquareRoot}. */
  readonly rate: number | Schedule;
  readonly weightDecay?: number;
  /** Gradients are scaled down so that the norm of all of them together is at most about this, as `torch.nn.utils.clip_grad_norm_` does. Default: not. */
  readonly clipNorm?: number;
  /** Parameters that are trained otherwise; the first group that names one has it. */
  readonly groups?: readonly OptimizerGroup[];
}

/** The smallest that is no denormal, for which a GPU may take zero. */
const SMALLEST_EPSILON = 2 ** -126;

const SHARED = ["rate", "weightDecay", "clipNorm", "groups"] as const;

/**
 * AdamW (Loshchilov and Hutter 2019), as `torch.optim.AdamW`.
 *
 * @param options.betas decay of the means of gradients and of their squares. Default [0.9, 0.999]
 * @param options.epsilon added to the root of the mean square. Default 1e-8
 * @param options.weightDecay λ: a step takes rate·λ·p from each parameter p. Default 0.01
 * @throws FastRpbError code `"value"`
 */
export function adamW(options: OptimizerOptions & { readonly betas?: readonly [number, number]; readonly epsilon?: number }): Optimizer {
  const caller = "adamW";
  checkOptions(caller, "options", options, [...SHARED, "betas", "epsilon"]);
  const betas: unknown = options.betas ?? [0.9, 0.999];
  if (!Array.isArray(betas) || betas.length !== 2) throw refuse("value", caller, "options.betas", "two numbers", betas);
  const [beta1, beta2] = betas as [number, number];
  for (const [i, beta] of [beta1, beta2].entries()) checkShare(caller, `options.betas[${i}]`, beta);
  const epsilon = checkFinite(caller, "options.epsilon", options.epsilon ?? 1e-8);
  // Without it a parameter without a gradient would become 0 / 0.
  if (epsilon < SMALLEST_EPSILON) throw refuse("value", caller, "options.epsilon", "a number from 2⁻¹²⁶", epsilon);
  const shared = checkShared(caller, options, 0.01);
  const { clipNorm, rate } = shared;
  return Object.freeze<Optimizer>({
    kind: "adamW",
    ...shared,
    states: ["mean", "square"],
    task: (size, groups) => task(adamWOperation, adamWSpec({ size, groups, beta1, beta2, epsilon, clipNorm })),
    rates: (step) => [rateAt(caller, rate, step), 1 - beta1 ** step, Math.sqrt(1 - beta2 ** step), 0],
  });
}

/**
 * Gradient descent, with momentum or not, as `torch.optim.SGD`.
 *
 * @param options.momentum μ: a step goes along buffer ← μ·buffer + gradient. Default 0
 * @param options.nesterov whether it goes along gradient + μ·buffer. Default `false`
 * @param options.weightDecay λ: λ·p is added to the gradient of each parameter p. Default 0
 * @throws FastRpbError code `"value"`
 */
export function sgd(options: OptimizerOptions & { readonly momentum?: number; readonly nesterov?: boolean }): Optimizer {
  const caller = "sgd";
  checkOptions(caller, "options", options, [...SHARED, "momentum", "nesterov"]);
  const momentum = checkShare(caller, "options.momentum", options.momentum ?? 0);
  const nesterov = options.nesterov ?? false;
  if (typeof nesterov !== "boolean" || (nesterov && momentum === 0)) {
    throw refuse("value", caller, "options.nesterov", "a boolean, and false without momentum", nesterov);
  }
  const shared = checkShared(caller, options, 0);
  return Object.freeze<Optimizer>({
    kind: "sgd",
    ...shared,
    states: momentum === 0 ? [] : ["momentum"],
    task: (size, groups) => task(sgdOperation, sgdSpec({ size, groups, momentum, nesterov, clipNorm: shared.clipNorm })),
    rates: (step) => [rateAt(caller, shared.rate, step)],
  });
}

function checkShared(caller: string, options: OptimizerOptions, decay: number) {
  const weightDecay = checkAmount(caller, "options.weightDecay", options.weightDecay ?? decay);
  if (options.clipNorm !== undefined && !(checkFinite(caller, "options.clipNorm", options.clipNorm) > 0)) {
    throw refuse("value", caller, "options.clipNorm", "a positive number", options.clipNorm);
  }
  const given: unknown = options.groups ?? [];
  if (!Array.isArray(given)) throw refuse("value", caller, "options.groups", "an array of groups", given);
  const groups = Array.from(given as readonly OptimizerGroup[], (group, i) => {
    const argument = `options.groups[${i}]`;
    checkOptions(caller, argument, group, ["names", "rateFactor", "weightDecay"]);
    if (!Array.isArray(group.names) || group.names.length === 0 || Array.from(group.names).some((name) => typeof name !== "string" || name === "")) {
      throw refuse("value", caller, `${argument}.names`, "an array of names, or of ends of names", group.names);
    }
    return Object.freeze({
      names: Object.freeze([...group.names]),
      rateFactor: checkAmount(caller, `${argument}.rateFactor`, group.rateFactor ?? 1),
      weightDecay: checkAmount(caller, `${argument}.weightDecay`, group.weightDecay ?? weightDecay),
    });
  });
  return { rate: checkRate(caller, options.rate), weightDecay, clipNorm: options.clipNorm, groups: Object.freeze(groups) };
}

function checkRate(caller: string, rate: unknown): Schedule {
  if (typeof rate === "number") return constant(checkAmount(caller, "options.rate", rate));
  if (typeof rate === "object" && rate !== null && typeof (rate as Schedule).at === "function") {
    rateAt(caller, rate as Schedule, 1);
    return rate as Schedule;
  }
  throw refuse("value", caller, "options.rate", "a number or a schedule", rate);
}

/** The rate of a step, by whatever schedule. */
function rateAt(caller: string, rate: Schedule, step: number): number {
  return checkAmount(caller, `options.rate.at(${step})`, rate.at(step));
}

/** A number from 0. */
function checkAmount(caller: string, argument: string, value: unknown): number {
  const amount = checkFinite(caller, argument, value);
  if (amount >= 0) return amount;
  throw refuse("value", caller, argument, "a number that is not negative", value);
}

/** A number from 0 to below 1. */
function checkShare(caller: string, argument: string, value: unknown): number {
  const share = checkAmount(caller, argument, value);
  if (share < 1) return share;
  throw refuse("value", caller, argument, "a number below 1", value);
}
