import { expect, test } from "vitest";
import { tableData } from "../program/table-data.ts";
import type { TablePart } from "../program/tables.ts";
import { BufferPool } from "./pool.ts";
import { TableCache } from "./tables.ts";

const PARTS: readonly TablePart[] = [{ kind: "twiddles", radices: [4, 4] }];

test("a table is uploaded once, shared, and given back with its last user", () => {
  const uploads: { buffer: unknown; data: Float32Array }[] = [];
  const device = {
    limits: { maxBufferSize: 2 ** 28 },
    createBuffer: ({ size, usage, label }: GPUBufferDescriptor) => ({ size, usage, label, destroy: () => {} }),
    queue: { submit: () => {}, writeBuffer: (buffer: unknown, _offset: number, data: Float32Array) => uploads.push({ buffer, data }) },
  } as unknown as GPUDevice;
  const pool = new BufferPool(device, 2 ** 20);
  const cache = new TableCache(device, pool);

  const first = cache.acquire("a", PARTS);
  expect(cache.acquire("a", PARTS)).toBe(first);
  expect(cache.acquire("b", PARTS)).not.toBe(first);
  expect(uploads).toHaveLength(2);
  expect(uploads[0]).toEqual({ buffer: first, data: tableData(PARTS) });
  expect(first.size).toBeGreaterThanOrEqual(tableData(PARTS).byteLength);

  cache.release("a");
  expect(pool.memory().buffers).toBe(2);
  cache.release("a");
  expect(pool.memory().buffers).toBe(1);
  cache.release("a"); // one too many
  expect(pool.memory().buffers).toBe(1);

  // A new user brings the contents anew: the buffer may have served others meanwhile.
  cache.acquire("a", PARTS);
  expect(uploads).toHaveLength(3);
});
