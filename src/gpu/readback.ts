import type { TensorData } from "../core/backend.ts";
import { type FastRpbError, refuse } from "../core/errors.ts";
import { wholeWords } from "../core/limits.ts";
import type { Session } from "./session.ts";
import { COPY_SOURCE, MAP_MODE_READ, READBACK_USAGE } from "./usage.ts";

/** A range of a buffer, and what went wrong in the work that writes it. */
export interface Readable {
  readonly session: Session;
  readonly buffer: GPUBuffer;
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly fault: Promise<FastRpbError | undefined> | undefined;
}

/**
 * Copies what a storage holds into `target`.
 * @throws FastRpbError code `"lost"`, or of what went wrong in the work that wrote the storage
 */
export async function readback(storage: Readable, target: TensorData): Promise<void> {
  const caller = "tensor.data";
  const { session } = storage;
  const bytes = wholeWords(storage.byteLength);
  session.watch.check(caller);
  if ((storage.buffer.usage & COPY_SOURCE) === 0) {
    throw refuse("value", caller, "buffer.usage", "a usage with GPUBufferUsage.COPY_SRC", storage.buffer.usage);
  }
  const [{ staging, map }, fault] = session.guard(caller, () => {
    const buffer = session.pool.acquire(bytes, READBACK_USAGE, "fastrpb readback");
    const encoder = session.device.createCommandEncoder({ label: "fastrpb readback" });
    encoder.copyBufferToBuffer(storage.buffer, storage.byteOffset, buffer, 0, bytes);
    session.device.queue.submit([encoder.finish()]);
    return { staging: buffer, map: buffer.mapAsync(MAP_MODE_READ, 0, bytes) };
  });
  try {
    const faults = Promise.all([storage.fault, fault]);
    await mapped(session, caller, map, async () => {
      const [before, here] = await faults;
      return before ?? here;
    });
    const view = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    view.set(new Uint8Array(staging.getMappedRange(0, bytes), 0, storage.byteLength));
  } catch (error) {
    session.pool.discard(staging);
    throw error;
  } finally {
    staging.unmap();
    session.pool.release(staging);
  }
}

/**
 * Waits for a staging buffer that is mapped after the work that fills it.
 * @param fault what went wrong in that work: it explains more than the map that fails because of it
 */
export async function mapped(session: Session, caller: string, map: Promise<void>, fault: () => Promise<FastRpbError | undefined>): Promise<void> {
  map.catch(() => {}); // told below, after the fault
  const error = await session.watch.answer(caller, fault());
  if (error) throw error;
  await session.watch.answer(caller, map);
}
