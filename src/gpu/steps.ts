/** What runs of steps have in common, whether they submit once or bit by bit. */
import type { Step } from "../core/backend.ts";
import type { FastRpbError } from "../core/errors.ts";
import type { GpuExecutable } from "./executable.ts";
import type { BoundProgram } from "./installed-program.ts";
import type { BufferPool } from "./pool.ts";
import type { Session } from "./session.ts";
import type { GpuStorage } from "./storage.ts";

type Slots = readonly GPUBuffer[];
type Fault = Promise<FastRpbError | undefined>;

export interface Workspace {
  /** Of each step. */
  readonly slots: readonly Slots[];
  readonly buffers: readonly GPUBuffer[];
}

/**
 * Workspace for each step. An executable that runs several times has one: dispatches follow one another.
 *
 * @param idle where buffers that are there have to do; the result is `undefined` where the device would have to make one
 */
export function acquireWorkspace(steps: readonly Step[]): Workspace;
export function acquireWorkspace(steps: readonly Step[], idle: BufferPool): Workspace | undefined;
export function acquireWorkspace(steps: readonly Step[], idle?: BufferPool): Workspace | undefined {
  const slots: Slots[] = [];
  const buffers: GPUBuffer[] = [];
  for (let s = 0; s < steps.length; s++) {
    const { executable } = steps[s]!;
    const known = steps.findIndex((step) => step.executable === executable);
    const own = known < s ? slots[known] : (executable as GpuExecutable).installed.acquireSlots(idle && "idle");
    if (!own) {
      idle?.releaseAll(buffers);
      return undefined;
    }
    slots.push(own);
    if (known === s) buffers.push(...own);
  }
  return { slots, buffers };
}

/** The programs of the steps with all that they bind. */
export function bindSteps(steps: readonly Step[], slots: readonly Slots[]): readonly BoundProgram[] {
  return steps.map(({ executable, bindings }, s) => (executable as GpuExecutable).installed.bind(bindings, slots[s]!));
}

/**
 * What goes wrong in steps, or went wrong in what they read, is told by whatever they write.
 *
 * @param fault left out: nothing can go wrong
 * @returns both; `undefined` where there is nothing to wait for
 */
export function passFault(steps: readonly Step[], fault: Fault): Fault;
export function passFault(steps: readonly Step[]): Fault | undefined;
export function passFault(steps: readonly Step[], fault?: Fault): Fault | undefined {
  const before: Fault[] = [];
  const memory: Fault[] = [];
  const outputs: GpuStorage[] = [];
  for (const { executable, bindings } of steps) {
    for (const { name, isRead, isWritten } of (executable as GpuExecutable).tensors) {
      const storage = bindings[name] as GpuStorage;
      if (isRead && storage.fault) before.push(storage.fault);
      if (!isWritten) continue;
      // What a result held before is gone.
      if (storage.memoryFault) memory.push(storage.memoryFault);
      outputs.push(storage);
    }
  }
  // What failed first is the reason of what follows.
  const all = [...before, ...memory, ...(fault ? [fault] : [])];
  const combined = all.length > 1 ? Promise.all(all).then((errors) => errors.find((error) => error !== undefined)) : all[0];
  for (const output of outputs) output.fault = combined;
  return combined;
}

/** Records all dispatches into a pass of their own. */
export function recordPass(encoder: GPUCommandEncoder, bound: readonly BoundProgram[]): void {
  const pass = encoder.beginComputePass(PASS);
  for (let s = 0; s < bound.length; s++) bound[s]!.recordAll(pass);
  pass.end();
}

const PASS: GPUComputePassDescriptor = { label: "fastrpb" };
const ENCODER: GPUCommandEncoderDescriptor = { label: "fastrpb" };

/** Puts commands for bound steps into an encoder. */
export type RecordInto = (encoder: GPUCommandEncoder, bound: readonly BoundProgram[]) => void;

/**
 * One encoder, one submit; the workspace goes back to the pool after it. Faults reach whatever the steps write. Where the device accepted the same
 * commands before, memory cannot be short, and only a buffer that is not ours alone can be gone: nothing else is asked, because two error scopes and
 * their promises cost as much as two dispatches.
 *
 * @param recordInto left out: the dispatches and nothing else
 * @returns what goes wrong, if anything can
 */
export function submitSteps(session: Session, steps: readonly Step[], recordInto: RecordInto = recordPass): Fault | undefined {
  const { pool } = session;
  const submit = (workspace: Workspace, bound: readonly BoundProgram[]) => {
    try {
      const encoder = session.device.createCommandEncoder(ENCODER);
      recordInto(encoder, bound);
      session.queue.submit([encoder.finish()]);
    } finally {
      pool.releaseAll(workspace.buffers);
    }
  };
  const idle = acquireWorkspace(steps, pool);
  const known = idle && bindSteps(steps, idle.slots);
  const isAccepted = recordInto === recordPass && known?.every(({ accepted }) => accepted);
  if (isAccepted && known!.every((bound) => bound.isOurs(pool))) {
    submit(idle!, known!);
    return passFault(steps);
  }
  const work = () => {
    const workspace = idle ?? acquireWorkspace(steps);
    const bound = known ?? bindSteps(steps, workspace.slots);
    submit(workspace, bound);
    return { buffers: workspace.buffers, bound };
  };
  const [{ buffers, bound }, fault] = session.guard("run", work, isAccepted ? ["validation"] : undefined);
  void fault.then((error) => {
    if (error) for (const buffer of buffers) pool.discard(buffer);
    else for (const each of bound) each.accepted = true;
  });
  return passFault(steps, fault);
}
