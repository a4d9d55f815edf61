/** A run whose dispatches are submitted bit by bit, so that a long one leaves the GPU to others, tells how far it is, and can be stopped. */
import type { SliceOptions, Step } from "../core/backend.ts";
import { checkAborted, type FastRpbError } from "../core/errors.ts";
import type { GpuExecutable } from "./executable.ts";
import type { Session } from "./session.ts";
import { acquireWorkspace, bindSteps, passFault } from "./steps.ts";

/** How long a slice is meant to take: long against the time of a submit, short against what a person or a compositor notices. */
const SLICE_MILLISECONDS = 50;
/** By how much the size of slices changes at a time, at most. */
const MOST_GROWTH = 4;

/** @throws FastRpbError codes `"aborted"`, `"lost"`, `"disposed"`, or of what went wrong on the device */
export async function runSliced(session: Session, caller: string, steps: readonly Step[], { signal, onProgress }: SliceOptions): Promise<void> {
  const work = steps.flatMap((step, s) =>
    (step.executable as GpuExecutable).program.dispatches.map(({ kernel, estimatedSeconds }, index) => ({
      s,
      index,
      kernel: kernel.id,
      estimatedSeconds,
    })),
  );
  const total = work.reduce((sum, { estimatedSeconds }) => sum + estimatedSeconds, 0);
  const [workspace, allocated] = session.guard(caller, () => acquireWorkspace(steps));
  const faults: Promise<FastRpbError | undefined>[] = [allocated];
  let done = 0;
  let failed = true;
  try {
    const bound = bindSteps(steps, workspace.slots);
    let budget = SLICE_MILLISECONDS / 1000;
    for (let next = 0; next < work.length;) {
      checkAborted(caller, signal);
      session.watch.check(caller);
      for (const { executable } of steps) (executable as GpuExecutable).checkUsable();
      const first = next;
      let estimated = 0;
      const started = performance.now();
      const [, fault] = session.guard(caller, () => {
        const encoder = session.device.createCommandEncoder({ label: "fastrpb slice" });
        const pass = encoder.beginComputePass({ label: "fastrpb slice" });
        for (; next < work.length && (next === first || estimated + work[next]!.estimatedSeconds <= budget); next++) {
          const { s, index, estimatedSeconds } = work[next]!;
          // Makes its bind groups, whose errors are seen here.
          bound[s]!.record(pass, index);
          estimated += estimatedSeconds;
        }
        pass.end();
        session.device.queue.submit([encoder.finish()]);
      });
      faults.push(fault);
      await session.watch.answer(caller, session.device.queue.onSubmittedWorkDone());
      const milliseconds = performance.now() - started;
      done += estimated;
      const { kernel } = work[first]!;
      if (work.slice(first, next).every((each) => each.kernel === kernel)) session.observe(kernel, estimated, milliseconds / 1000);
      onProgress?.(Object.freeze({ done: next, total: work.length, fraction: next === work.length ? 1 : done / total }));
      // The estimate may be that of a slow device.
      const growth = SLICE_MILLISECONDS / Math.max(milliseconds, SLICE_MILLISECONDS / MOST_GROWTH);
      budget = estimated * Math.max(growth, 1 / MOST_GROWTH);
    }
    const fault = passFault(
      steps,
      Promise.all(faults).then((all) => all.find((error) => error)),
    );
    const error = await session.watch.answer(caller, fault);
    if (error) throw error;
    failed = false;
  } finally {
    if (failed) for (const buffer of workspace.buffers) session.pool.discard(buffer);
    session.pool.releaseAll(workspace.buffers);
  }
}
