/**
 * Rows of keys or values with others in the place of those that a mask leaves out: out_nd = x_nd where the mask is not 0, else the same number
 * everywhere.
 *
 * Layout: rows, out [B·H, N, width], keyMask [B, N]; in place there is out alone. One lane per vector of a row, or number where rows are not whole
 * vectors.
 * Bindings: 0 out, 1 keyMask, 2 rows unless in place; then params.
 */
import { type Kernel, makeKernel, type Precision, stored } from "../wgsl/kernel.ts";
import { isWhole, rowStart, type Strided, vectorElement } from "../wgsl/rows.ts";
import { f32, u32, wgsl } from "../wgsl/wgsl.ts";

export interface MaskRowsKernelSpec extends Strided {
  readonly lanes: number;
  /** Rows of a sequence, `N`. */
  readonly length: number;
  /** Numbers of a row. */
  readonly width: number;
  readonly precision: Precision;
  /** What stands in rows that are left out. */
  readonly fill: number;
  readonly inPlace: boolean;
}

/** Numbers of a lane: whole vectors, where all rows are. */
export function maskUnit({ width, strides = {} }: Pick<MaskRowsKernelSpec, "width" | "strides">): 1 | 4 {
  return ["rows", "out"].every((name) => isWhole(4, width, strides[name])) ? 4 : 1;
}

export function maskRowsKernel(spec: MaskRowsKernelSpec): Kernel {
  const { length, width, precision, inPlace, strides = {} } = spec;
  const whole = maskUnit(spec) === 4;
  const element = whole ? vectorElement(4, precision) : precision;
  const place = (binding: string) => {
    const own = strides[binding] && `${rowStart("row", width, strides[binding], maskUnit(spec))} + index % COLUMNS`;
    return `${binding}[${own ?? "at"} - params.${binding}Base]`;
  };
  const fill = stored(element, whole ? `vec4f(${f32(spec.fill)})` : f32(spec.fill));
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let row = params.firstHead * N + index / COLUMNS;
  let at = row * COLUMNS + index % COLUMNS;
  let is_seen = keyMask[row / (params.heads * N) * N + row % N] != 0.0;
  ${place("out")} = select(${fill}, ${place(inPlace ? "out" : "rows")}, is_seen);
`;
  return makeKernel({
    id: "attention/mask-rows",
    label: `mask of rows of ${width}${inPlace ? ", in place" : ""}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "out", access: "read_write", element },
      { name: "keyMask", access: "read", element: "f32" },
      ...(inPlace ? [] : [{ name: "rows", access: "read", element } as const]),
    ],
    params: ["count", "firstHead", "heads", "outBase", ...(inPlace ? [] : ["rowsBase"])],
    declarations: wgsl`const N = ${u32(length)};
const COLUMNS = ${u32(whole ? width / 4 : width)};`,
    body,
  });
}
