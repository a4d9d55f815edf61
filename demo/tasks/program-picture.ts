/** What a program does with its memory, as plain data that can be drawn. */
import type { AttentionOptions, DispatchInfo, Runtime } from "../../src/index.ts";
import type { BufferRole, Program, ProgramBuffer } from "../../src/program/program.ts";

/** Dispatches in a row with one label: the planner splits long work into parts of it. */
export interface Step {
  readonly label: string;
  /** Index of its first dispatch. */
  readonly first: number;
  readonly count: number;
}

export interface BufferUse {
  readonly step: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface BufferPicture {
  readonly name: string;
  readonly role: BufferRole;
  readonly bytes: number;
  /** Of a workspace: the slot that holds it. */
  readonly slot: number | undefined;
  /** In the order of the steps, one at least. */
  readonly uses: readonly BufferUse[];
}

export interface ProgramPicture {
  readonly steps: readonly Step[];
  /** Inputs, tables, workspace by its slot, output. */
  readonly buffers: readonly BufferPicture[];
  /** Bytes of each slot. */
  readonly slots: readonly number[];
  /** For each step: bytes of the buffers whose first use has come, and whose last has not passed. */
  readonly bytesInUse: readonly number[];
}

const ORDER: readonly BufferRole[] = ["input", "inout", "table", "workspace", "output"];

export function stepsOf(dispatches: readonly Pick<DispatchInfo, "label">[]): Step[] {
  const steps: Step[] = [];
  for (const [index, { label }] of dispatches.entries()) {
    const last = steps.at(-1);
    if (last?.label === label) steps[steps.length - 1] = { ...last, count: last.count + 1 };
    else steps.push({ label, first: index, count: 1 });
  }
  return steps;
}

/** Plans the same again, for a plan does not tell of its buffers. Where it comes out otherwise, there is no picture of what ran. */
export async function pictureOf(runtime: Runtime, options: AttentionOptions, ran: readonly DispatchInfo[]): Promise<ProgramPicture | undefined> {
  if (runtime.backend !== "webgpu") return undefined;
  // The CPU's worker has no use for the planner.
  const [{ planProgram, task }, { attentionSpec, loadKind }] = await Promise.all([
    import("../../src/operations/operation.ts"),
    import("../../src/runtime/attention-family.ts"),
  ]);
  const spec = attentionSpec(options);
  const program = planProgram("runtime.attention", task(await loadKind(spec), spec), runtime.limits);
  return sameDispatches(program, ran) ? programPicture(program) : undefined;
}

function programPicture(program: Program): ProgramPicture {
  const steps = stepsOf(program.dispatches);
  const tables = program.buffers.filter(({ role }) => role === "table");
  const buffers = program.buffers
    .map((buffer) => ({
      name: buffer.role === "table" ? tableName(tables, buffer) : buffer.name,
      role: buffer.role,
      bytes: buffer.bytes,
      slot: buffer.slot,
      uses: steps.flatMap((step, index) => usesIn(program, step, index, buffer.name)),
    }))
    .filter(({ uses }) => uses.length > 0)
    .sort((a, b) => ORDER.indexOf(a.role) - ORDER.indexOf(b.role) || (a.slot ?? 0) - (b.slot ?? 0) || a.uses[0]!.step - b.uses[0]!.step);
  const bytesInUse = steps.map((_, step) => buffers.reduce((all, buffer) => all + (isAlive(buffer, step) ? buffer.bytes : 0), 0));
  return { steps, buffers, slots: [...program.slots], bytesInUse };
}

/** Whether a step lies between the first use of a buffer and its last. */
export function isAlive({ uses }: BufferPicture, step: number): boolean {
  return uses[0]!.step <= step && step <= uses.at(-1)!.step;
}

/** Whether the program is the one that ran. */
function sameDispatches(program: Program, ran: readonly DispatchInfo[]): boolean {
  return (
    program.dispatches.length === ran.length &&
    program.dispatches.every(({ label, bytesRead, bytesWritten }, index) => {
      const other = ran[index]!;
      return label === other.label && bytesRead === other.bytesRead && bytesWritten === other.bytesWritten;
    })
  );
}

function usesIn(program: Program, { first, count }: Step, step: number, buffer: string): BufferUse[] {
  const bindings = program.dispatches
    .slice(first, first + count)
    .flatMap((dispatch) => dispatch.bindings)
    .filter((binding) => binding.buffer === buffer);
  if (bindings.length === 0) return [];
  return [
    {
      step,
      bytesRead: bindings.reduce((all, binding) => all + binding.bytesRead, 0),
      bytesWritten: bindings.reduce((all, binding) => all + binding.bytesWritten, 0),
    },
  ];
}

/** A program names tables by their contents, which is too long to read. */
function tableName(tables: readonly ProgramBuffer[], table: ProgramBuffer): string {
  return tables.length === 1 ? "table" : `table ${tables.indexOf(table) + 1}`;
}
