/**
 * Stockham FFT of one workgroup, as pieces of WGSL: mixed radix, values in registers, exchange through workgroup memory
 * (Govindaraju et al. 2008; the autosort framework of Stockham). It knows no storage buffer but the twiddle table: kernels load the
 * registers, run {@link stockhamStages} and store them. A thread that holds a whole column exchanges nothing.
 *
 * A workgroup transforms `columns` columns of `length` points, `threads` threads each. In a stage of radix R, with N_s the product
 * of the radices before it, butterfly b (0 ≤ b < length/R) takes the points b + r·length/R, r < R, multiplies by
 * exp(−2πi·r·(b mod N_s)/(N_s·R)), and puts its outputs at ⌊b/N_s⌋·N_s·R + b mod N_s + r·N_s. Thread t owns the butterflies
 * t, t + threads, …; register i·R + r holds point r of its i-th butterfly. The last stage leaves the result in natural order.
 *
 * Several axes at once: point n counts over them row-major, and the stages of the first axis come first. Every stage takes the highest
 * digit of n that is left and appends a digit of k below, so the stages of the next axis go on where those of the last one ended, with
 * twiddles of their own: k mod (axes before) takes no part. The result has its axes in reversed order: k = k_0 + L_0·(k_1 + L_1·k_2).
 */
import { butterflies, fusedButterflies, type Radix } from "./butterfly.ts";
import { COMPLEX } from "../wgsl/complex.ts";
import { type Declarations, ELEMENT_BYTES, type WorkgroupVariable } from "../wgsl/kernel.ts";
import { TURN_BY, twiddleCount } from "./roots.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

/** A transform of one workgroup, and how its lanes do it. */
export interface StockhamShape {
  /** Points of a column, over all axes. */
  readonly length: number;
  /** The radices of each axis, the slowest axis first. */
  readonly axes: readonly (readonly Radix[])[];
  /** Threads per column. */
  readonly threads: number;
  /** Columns per workgroup. */
  readonly columns: number;
  /** Which index runs fastest over the lanes of a workgroup: `"columns"` where neighbouring columns are neighbours in memory. */
  readonly lanes: "columns" | "points";
  /** Exchange re and im in turn (4 bytes a point, 4 barriers) or together (8 bytes a point, 2 barriers). */
  readonly exchange: "split" | "whole";
  /**
   * The number s: element i of the workgroup memory lies at i ⊕ (⌊i/2^s⌋ mod {@link BANKS}), which spreads strided stores over the banks. 0
   * leaves it at i.
   */
  readonly bankShift: number;
  /** Whether butterflies take their twiddles on the way: {@link fusedButterflies}. For powers of two. */
  readonly fused: boolean;
}

/** A transform, and where in the table its twiddles are. */
export interface StockhamTransform {
  readonly shape: StockhamShape;
  /** Offset of each axis's twiddles. */
  readonly twiddles: readonly number[];
}

/** Words of workgroup memory that a GPU reaches at a time; those a multiple of it apart are in one bank and wait for each other. */
export const BANKS = 32;

/** One stage: a radix, and the products of the radices before it, over all axes and over those of its own. */
interface Stage {
  readonly radix: Radix;
  readonly axis: number;
  readonly before: number;
  readonly axisBefore: number;
  /** Where its twiddles start in the table of the axis. */
  readonly twiddle: number;
}

function stages({ axes, fused }: Pick<StockhamShape, "axes" | "fused">): readonly Stage[] {
  const list: Stage[] = [];
  let before = 1;
  for (const [axis, radices] of axes.entries()) {
    let axisBefore = 1;
    for (const [stage, radix] of radices.entries()) {
      list.push({ radix, axis, before, axisBefore, twiddle: twiddleCount(radices, fused, stage) });
      before *= radix;
      axisBefore *= radix;
    }
  }
  return list;
}

/** The radices of all stages, in order. */
export function radicesOf(shape: Pick<StockhamShape, "axes">): readonly Radix[] {
  return shape.axes.flat();
}

/** How a workgroup does a transform, for labels: "16·16 on 16×8" are the radices, the threads of a column and the columns; "8·8 × 8·8" two axes. */
export function stockhamName(shape: StockhamShape): string {
  const radices = shape.axes.map((axis) => axis.join("·")).join(" × ");
  return `${radices} on ${shape.threads}×${shape.columns}${shape.exchange === "split" ? ", split" : ""}`;
}

/** The shape that transforms a result's axes, which are in reversed order. */
export function reversedAxes(shape: StockhamShape): StockhamShape {
  return { ...shape, axes: [...shape.axes].reverse() };
}

/** Lanes of the workgroup of a transform. */
export function workgroupLanes(shape: StockhamShape): number {
  return shape.threads * shape.columns;
}

/** The workgroup variable of the exchange, if the transform needs one, or the mirror images of fft/real.ts do. */
function exchangeVariables(shape: StockhamShape, mirrors: boolean): readonly WorkgroupVariable[] {
  if (!mirrors && !exchangesMemory(shape)) return [];
  return [{ name: "exchange", element: shape.exchange === "split" ? "f32" : "vec2f", count: exchangeElements(shape) }];
}

/** Bytes of workgroup memory that the exchange takes. */
export function exchangeBytes(shape: StockhamShape, mirrors = false): number {
  return exchangeVariables(shape, mirrors).reduce((sum, { element, count }) => sum + ELEMENT_BYTES[element] * count, 0);
}

/** Whether threads hand values to each other between stages. */
function exchangesMemory(shape: Pick<StockhamShape, "axes" | "threads">): boolean {
  return radicesOf(shape).length > 1 && shape.threads > 1;
}

/** Elements of the exchange. Their places change within blocks of {@link BANKS}: the last block has to be whole. */
function exchangeElements({ length, columns, bankShift }: StockhamShape): number {
  return bankShift === 0 ? length * columns : BANKS * Math.ceil((length * columns) / BANKS);
}

/** The column and the thread that a lane is. */
export function laneOf(shape: StockhamShape, lane: number): { readonly slot: number; readonly thread: number } {
  const { columns, threads } = shape;
  return shape.lanes === "columns"
    ? { slot: lane % columns, thread: Math.floor(lane / columns) }
    : { slot: Math.floor(lane / threads), thread: lane % threads };
}

/** The place of a point of a column in the exchange, as the function `exchange_index` of the kernel has it. */
export function exchangeIndex(shape: StockhamShape, point: number, slot: number): number {
  return spread(shape.lanes === "columns" ? point * shape.columns + slot : slot * shape.length + point, shape.bankShift);
}

/** Where an element of the exchange lies: {@link StockhamShape.bankShift}. */
export function spread(element: number, bankShift: number): number {
  return bankShift === 0 ? element : element ^ ((element >> bankShift) % BANKS);
}

/** Where output r of butterfly b of a stage goes. */
function outputPoint(radix: number, before: number, b: number, r: number): number {
  return (b - (b % before)) * radix + (b % before) + r * before;
}

/** What the threads of a column store or load between two stages: butterfly b < `butterflies` its points r < `radix`. */
export interface ExchangeAccess {
  readonly radix: number;
  readonly butterflies: number;
  point(b: number, r: number): number;
}

/** The exchanges between stages: where the outputs of a stage go, then where the inputs of the next one come from. */
export function exchanges(shape: Pick<StockhamShape, "axes" | "length" | "fused">): readonly ExchangeAccess[] {
  const list = stages(shape);
  return list.slice(1).flatMap((next, i) => {
    const { radix, before } = list[i]!;
    const loaded = shape.length / next.radix;
    return [
      { radix, butterflies: shape.length / radix, point: (b: number, r: number) => outputPoint(radix, before, b, r) },
      { radix: next.radix, butterflies: loaded, point: (b: number, r: number) => b + r * loaded },
    ];
  });
}

/** Complex registers per thread: the largest number that any stage holds. */
export function registerCount(shape: Pick<StockhamShape, "length" | "axes" | "threads">): number {
  return Math.max(...radicesOf(shape).map((radix) => butterfliesPerThread(shape, radix) * radix));
}

function butterfliesPerThread(shape: Pick<StockhamShape, "length" | "threads">, radix: number): number {
  return Math.ceil(shape.length / radix / shape.threads);
}

/** Declarations of a transform: butterflies, complex arithmetic, rotations and the exchange, which the mirror images of fft/real.ts may need too. */
export function stockhamDeclarations(shape: StockhamShape, mirrors = false): Declarations {
  const { columns, length, bankShift } = shape;
  const exchange = exchangeVariables(shape, mirrors);
  const index = shape.lanes === "columns" ? `point * ${u32(columns)} + column` : `column * ${u32(length)} + point`;
  return [
    `${COMPLEX}${TURN_BY}${butterflies(radicesOf(shape))}${shape.fused ? fusedButterflies(radicesOf(shape)) : ""}`,
    ...exchange,
    wgsl`
#if ${exchange.length > 0 && bankShift > 0}
fn exchange_index(point: u32, column: u32) -> u32 {
  let at = ${index};
  return at ^ ((at >> ${u32(bankShift)}) & ${u32(BANKS - 1)});
}
#elif ${exchange.length > 0}
fn exchange_index(point: u32, column: u32) -> u32 { return ${index}; }
#endif
`,
  ];
}

/** Statements that declare `slot` (column within the workgroup), `thread` (within the column) and the registers `v0`, `v1`, …. */
export function stockhamRegisters(shape: StockhamShape): string {
  const [slot, thread] =
    shape.lanes === "columns"
      ? [`lane % ${u32(shape.columns)}`, `lane / ${u32(shape.columns)}`]
      : [`lane / ${u32(shape.threads)}`, `lane % ${u32(shape.threads)}`];
  return `  let slot = ${slot};
  let thread = ${thread};
${declareRegisters(shape, "v")}`;
}

/** Statements that find the `column` of a slot, and `active_column`, whether there is one: the last workgroup may have more slots than columns. */
export function stockhamColumn({ columns }: StockhamShape): string {
  return `  let column = group * ${u32(columns)} + slot;
  let active_column = column < params.columns;`;
}

/** Statements that declare a set of registers `<prefix>0`, …, as many as a thread needs. */
export function declareRegisters(shape: StockhamShape, prefix: string): string {
  return unroll(range(registerCount(shape)), (i) => `  var ${prefix}${i} = vec2f();`);
}

/** Statements for each register, whatever it holds. */
export function everyRegister(shape: StockhamShape, body: (register: number) => string): string {
  return unroll(range(registerCount(shape)), (register) => `  ${body(register)}`);
}

/** Statements for each register before the first stage; `point` is its index in the column. */
export function eachInput(shape: StockhamShape, body: (register: number) => string): string {
  return eachPoint(shape, radicesOf(shape)[0]!, body);
}

/** Statements for each register after the last stage; `point` is its index in the column. */
export function eachOutput(shape: StockhamShape, body: (register: number) => string): string {
  // The last stage puts output r of butterfly b at b + r·length/R: the same points as its inputs.
  return eachPoint(shape, radicesOf(shape).at(-1)!, body);
}

function eachPoint(shape: StockhamShape, radix: number, body: (register: number) => string): string {
  return eachButterfly(shape, radix, (i) =>
    unroll(range(radix), (r) => `    { let point = butterfly + ${u32((r * shape.length) / radix)}; ${body(i * radix + r)} }`),
  );
}

function eachButterfly(shape: StockhamShape, radix: number, body: (i: number) => string): string {
  const count = shape.length / radix;
  return unroll(range(butterfliesPerThread(shape, radix)), (i) => {
    const guard = (i + 1) * shape.threads > count ? `if (butterfly < ${u32(count)}) ` : "";
    return `  { let butterfly = thread + ${u32(i * shape.threads)}; ${guard}{
${body(i)}
  } }`;
  });
}

/**
 * Statements of all stages, from the registers of {@link eachInput} to those of {@link eachOutput}. They hold barriers: run them in uniform
 * control flow.
 *
 * @param twiddles offset of each axis's table
 * @param vectors names of the sets of registers that are transformed: two at once share every twiddle and every place in the exchange
 */
export function stockhamStages(shape: StockhamShape, twiddles: readonly number[], vectors: readonly string[] = ["v"]): string {
  const list = stages(shape);
  return list
    .map(({ radix, axis, before, axisBefore, twiddle }, stage) => {
      const body = eachButterfly(shape, radix, (i) => {
        const named = (name: string) =>
          range(radix)
            .map((r) => `&${name}${i * radix + r}`)
            .join(", ");
        const calls = radix === 1 ? [] : vectors.map((name) => `    butterfly${radix}(${named(name)});`);
        if (axisBefore === 1) return calls.join("\n");
        const entry = (r: number) => `tables[${u32(twiddles[axis]! + twiddle + r * axisBefore)} + k]`;
        const skipped = before / axisBefore; // digits of the axes before
        const k = `    let k = butterfly % ${u32(before)}${skipped === 1 ? "" : ` / ${u32(skipped)}`};`;
        if (shape.fused) {
          const roots = range(radix / 2).map((t) => `root${t}`);
          const lets = roots.map((root, t) => `    let ${root} = ${entry(t)};`);
          return [k, ...lets, ...vectors.map((v) => `    fused${radix}(${[named(v), ...roots].join(", ")});`)].join("\n");
        }
        const turns = range(radix - 1).map((r) => {
          const turned = vectors.map((name) => `${name}${i * radix + r + 1}`).map((v) => `${v} = turn_by(${v}, entry);`);
          return `    { let entry = ${entry(r)}; ${turned.join(" ")} }`;
        });
        return [k, ...turns, ...calls].join("\n");
      });
      const next = list[stage + 1];
      return next === undefined ? body : `${body}\n${exchangeRegisters(shape, radix, before, next.radix, vectors)}`;
    })
    .join("\n");
}

/**
 * Statements that move the registers of {@link eachOutput} to where {@link eachInput} of a second transform has them. They hold barriers, or there
 * are none.
 */
function stockhamRewind(shape: StockhamShape, second: StockhamShape, vectors: readonly string[]): string {
  const last = radicesOf(shape).at(-1)!;
  const first = radicesOf(second)[0]!;
  return first === last ? "" : exchangeRegisters(shape, last, shape.length / last, first, vectors);
}

/**
 * Statements of a forward transform, `multiply` for each register, and the transform back, whose result has re and im swapped if `multiply` swaps
 * them. The result stands as the outputs of {@link reversedAxes}. One body of stages serves both ways where it can: unrolling costs compile time
 * and instruction cache.
 *
 * @param multiply WGSL for a register; `point` is its index in the transform, axes in reversed order
 * @param vectors as in {@link stockhamStages}
 */
export function stockhamProduct(
  shape: StockhamShape,
  twiddles: readonly number[],
  multiply: (register: number) => string,
  vectors: readonly string[] = ["v"],
): string {
  const back = reversedAxes(shape);
  if (stockhamName(back) === stockhamName(shape)) {
    return `  for (var direction = 0u; direction < 2u; direction++) { // forward, inverse
${stockhamStages(shape, twiddles, vectors)}
    if (direction == 0u) {
${eachOutput(shape, multiply)}
${stockhamRewind(shape, shape, vectors)}
    }
  }`;
  }
  return [
    stockhamStages(shape, twiddles, vectors),
    eachOutput(shape, multiply),
    stockhamRewind(shape, back, vectors),
    stockhamStages(back, [...twiddles].reverse(), vectors),
  ].join("\n");
}

function exchangeRegisters(shape: StockhamShape, radix: number, before: number, next: number, vectors: readonly string[]): string {
  if (shape.threads === 1) return unroll(vectors, (name) => renameRegisters(shape, radix, before, next, name));
  const components = shape.exchange === "split" ? [".x", ".y"] : [""];
  const loaded = shape.length / next;
  return unroll(
    vectors.flatMap((name) => components.map((component) => ({ name, component }))),
    ({ name, component }) => `${eachButterfly(
      shape,
      radix,
      (i) => `    let k = butterfly % ${u32(before)};
    let start = (butterfly - k) * ${u32(radix)} + k;
${eachPlace(shape, "start", radix, before, (r, place) => `${place} = ${name}${i * radix + r}${component};`)}`,
    )}
  workgroupBarrier();
${eachButterfly(shape, next, (i) => eachPlace(shape, "butterfly", next, loaded, (r, place) => `${name}${i * next + r}${component} = ${place};`))}
  workgroupBarrier();`,
  );
}

/**
 * Statements for some points of the exchange, `stride` apart. Where all sizes are powers of two, the first point and the distance from it have no bit
 * in common: the place of their sum is that of the one ⊕ that of the other, one operation for each point.
 */
function eachPlace(shape: StockhamShape, from: string, count: number, stride: number, body: (r: number, place: string) => string): string {
  const powers = Number.isInteger(Math.log2(shape.length * shape.columns));
  const place = (distance: number) =>
    powers ? `first ^ ${u32(exchangeIndex(shape, distance, 0))}` : `exchange_index(${from} + ${u32(distance)}, slot)`;
  return `${powers ? `    let first = exchange_index(${from}, slot);\n` : ""}${unroll(range(count), (r) => `    ${body(r, `exchange[${place(r * stride)}]`)}`)}`;
}

/** {@link exchangeRegisters} where one thread holds a whole column: registers take the names of others, and no lane waits for another. */
function renameRegisters(shape: StockhamShape, radix: number, before: number, next: number, name: string): string {
  const holder: number[] = [];
  for (let b = 0; b < shape.length / radix; b++) {
    for (let r = 0; r < radix; r++) holder[outputPoint(radix, before, b, r)] = b * radix + r;
  }
  const moves = range(shape.length).map((register) => {
    const point = Math.floor(register / next) + (register % next) * (shape.length / next);
    return { register, from: holder[point]! };
  });
  const moved = moves.filter(({ register, from }) => register !== from);
  return `  {
${unroll(moved, ({ from }) => `    let moved${from} = ${name}${from};`)}
${unroll(moved, ({ register, from }) => `    ${name}${register} = moved${from};`)}
  }`;
}
