import { tableData } from "../program/table-data.ts";
import { tableBytes, type TablePart } from "../program/tables.ts";
import type { BufferPool } from "./pool.ts";
import { STORAGE_USAGE } from "./usage.ts";

/** Constant tables on the device: uploaded once, shared by all plans of a runtime, freed with the last plan that uses them. */
export class TableCache {
  readonly #device: GPUDevice;
  readonly #pool: BufferPool;
  readonly #tables = new Map<string, { readonly buffer: GPUBuffer; users: number }>();

  constructor(device: GPUDevice, pool: BufferPool) {
    this.#device = device;
    this.#pool = pool;
  }

  acquire(name: string, parts: readonly TablePart[]): GPUBuffer {
    let table = this.#tables.get(name);
    if (!table) {
      table = { buffer: this.#pool.acquire(tableBytes(parts), STORAGE_USAGE, "fastrpb table"), users: 0 };
      this.#device.queue.writeBuffer(table.buffer, 0, tableData(parts) as Float32Array<ArrayBuffer>);
      this.#tables.set(name, table);
    }
    table.users++;
    return table.buffer;
  }

  release(name: string): void {
    const table = this.#tables.get(name);
    if (!table || --table.users > 0) return;
    this.#tables.delete(name);
    this.#pool.release(table.buffer);
  }
}
