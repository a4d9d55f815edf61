import type { DispatchTiming, Step, Timings } from "../core/backend.ts";
import { mapped } from "./readback.ts";
import type { Session } from "./session.ts";
import { submitSteps } from "./steps.ts";
import { MAP_MODE_READ, QUERY_USAGE, READBACK_USAGE } from "./usage.ts";

/** A timestamp is a 64-bit count of nanoseconds. */
const TIMESTAMP_BYTES = 8;

/** Runs the steps, waits, and tells how long each dispatch took, where the device has a clock. */
export async function profile(session: Session, steps: readonly Step[]): Promise<Timings> {
  const caller = "profile";
  const labels = steps.flatMap((step) => step.executable.dispatches.map((dispatch) => dispatch.label));
  const timestamps = session.device.features.has("timestamp-query") && labels.length > 0;
  const started = performance.now();
  if (!timestamps) {
    void submitSteps(session, steps);
    await session.watch.answer(caller, session.device.queue.onSubmittedWorkDone());
    return { milliseconds: performance.now() - started, dispatches: labels.map((label) => ({ label, milliseconds: undefined })) };
  }
  const bytes = 2 * labels.length * TIMESTAMP_BYTES;
  const [{ querySet, resolved, staging }, madeFault] = session.guard(caller, () => ({
    querySet: session.device.createQuerySet({ label: "fastrpb timestamps", type: "timestamp", count: 2 * labels.length }),
    resolved: session.pool.acquire(bytes, QUERY_USAGE, "fastrpb timestamps"),
    staging: session.pool.acquire(bytes, READBACK_USAGE, "fastrpb timestamps"),
  }));
  try {
    const ranFault = submitSteps(session, steps, (encoder, bound) => {
      let query = 0;
      // A pass of its own for each dispatch: timestamps are taken at the ends of passes.
      for (const [s, { executable }] of steps.entries()) {
        for (const [index, dispatch] of executable.dispatches.entries()) {
          const timestampWrites = { querySet, beginningOfPassWriteIndex: query++, endOfPassWriteIndex: query++ };
          const pass = encoder.beginComputePass({ label: dispatch.label, timestampWrites });
          bound[s]!.record(pass, index);
          pass.end();
        }
      }
      encoder.resolveQuerySet(querySet, 0, 2 * labels.length, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    });
    const [map, mapFault] = session.guard(caller, () => staging.mapAsync(MAP_MODE_READ, 0, bytes));
    await mapped(session, caller, map, async () => (await madeFault) ?? (await ranFault) ?? (await mapFault));
    const milliseconds = performance.now() - started;
    const times = new BigUint64Array(staging.getMappedRange(0, bytes).slice(0));
    staging.unmap();
    const dispatches = labels.map((label, i): DispatchTiming => {
      const nanoseconds = Number(times[2 * i + 1]! - times[2 * i]!);
      // WebGPU allows a clock that jumps back: that is no time.
      return { label, milliseconds: nanoseconds >= 0 ? nanoseconds / 1e6 : undefined };
    });
    return { milliseconds, dispatches };
  } catch (error) {
    for (const buffer of [resolved, staging]) session.pool.discard(buffer);
    throw error;
  } finally {
    querySet.destroy();
    session.pool.release(resolved);
    session.pool.release(staging);
  }
}
