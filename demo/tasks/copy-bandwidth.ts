/** How fast the device copies memory: what the times of dispatches are held against. */
import type { Runtime } from "../../src/index.ts";

const LARGEST = 2 ** 26;
/** Long enough that the way to the GPU and back does not count. */
const WORTH_TIMING = 20;
const MOST_COPIES = 256;
const ROUNDS = 3;

const measured = new WeakMap<GPUDevice, Promise<number | undefined>>();

/**
 * Bytes per second, read and written together, of a plain copy; measured once for a device. `undefined` where there is no GPU, or no memory
 * for it just now.
 */
export async function copyBandwidth({ device }: Runtime): Promise<number | undefined> {
  if (device === undefined) return undefined;
  let bandwidth = measured.get(device);
  if (bandwidth === undefined) {
    // Whatever goes wrong here goes wrong in the run as well, which says so better.
    bandwidth = measure(device).catch(() => undefined);
    measured.set(device, bandwidth);
  }
  const found = await bandwidth;
  if (found === undefined) measured.delete(device);
  return found;
}

/** A dispatch's bytes per second as a share of a copy's. `undefined` where either is not known, or its time was rounded to 0. */
export function shareOfCopy(bytes: number, milliseconds: number | undefined, bandwidth: number | undefined): number | undefined {
  if (milliseconds === undefined || milliseconds === 0 || bandwidth === undefined) return undefined;
  return bytes / (milliseconds / 1000) / bandwidth;
}

async function measure(device: GPUDevice): Promise<number | undefined> {
  const size = Math.min(LARGEST, device.limits.maxBufferSize - (device.limits.maxBufferSize % 4));
  device.pushErrorScope("validation");
  device.pushErrorScope("out-of-memory");
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [from, to] = [0, 1].map((index) => device.createBuffer({ label: `copy ${index}`, size, usage })) as [GPUBuffer, GPUBuffer];
  const failures = Promise.all([device.popErrorScope(), device.popErrorScope()]);
  try {
    if ((await failures).some((failure) => failure !== null)) return undefined;
    const time = async (copies: number) => {
      const encoder = device.createCommandEncoder();
      for (let copy = 0; copy < copies; copy++) encoder.copyBufferToBuffer(from, 0, to, 0, size);
      const start = performance.now();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      return performance.now() - start;
    };
    await time(1);
    let copies = 2;
    while (copies < MOST_COPIES && (await time(copies)) < WORTH_TIMING) copies *= 2;
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) times.push(await time(copies));
    const median = times.sort((a, b) => a - b)[(ROUNDS - 1) / 2]!;
    return median > 0 ? (2 * size * copies) / (median / 1000) : undefined;
  } finally {
    from.destroy();
    to.destroy();
    // Their memory goes with the next submit.
    device.queue.submit([]);
  }
}
