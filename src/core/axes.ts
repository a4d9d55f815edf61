import { elementCount } from "./check.ts";
import { refuse } from "./errors.ts";

/** A shape as `[outer, length, inner]`, seen from one of its axes. */
export interface AxisLayout {
  /** Product of the sizes before the axis. */
  readonly outer: number;
  readonly length: number;
  /** Product of the sizes after the axis: how far apart neighbours along it lie, in elements. */
  readonly inner: number;
}

export function axisLayout(shape: readonly number[], axis: number): AxisLayout {
  return { outer: elementCount(shape.slice(0, axis)), length: shape[axis]!, inner: elementCount(shape.slice(axis + 1)) };
}

/**
 * Axes as non-negative numbers, in the caller's order.
 * @throws FastRpbError code `"value"` for an axis out of range or repeated, none, or more than `most`
 */
export function checkAxes(caller: string, axes: unknown, rank: number, most: number): readonly number[] {
  const refused = () => refuse("value", caller, "options.axes", `an array of 1 to ${most} different integers from ${-rank} to ${rank - 1}`, axes);
  if (!Array.isArray(axes) || axes.length === 0 || axes.length > most) throw refused();
  const checked = Array.from(axes, (axis: unknown) => {
    if (typeof axis !== "number" || !Number.isInteger(axis) || axis < -rank || axis >= rank) throw refused();
    return axis < 0 ? axis + rank : axis;
  });
  if (new Set(checked).size !== checked.length) throw refused();
  return Object.freeze(checked);
}
