/** Every task, by name. A section of the page has one or two. */
import { attention } from "./attention.ts";
import { cost } from "./cost.ts";
import { product } from "./product.ts";
import { selfTest } from "./self-test.ts";
import { shift } from "./shift.ts";

export const TASKS = { attention, cost, product, selfTest, shift };

type Tasks = typeof TASKS;
export type TaskName = keyof Tasks;
export type InputOf<Name extends TaskName> = Parameters<Tasks[Name]>[1];
export type EventOf<Name extends TaskName> = Parameters<Parameters<Tasks[Name]>[2]["emit"]>[0];
export type OutputOf<Name extends TaskName> = Awaited<ReturnType<Tasks[Name]>>;
