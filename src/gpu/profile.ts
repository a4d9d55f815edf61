import type { DispatchTiming, Step, Timings } from "../spec/backend.ts";
import type { DeviceContext, GpuExecutable } from "./executable.ts";
import { MAP_MODE_READ, QUERY_USAGE, READBACK_USAGE } from "./usage.ts";

/** A timestamp is a 64-bit count of nanoseconds. */
const TIMESTAMP_BYTES = 8;

/** What a backend lends to the measurement. */
export interface ProfileContext extends DeviceContext {
  /** Runs the steps as they are. */
  run(): void;
  /** Submits what `record` records, with the workspace of each step. */
  submit(record: (encoder: GPUCommandEncoder, slots: readonly (readonly GPUBuffer[])[]) => void): void;
  mapped(map: Promise<void>): Promise<void>;
}

/** Runs the steps, waits, and tells how long each dispatch took, where the device has a clock. */
export async function profile(steps: readonly Step[], { device, pool, run, submit, mapped }: ProfileContext): Promise<Timings> {
  const labels = steps.flatMap((step) => step.executable.dispatches.map((dispatch) => dispatch.label));
  const timestamps = device.features.has("timestamp-query") && labels.length > 0;
  const started = performance.now();
  if (!timestamps) {
    run();
    await device.queue.onSubmittedWorkDone();
    return { milliseconds: performance.now() - started, dispatches: labels.map((label) => ({ label, milliseconds: undefined })) };
  }
  const querySet = device.createQuerySet({ label: "fastrpb timestamps", type: "timestamp", count: 2 * labels.length });
  const bytes = 2 * labels.length * TIMESTAMP_BYTES;
  const resolved = pool.acquire(bytes, QUERY_USAGE, "fastrpb timestamps");
  const staging = pool.acquire(bytes, READBACK_USAGE, "fastrpb timestamps");
  try {
    submit((encoder, slots) => {
      let query = 0;
      // A pass of its own for each dispatch: timestamps are taken at the ends of passes.
      for (const [s, step] of steps.entries()) {
        const executable = step.executable as GpuExecutable;
        for (const [index, dispatch] of executable.dispatches.entries()) {
          const timestampWrites = { querySet, beginningOfPassWriteIndex: query++, endOfPassWriteIndex: query++ };
          const pass = encoder.beginComputePass({ label: dispatch.label, timestampWrites });
          executable.record(pass, index, step.bindings, slots[s]!);
          pass.end();
        }
      }
      encoder.resolveQuerySet(querySet, 0, 2 * labels.length, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    });
    await mapped(staging.mapAsync(MAP_MODE_READ, 0, bytes));
    const milliseconds = performance.now() - started;
    const times = new BigUint64Array(staging.getMappedRange(0, bytes).slice(0));
    staging.unmap();
    const dispatches = labels.map((label, i): DispatchTiming => {
      const nanoseconds = Number(times[2 * i + 1]! - times[2 * i]!);
      // WebGPU allows a clock that jumps back: that is no time.
      return { label, milliseconds: nanoseconds >= 0 ? nanoseconds / 1e6 : undefined };
    });
    return { milliseconds, dispatches };
  } finally {
    querySet.destroy();
    pool.release(resolved);
    pool.release(staging);
  }
}
