/** Lines along the middle of [outer, length, inner], and where passes find their points. */
import type { AxisLayout } from "../../core/axes.ts";
import { type BufferEnd, type PassEnd, windowPoints } from "./pass.ts";

/** Transforms along the middle of [outer, length, inner]. */
export interface LineRequest {
  readonly layout: AxisLayout;
  readonly source: BufferEnd;
  readonly destination: BufferEnd;
  readonly inverse: boolean;
  readonly scale: number;
}

/** What a line is at one end, where it is not complex numbers, one for each point. */
export type EndKind = Partial<Pick<PassEnd, "element" | "rows" | "inner" | "firstInner" | "wrap" | "limit" | "fold" | "pairs">>;

/** Complex transforms of lines. */
export interface FftRequest extends LineRequest {
  /** `"transposed"` leaves the result of a four-step transform as [k_a, k_b], k = k_a + A·k_b, which saves scattered stores. */
  readonly order: "natural" | "transposed";
  readonly ends?: { readonly source: EndKind; readonly destination: EndKind };
}

/** An end with complex lines. @param strides in positions: of a point, and of each digit, of which the first is the index after the axis */
export function lineEnd(
  target: BufferEnd,
  layout: Pick<AxisLayout, "length" | "inner">,
  strides: { readonly point: number; readonly digits: readonly number[] },
): PassEnd {
  return {
    ...target,
    element: "complex",
    rows: layout.length,
    inner: layout.inner,
    points: [{ size: layout.length, stride: strides.point }],
    strides: strides.digits,
    outside: strides.digits.map((_, i) => (i === 0 ? 1 : 0)),
    elements: layout.length * layout.inner,
  };
}

/** A kind of end as it changes an end of complex lines, with the elements that it touches. */
export function endKind(layout: AxisLayout, kind: EndKind | undefined): Partial<PassEnd> {
  if (!kind) return {};
  return { ...kind, elements: windowPoints(kind, layout.length) * layout.inner };
}
