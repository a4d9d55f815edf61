/**
 * Stockham FFT of one workgroup, as pieces of WGSL: mixed radix, values in registers, exchange through workgroup memory
 * (Govindaraju et al. 2008; the autosort framework of Stockham). It knows no storage buffer but the twiddle table: kernels load the
 * registers, run {@link stockhamStages} and store them.
 *
 * A workgroup transforms `columns` columns of `length` points, `threads` threads each. In a stage of radix R, with N_s the product
 * of the radices before it, butterfly b (0 ≤ b < length/R) takes the points b + r·length/R, r < R, multiplies by
 * exp(−2πi·r·(b mod N_s)/(N_s·R)), and puts its outputs at ⌊b/N_s⌋·N_s·R + b mod N_s + r·N_s. Thread t owns the butterflies
 * t, t + threads, …; register i·R + r holds point r of its i-th butterfly. The last stage leaves the result in natural order.
 */
import { butterflies, type Radix } from "./butterfly.ts";
import { COMPLEX } from "./complex.ts";
import { TURN_BY } from "./roots.ts";
import { range, u32, wgsl } from "./wgsl.ts";

export interface StockhamShape {
  readonly length: number;
  /** Their product is `length`. */
  readonly radices: readonly Radix[];
  /** Threads per column. */
  readonly threads: number;
  /** Columns per workgroup. */
  readonly columns: number;
  /** Which index runs fastest over the lanes of a workgroup: `"columns"` where neighbouring columns are neighbours in memory. */
  readonly lanes: "columns" | "points";
  /** Exchange re and im in turn (4 bytes a point, 4 barriers) or together (8 bytes a point, 2 barriers). */
  readonly exchange: "split" | "whole";
}

export function workgroupLanes(shape: StockhamShape): number {
  return shape.threads * shape.columns;
}

/** Bytes of workgroup memory that the exchange takes. */
export function exchangeBytes(shape: StockhamShape): number {
  if (shape.radices.length === 1) return 0;
  return shape.length * shape.columns * (shape.exchange === "split" ? 4 : 8);
}

/** Complex registers per thread: the largest number that any stage holds. */
export function registerCount(shape: Pick<StockhamShape, "length" | "radices" | "threads">): number {
  return Math.max(...shape.radices.map((radix) => butterfliesPerThread(shape, radix) * radix));
}

function butterfliesPerThread(shape: Pick<StockhamShape, "length" | "threads">, radix: number): number {
  return Math.ceil(shape.length / radix / shape.threads);
}

/** Entries of the twiddle table: (R − 1)·N_s for every stage but the first, entry (r − 1)·N_s + k at exp(−2πi·rk/(N_s·R)). */
export function twiddleCount(radices: readonly number[]): number {
  let before = 1;
  let count = 0;
  for (const [stage, radix] of radices.entries()) {
    if (stage > 0) count += (radix - 1) * before;
    before *= radix;
  }
  return count;
}

/** Module-scope declarations: butterflies, complex arithmetic, rotations, workgroup memory. */
export function stockhamDeclarations(shape: StockhamShape): string {
  const exchanges = shape.radices.length > 1;
  const points = shape.length * shape.columns;
  return wgsl`${COMPLEX}${TURN_BY}${butterflies(shape.radices)}
#if ${exchanges}
var<workgroup> exchange: array<${shape.exchange === "split" ? "f32" : "vec2f"}, ${u32(points)}>;
#endif
#if ${exchanges && shape.lanes === "columns"}
fn exchange_index(point: u32, column: u32) -> u32 { return point * ${u32(shape.columns)} + column; }
#elif ${exchanges}
fn exchange_index(point: u32, column: u32) -> u32 { return column * ${u32(shape.length)} + point; }
#endif
`;
}

/** `slot` (column within the workgroup), `thread` (within the column) and the registers `v0`, `v1`, …. */
export function stockhamRegisters(shape: StockhamShape): string {
  const [slot, thread] =
    shape.lanes === "columns"
      ? [`lane % ${u32(shape.columns)}`, `lane / ${u32(shape.columns)}`]
      : [`lane / ${u32(shape.threads)}`, `lane % ${u32(shape.threads)}`];
  return `  let slot = ${slot};
  let thread = ${thread};
${declareRegisters(shape, "v")}`;
}

/** A further set of registers of the same size. */
export function declareRegisters(shape: StockhamShape, prefix: string): string {
  return range(registerCount(shape))
    .map((i) => `  var ${prefix}${i} = vec2f();`)
    .join("\n");
}

/** WGSL for each register number, whatever it holds. */
export function everyRegister(shape: StockhamShape, body: (register: number) => string): string {
  return range(registerCount(shape))
    .map((register) => `  ${body(register)}`)
    .join("\n");
}

/** WGSL for each register before the first stage; `point` is its index in the column. */
export function eachInput(shape: StockhamShape, body: (register: number) => string): string {
  return eachPoint(shape, shape.radices[0]!, body);
}

/** WGSL for each register after the last stage; `point` is its index in the column. */
export function eachOutput(shape: StockhamShape, body: (register: number) => string): string {
  // The last stage puts output r of butterfly b at b + r·length/R: the same points as its inputs.
  return eachPoint(shape, shape.radices.at(-1)!, body);
}

function eachPoint(shape: StockhamShape, radix: number, body: (register: number) => string): string {
  return eachButterfly(shape, radix, (i) =>
    range(radix)
      .map((r) => `    { let point = butterfly + ${u32((r * shape.length) / radix)}; ${body(i * radix + r)} }`)
      .join("\n"),
  );
}

function eachButterfly(shape: StockhamShape, radix: number, body: (i: number) => string): string {
  const count = shape.length / radix;
  return range(butterfliesPerThread(shape, radix))
    .map((i) => {
      const guard = (i + 1) * shape.threads > count ? `if (butterfly < ${u32(count)}) ` : "";
      return `  { let butterfly = thread + ${u32(i * shape.threads)}; ${guard}{
${body(i)}
  } }`;
    })
    .join("\n");
}

/** All stages, from the registers of {@link eachInput} to those of {@link eachOutput}. Holds barriers: run it in uniform control flow. */
export function stockhamStages(shape: StockhamShape, twiddleOffset: number): string {
  const parts: string[] = [];
  let before = 1;
  let offset = twiddleOffset;
  for (const [stage, radix] of shape.radices.entries()) {
    const first = stage === 0;
    parts.push(
      eachButterfly(shape, radix, (i) => {
        const registers = range(radix).map((r) => `v${i * radix + r}`);
        const twiddles = first ? [] : registers.slice(1).map((v, r) => `    ${v} = turn_by(${v}, tables[${u32(offset + r * before)} + k]);`);
        const call = radix === 1 ? [] : [`    butterfly${radix}(${registers.map((v) => `&${v}`).join(", ")});`];
        return [...(first ? [] : [`    let k = butterfly % ${u32(before)};`]), ...twiddles, ...call].join("\n");
      }),
    );
    if (!first) offset += (radix - 1) * before;
    const next = shape.radices[stage + 1];
    if (next !== undefined) parts.push(exchangeRegisters(shape, radix, before, next));
    before *= radix;
  }
  return parts.join("\n");
}

/** Moves the registers of {@link eachOutput} to where {@link eachInput} has them, for a second transform. Holds barriers, or nothing. */
export function stockhamRewind(shape: StockhamShape): string {
  const last = shape.radices.at(-1)!;
  const first = shape.radices[0]!;
  return first === last ? "" : exchangeRegisters(shape, last, shape.length / last, first);
}

function exchangeRegisters(shape: StockhamShape, radix: number, before: number, next: number): string {
  const components = shape.exchange === "split" ? [".x", ".y"] : [""];
  return components
    .map(
      (component) => `${eachButterfly(
        shape,
        radix,
        (i) => `    let k = butterfly % ${u32(before)};
    let start = (butterfly - k) * ${u32(radix)} + k;
${range(radix)
  .map((r) => `    exchange[exchange_index(start + ${u32(r * before)}, slot)] = v${i * radix + r}${component};`)
  .join("\n")}`,
      )}
  workgroupBarrier();
${eachPoint(shape, next, (register) => `v${register}${component} = exchange[exchange_index(point, slot)];`)}
  workgroupBarrier();`,
    )
    .join("\n");
}
