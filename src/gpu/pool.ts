import type { MemoryUse } from "../core/backend.ts";

/** Sizes grow in steps of an eighth of a power of two: at most 12.5 % of a buffer is unused, and buffers meet again. */
const STEPS_PER_OCTAVE = 8;
const SMALLEST_BUFFER = 256;

/** What the pool knows of a buffer; asking the buffer itself costs a call of the browser each time. */
interface Pooled {
  readonly size: number;
  label: string;
  /** Idle buffers of the same usage and size, the most recent last. */
  readonly peers: GPUBuffer[];
}

/**
 * GPU buffers by usage and size class. A released buffer waits for the next `acquire`; WebGPU runs submits in order, so a buffer may
 * be handed on as soon as the last work that uses it was submitted. The most recent one goes first, so that equal runs get equal buffers, and find
 * the bind groups of the run before. Idle buffers beyond `idleLimit` bytes are destroyed, oldest first.
 */
export class BufferPool {
  readonly #device: GPUDevice;
  readonly #idleLimit: number;
  readonly #largest: number;
  /** Insertion order is age. */
  readonly #idle = new Map<GPUBuffer, Pooled>();
  /** {@link Pooled.peers} by usage, then by size. */
  readonly #peers = new Map<GPUBufferUsageFlags, Map<number, GPUBuffer[]>>();
  readonly #faulty = new WeakSet<GPUBuffer>();
  readonly #lent = new WeakSet<GPUBuffer>();
  #lendings = 0;
  #idleBytes = 0;
  readonly #live = new Map<GPUBuffer, Pooled>();
  #liveBytes = 0;

  constructor(device: GPUDevice, idleLimit: number) {
    this.#device = device;
    this.#idleLimit = idleLimit;
    this.#largest = device.limits.maxBufferSize;
  }

  /** A buffer of at least `bytes`, with undefined contents. */
  acquire(bytes: number, usage: GPUBufferUsageFlags, label: string): GPUBuffer {
    const idle = this.take(bytes, usage, label);
    if (idle) return idle;
    const size = this.#sizeFor(bytes);
    const buffer = this.#device.createBuffer({ size, usage, label });
    this.#hold(buffer, { size, label, peers: this.#peersOf(usage, size) });
    return buffer;
  }

  /** The same, of those that are idle; `undefined` where there is none. */
  take(bytes: number, usage: GPUBufferUsageFlags, label: string): GPUBuffer | undefined {
    const buffer = this.#peersOf(usage, this.#sizeFor(bytes)).pop();
    if (!buffer) return undefined;
    const pooled = this.#idle.get(buffer)!;
    this.#idle.delete(buffer);
    this.#idleBytes -= pooled.size;
    if (pooled.label !== label) buffer.label = pooled.label = label;
    this.#hold(buffer, pooled);
    return buffer;
  }

  /** Takes a buffer back, after the last submit that uses it. */
  release(buffer: GPUBuffer): void {
    const pooled = this.#live.get(buffer);
    if (!pooled) return; // destroyed with the pool, while a readback or a run held it
    this.#live.delete(buffer);
    this.#liveBytes -= pooled.size;
    this.#idle.set(buffer, pooled);
    pooled.peers.push(buffer);
    this.#idleBytes += pooled.size;
    if (this.#faulty.has(buffer)) this.#evict(buffer, pooled);
    this.#shrink(this.#idleLimit);
  }

  /** Takes several back, so that whoever asks for the same again gets them in the same order. */
  releaseAll(buffers: readonly GPUBuffer[]): void {
    for (let i = buffers.length - 1; i >= 0; i--) this.release(buffers[i]!);
  }

  /** Remembers that somebody else has this buffer, and may destroy it whenever he likes. */
  lend(buffer: GPUBuffer): void {
    if (this.#lent.has(buffer)) return;
    this.#lent.add(buffer);
    this.#lendings++;
  }

  isLent(buffer: GPUBuffer): boolean {
    return this.#lent.has(buffer);
  }

  /** How many were lent so far: as long as it stays, so does what {@link isLent} tells. */
  get lendings(): number {
    return this.#lendings;
  }

  /** Never hands this buffer out again: the device could not make it, or lost track of it. Its holder still releases it. */
  discard(buffer: GPUBuffer): void {
    this.#faulty.add(buffer);
    const idle = this.#idle.get(buffer);
    if (idle) this.#evict(buffer, idle);
  }

  /** Destroys every buffer, idle or in use. */
  destroy(): void {
    for (const buffer of this.#live.keys()) buffer.destroy();
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

  #sizeFor(bytes: number): number {
    return Math.min(sizeClass(bytes), Math.max(bytes, this.#largest));
  }

  #peersOf(usage: GPUBufferUsageFlags, size: number): GPUBuffer[] {
    let sizes = this.#peers.get(usage);
    if (!sizes) this.#peers.set(usage, (sizes = new Map()));
    let peers = sizes.get(size);
    if (!peers) sizes.set(size, (peers = []));
    return peers;
  }

  #hold(buffer: GPUBuffer, pooled: Pooled): void {
    this.#live.set(buffer, pooled);
    this.#liveBytes += pooled.size;
  }

  #shrink(limit: number): void {
    if (this.#idleBytes <= limit) return;
    let evicted = false;
    for (const [buffer, pooled] of this.#idle) {
      if (this.#idleBytes <= limit) break;
      this.#evict(buffer, pooled);
      evicted = true;
    }
    // Dawn frees the memory of a destroyed buffer with the next submit.
    if (evicted) this.#device.queue.submit([]);
  }

  #evict(buffer: GPUBuffer, { size, peers }: Pooled): void {
    this.#idle.delete(buffer);
    peers.splice(peers.indexOf(buffer), 1);
    this.#idleBytes -= size;
    buffer.destroy();
  }
}

/** The smallest size class that holds `bytes`. */
export function sizeClass(bytes: number): number {
  if (bytes <= SMALLEST_BUFFER) return SMALLEST_BUFFER;
  const step = 2 ** Math.floor(Math.log2(bytes)) / STEPS_PER_OCTAVE;
  return Math.ceil(bytes / step) * step;
}
