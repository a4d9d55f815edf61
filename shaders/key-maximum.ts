/**
 * Maximum over keys, m_d = max_j k_jd, for one tile of features and one chunk of rows: what SIKF's stable form needs. A codelet of the
 * reduction rather than a kernel of its own: each chunk then sums relative to its own maximum, one dispatch is saved, and the second
 * read of the chunk comes from cache. linear-attention-combine.ts rescales the chunks to their common maximum.
 *
 * The lanes stand as `width` features × `height` rows; partial maxima meet in `scratch`, which needs `height · tile` floats.
 */
import { LOWEST, u32, wgsl } from "./wgsl.ts";

export interface KeyMaximumSpec {
  /** Features in the tile. */
  readonly tile: number;
  readonly lanes: number;
  /** Rows that may meet in `scratch`. */
  readonly scratchRows: number;
  /** Name of a workgroup array of at least scratchRows · tile floats. */
  readonly scratch: string;
}

/**
 * `fn find_key_maximum(lane, first, begin, end, feature)`: fills `key_maximum: array<f32, tile>` from `keys[first + row·D + feature + d]`,
 * begin ≤ row < end. Holds barriers and ends with one.
 */
export function keyMaximum(spec: KeyMaximumSpec): string {
  const width = Math.min(spec.lanes, spec.tile);
  const height = Math.max(1, Math.min(Math.floor(spec.lanes / width), spec.scratchRows));
  return wgsl`
var<workgroup> key_maximum: array<f32, ${u32(spec.tile)}>;

fn find_key_maximum(lane: u32, first: u32, begin: u32, end: u32, feature: u32) {
  let part = lane / ${u32(width)};
  if (part < ${u32(height)}) {
    for (var d = lane % ${u32(width)}; d < ${u32(spec.tile)}; d += ${u32(width)}) {
      var largest = ${LOWEST};
      if (feature + d < D) {
        for (var row = begin + part; row < end; row += ${u32(height)}) {
          largest = max(largest, keys[first + row * D + feature + d]);
        }
      }
      ${spec.scratch}[part * ${u32(spec.tile)} + d] = largest;
    }
  }
  workgroupBarrier();
  for (var d = lane; d < ${u32(spec.tile)}; d += LANES) {
    var largest = ${spec.scratch}[d];
    for (var i = 1u; i < ${u32(height)}; i++) {
      largest = max(largest, ${spec.scratch}[i * ${u32(spec.tile)} + d]);
    }
    key_maximum[d] = largest;
  }
  workgroupBarrier();
}
`;
}
