/** A WGSL literal of the nearest float32. */
export function f32(value: number): string {
  const nearest = Math.fround(value);
  if (!Number.isFinite(nearest)) throw new TypeError(`wgsl: not a finite float32: ${value}`);
  const text = nearest.toString();
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
}

/** A WGSL literal of an unsigned integer. */
export function u32(value: number): string {
  if (!Number.isInteger(value) || value < 0 || value > 2 ** 32 - 1) throw new TypeError(`wgsl: not a u32: ${value}`);
  return `${value}u`;
}

/** The integers 0 … n − 1, for unrolling. */
export function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}

/** The pieces of WGSL for all items, one below the other. */
export function unroll<T>(items: readonly T[], piece: (item: T) => string): string {
  return items.map(piece).join("\n");
}

/** The lowest finite float32, where a maximum starts. */
export const LOWEST = "-3.4028234663852886e38f";
