import { describe, expect, test } from "vitest";
import { random } from "../testing/random.ts";
import { BufferPool, sizeClass } from "./pool.ts";

const USAGE = 0x80;
const OTHER_USAGE = 0x40;

class FakeBuffer {
  readonly size: number;
  readonly usage: number;
  label: string;
  destroyed = false;

  constructor({ size, usage, label }: GPUBufferDescriptor) {
    this.size = size;
    this.usage = usage;
    this.label = label ?? "";
  }

  destroy(): void {
    this.destroyed = true;
  }
}

/** A device that makes buffers and counts submits. */
class FakeDevice {
  readonly limits: { readonly maxBufferSize: number };
  readonly buffers: FakeBuffer[] = [];
  submits = 0;
  readonly queue = { submit: () => void this.submits++ };

  constructor(maxBufferSize = 2 ** 28) {
    this.limits = { maxBufferSize };
  }

  createBuffer(descriptor: GPUBufferDescriptor): GPUBuffer {
    const buffer = new FakeBuffer(descriptor);
    this.buffers.push(buffer);
    return buffer as unknown as GPUBuffer;
  }

  pool(idleLimit: number): BufferPool {
    return new BufferPool(this as unknown as GPUDevice, idleLimit);
  }

  /** Sizes of the buffers that were not destroyed. */
  sizes(): number[] {
    return this.buffers.filter((buffer) => !buffer.destroyed).map((buffer) => buffer.size);
  }
}

function isDestroyed(buffer: GPUBuffer): boolean {
  return (buffer as unknown as FakeBuffer).destroyed;
}

describe("size classes", () => {
  test("hold what was asked for and waste an eighth at most", () => {
    const uniform = random(1);
    const sizes = [1, 4, 255, 256, 257, 1024, 1025, 2 ** 20 - 4, 2 ** 20, 2 ** 20 + 4, 2 ** 31, 2 ** 32 - 4];
    for (let i = 0; i < 5000; i++) sizes.push(4 * Math.ceil(2 ** (30 * uniform())));
    for (const bytes of sizes) {
      const size = sizeClass(bytes);
      expect(size, `${bytes}`).toBeGreaterThanOrEqual(bytes);
      expect(size % 4, `${bytes}`).toBe(0);
      if (bytes >= 256) expect((size - bytes) / size, `${bytes}`).toBeLessThanOrEqual(0.125);
      else expect(size, `${bytes}`).toBe(256);
      expect(sizeClass(size), `${bytes}: a class is its own class`).toBe(size);
    }
  });

  test("are few, so that buffers meet again, and ordered", () => {
    const classes = new Set<number>();
    let last = 0;
    for (let bytes = 4; bytes <= 2 ** 18; bytes += 4) {
      const size = sizeClass(bytes);
      expect(size).toBeGreaterThanOrEqual(last);
      last = size;
      classes.add(size);
    }
    // Eight an octave from 2^8 to 2^18.
    expect(classes.size).toBeLessThanOrEqual(81);
  });

  test("never exceed the largest buffer of the device", () => {
    const device = new FakeDevice(1000);
    const pool = device.pool(0);
    expect(pool.acquire(970, USAGE, "a").size).toBe(1000);
    expect(pool.acquire(1000, USAGE, "b").size).toBe(1000);
    // Too large is for the device to refuse.
    expect(pool.acquire(1004, USAGE, "c").size).toBe(1004);
  });
});

describe("reuse", () => {
  test("a released buffer of the same class and usage comes back, under its new label", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const first = pool.acquire(1000, USAGE, "first");
    pool.release(first);
    const second = pool.acquire(1020, USAGE, "second");
    expect(second).toBe(first);
    expect(second.label).toBe("second");
    expect(device.buffers).toHaveLength(1);
  });

  test("another usage or class takes another buffer", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const first = pool.acquire(1000, USAGE, "first");
    pool.release(first);
    expect(pool.acquire(1000, OTHER_USAGE, "usage")).not.toBe(first);
    expect(pool.acquire(5000, USAGE, "size")).not.toBe(first);
    expect(pool.acquire(100, USAGE, "small")).not.toBe(first);
    expect(pool.acquire(1000, USAGE, "again")).toBe(first);
  });

  test("a buffer in use is never handed out twice", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const buffers = Array.from({ length: 10 }, () => pool.acquire(1000, USAGE, "x"));
    expect(new Set(buffers).size).toBe(10);
    for (const buffer of buffers) pool.release(buffer);
    expect(new Set(buffers.map(() => pool.acquire(1000, USAGE, "y"))).size).toBe(10);
    expect(device.buffers).toHaveLength(10);
  });
});

describe("the same again", () => {
  test("equal requests get equal buffers, however many are idle", () => {
    const pool = new FakeDevice().pool(2 ** 20);
    pool.releaseAll(Array.from({ length: 6 }, () => pool.acquire(1000, USAGE, "idle")));
    const run = () => {
      const taken = [1, 2, 3].map(() => pool.acquire(1000, USAGE, "x"));
      pool.releaseAll(taken);
      return taken;
    };
    const first = run();
    for (let i = 0; i < 5; i++) expect(run()).toEqual(first);
  });

  test("take makes nothing, and gives what is idle", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    expect(pool.take(1000, USAGE, "x")).toBeUndefined();
    const buffer = pool.acquire(1000, USAGE, "x");
    expect(pool.take(1000, USAGE, "x")).toBeUndefined();
    pool.release(buffer);
    expect(pool.take(1000, OTHER_USAGE, "x")).toBeUndefined();
    expect(pool.take(1010, USAGE, "y")).toBe(buffer);
    expect(buffer.label).toBe("y");
    expect(device.buffers).toHaveLength(1);
  });
});

describe("lending", () => {
  test("sticks to a buffer, whoever has it next, and is counted once", () => {
    const pool = new FakeDevice().pool(2 ** 20);
    const buffer = pool.acquire(1000, USAGE, "x");
    expect([pool.isLent(buffer), pool.lendings]).toEqual([false, 0]);
    pool.lend(buffer);
    pool.lend(buffer);
    pool.release(buffer);
    expect(pool.acquire(1000, USAGE, "next")).toBe(buffer);
    expect([pool.isLent(buffer), pool.lendings]).toEqual([true, 1]);
  });
});

describe("idle limit", () => {
  test("the buffer that has waited longest goes first", () => {
    const device = new FakeDevice();
    const pool = device.pool(3072);
    const [a, b, c, d] = Array.from({ length: 4 }, () => pool.acquire(1024, USAGE, "x")) as [GPUBuffer, GPUBuffer, GPUBuffer, GPUBuffer];
    for (const buffer of [b, a, c]) pool.release(buffer);
    expect([a, b, c].some(isDestroyed)).toBe(false);
    const submits = device.submits;
    pool.release(d);
    expect([a, b, c, d].map(isDestroyed)).toEqual([false, true, false, false]);
    expect(pool.memory()).toEqual({ liveBytes: 0, pooledBytes: 3072, buffers: 0 });
    // The device frees what was destroyed with the next submit only.
    expect(device.submits).toBeGreaterThan(submits);
  });

  test("age starts anew with each release", () => {
    const device = new FakeDevice();
    const pool = device.pool(2048);
    const [a, b, c] = [1024, 512, 1024].map((bytes) => pool.acquire(bytes, USAGE, "x")) as [GPUBuffer, GPUBuffer, GPUBuffer];
    pool.release(a);
    pool.release(b);
    expect(pool.acquire(1024, USAGE, "x")).toBe(a);
    pool.release(a);
    pool.release(c);
    expect([a, b, c].map(isDestroyed)).toEqual([false, true, false]);
  });

  test("a buffer beyond the limit is destroyed at once, and with limit 0 every one", () => {
    const device = new FakeDevice();
    const pool = device.pool(4096);
    const large = pool.acquire(8192, USAGE, "large");
    pool.release(large);
    expect(isDestroyed(large)).toBe(true);
    const strict = new FakeDevice();
    const none = strict.pool(0);
    none.release(none.acquire(4, USAGE, "x"));
    expect(strict.sizes()).toEqual([]);
    expect(none.memory().pooledBytes).toBe(0);
  });

  test("several small ones make room for a large one", () => {
    const device = new FakeDevice();
    const pool = device.pool(4096);
    const small = Array.from({ length: 4 }, () => pool.acquire(1024, USAGE, "small"));
    const large = pool.acquire(3072, USAGE, "large");
    for (const buffer of [...small, large]) pool.release(buffer);
    expect(small.map(isDestroyed)).toEqual([true, true, true, false]);
    expect(isDestroyed(large)).toBe(false);
  });
});

describe("discard", () => {
  test("a buffer in use is destroyed when it is released, and never handed out again", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const faulty = pool.acquire(1000, USAGE, "faulty");
    pool.discard(faulty);
    expect(isDestroyed(faulty)).toBe(false);
    expect(pool.memory().buffers).toBe(1);
    pool.release(faulty);
    expect(isDestroyed(faulty)).toBe(true);
    expect(pool.memory()).toEqual({ liveBytes: 0, pooledBytes: 0, buffers: 0 });
    expect(pool.acquire(1000, USAGE, "next")).not.toBe(faulty);
  });

  test("an idle buffer is destroyed at once", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const faulty = pool.acquire(1000, USAGE, "faulty");
    pool.release(faulty);
    pool.discard(faulty);
    pool.discard(faulty);
    expect(isDestroyed(faulty)).toBe(true);
    expect(pool.memory()).toEqual({ liveBytes: 0, pooledBytes: 0, buffers: 0 });
    expect(pool.acquire(1000, USAGE, "next")).not.toBe(faulty);
  });
});

describe("destroy", () => {
  test("takes everything, idle and in use, and tells the device", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const [idle] = [pool.acquire(1000, USAGE, "idle"), pool.acquire(2000, USAGE, "live")];
    pool.release(idle);
    const submits = device.submits;
    pool.destroy();
    expect(device.sizes()).toEqual([]);
    expect(device.submits).toBeGreaterThan(submits);
    expect(pool.memory()).toEqual({ liveBytes: 0, pooledBytes: 0, buffers: 0 });
  });

  test("a holder that comes too late, such as a readback, leaves the figures at 0", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const staging = pool.acquire(1000, USAGE, "readback");
    pool.destroy();
    pool.release(staging);
    expect(pool.memory()).toEqual({ liveBytes: 0, pooledBytes: 0, buffers: 0 });
  });

  test("a discarded holder that comes too late leaves the figures at 0", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const staging = pool.acquire(1000, USAGE, "readback");
    pool.destroy();
    pool.discard(staging);
    pool.release(staging);
    expect(pool.memory()).toEqual({ liveBytes: 0, pooledBytes: 0, buffers: 0 });
  });

  test("what was destroyed is not handed out again", () => {
    const device = new FakeDevice();
    const pool = device.pool(2 ** 20);
    const staging = pool.acquire(1000, USAGE, "readback");
    pool.destroy();
    pool.release(staging);
    expect(isDestroyed(pool.acquire(1000, USAGE, "next"))).toBe(false);
  });
});

describe("memory", () => {
  test("counts whole buffers, in use and idle", () => {
    const pool = new FakeDevice().pool(2 ** 20);
    const [a, b] = [pool.acquire(1000, USAGE, "a"), pool.acquire(10, USAGE, "b")];
    expect(pool.memory()).toEqual({ liveBytes: a.size + b.size, pooledBytes: 0, buffers: 2 });
    pool.release(a);
    expect(pool.memory()).toEqual({ liveBytes: 256, pooledBytes: a.size, buffers: 1 });
    expect(Object.isFrozen(pool.memory())).toBe(true);
  });

  test("agrees with the device after any history", () => {
    const device = new FakeDevice();
    const limit = 50_000;
    const pool = device.pool(limit);
    const uniform = random(2);
    const live: GPUBuffer[] = [];
    for (let step = 0; step < 3000; step++) {
      const chance = uniform();
      if (live.length === 0 || chance < 0.5) {
        const buffer = pool.acquire(4 * Math.ceil(5000 * uniform()), uniform() < 0.8 ? USAGE : OTHER_USAGE, "x");
        expect(isDestroyed(buffer), `seed 2, step ${step}`).toBe(false);
        expect(live.includes(buffer), `seed 2, step ${step}`).toBe(false);
        live.push(buffer);
      } else {
        const [buffer] = live.splice(Math.floor(live.length * uniform()), 1) as [GPUBuffer];
        if (chance > 0.97) pool.discard(buffer);
        pool.release(buffer);
      }
      const { liveBytes, pooledBytes, buffers } = pool.memory();
      expect(buffers, `seed 2, step ${step}`).toBe(live.length);
      expect(liveBytes, `seed 2, step ${step}`).toBe(live.reduce((sum, { size }) => sum + size, 0));
      expect(pooledBytes, `seed 2, step ${step}`).toBeLessThanOrEqual(limit);
      expect(liveBytes + pooledBytes, `seed 2, step ${step}`).toBe(device.sizes().reduce((sum, size) => sum + size, 0));
    }
    pool.destroy();
    expect(device.sizes()).toEqual([]);
  });
});
