import type { MemoryUse } from "../core/backend.ts";

/** Sizes grow in steps of an eighth of a power of two: at most 12.5 % of a buffer is unused, and buffers meet again. */
const STEPS_PER_OCTAVE = 8;
const SMALLEST_BUFFER = 256;

/**
 * GPU buffers by usage and size class. A released buffer waits for the next `acquire`; WebGPU runs submits in order, so a buffer may
 * be handed on as soon as the last work that uses it was submitted. Idle buffers beyond `idleLimit` bytes are destroyed, oldest first.
 */
export class BufferPool {
  readonly #device: GPUDevice;
  readonly #idleLimit: number;
  readonly #largest: number;
  /** Insertion order is age. */
  readonly #idle = new Set<GPUBuffer>();
  readonly #faulty = new WeakSet<GPUBuffer>();
  #idleBytes = 0;
  readonly #live = new Set<GPUBuffer>();
  #liveBytes = 0;

  constructor(device: GPUDevice, idleLimit: number) {
    this.#device = device;
    this.#idleLimit = idleLimit;
    this.#largest = device.limits.maxBufferSize;
  }

  /** A buffer of at least `bytes`, with undefined contents. */
  acquire(bytes: number, usage: GPUBufferUsageFlags, label: string): GPUBuffer {
    const size = Math.min(sizeClass(bytes), Math.max(bytes, this.#largest));
    let buffer: GPUBuffer | undefined;
    for (const candidate of this.#idle) {
      if (candidate.size === size && candidate.usage === usage) {
        buffer = candidate;
        this.#idle.delete(candidate);
        this.#idleBytes -= size;
        break;
      }
    }
    buffer ??= this.#device.createBuffer({ size, usage, label });
    buffer.label = label;
    this.#liveBytes += size;
    this.#live.add(buffer);
    return buffer;
  }

  /** Takes a buffer back, after the last submit that uses it. */
  release(buffer: GPUBuffer): void {
    if (!this.#live.delete(buffer)) return; // destroyed with the pool, while a readback or a run held it
    this.#liveBytes -= buffer.size;
    this.#idle.add(buffer);
    this.#idleBytes += buffer.size;
    if (this.#faulty.has(buffer)) this.#evict(buffer);
    this.#shrink(this.#idleLimit);
  }

  /** Never hands this buffer out again: the device could not make it, or lost track of it. Its holder still releases it. */
  discard(buffer: GPUBuffer): void {
    this.#faulty.add(buffer);
    if (this.#idle.has(buffer)) this.#evict(buffer);
  }

  /** Destroys every buffer, idle or in use. */
  destroy(): void {
    for (const buffer of this.#live) buffer.destroy();
    this.#live.clear();
    this.#liveBytes = 0;
    this.#shrink(0);
    this.#device.queue.submit([]);
  }

  /** Destroys the idle buffers. */
  trim(): void {
    this.#shrink(0);
  }

  memory(): MemoryUse {
    return Object.freeze({ liveBytes: this.#liveBytes, pooledBytes: this.#idleBytes, buffers: this.#live.size });
  }

  #shrink(limit: number): void {
    let evicted = false;
    for (const buffer of this.#idle) {
      if (this.#idleBytes <= limit) break;
      this.#evict(buffer);
      evicted = true;
    }
    // Dawn frees the memory of a destroyed buffer with the next submit.
    if (evicted) this.#device.queue.submit([]);
  }

  #evict(buffer: GPUBuffer): void {
    this.#idle.delete(buffer);
    this.#idleBytes -= buffer.size;
    buffer.destroy();
  }
}

/** The smallest size class that holds `bytes`. */
export function sizeClass(bytes: number): number {
  if (bytes <= SMALLEST_BUFFER) return SMALLEST_BUFFER;
  const step = 2 ** Math.floor(Math.log2(bytes)) / STEPS_PER_OCTAVE;
  return Math.ceil(bytes / step) * step;
}
