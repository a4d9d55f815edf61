/**
 * Turns the key states of the chunks of a head into those of all chunks before each, in place. With M_c = max_{b<c} m_b for SIKF,
 *
 *   z_c = Σ_{b<c} exp(m_b − M_c) z_b,   s_c = Σ_{b<c} exp(m_b − M_c) s_b,
 *
 * with powers of two in place of exp for the other maps; the first chunk gets M = the lowest number, z = s = 0. `reverse`: of all chunks after each.
 * One step of the recurrence is X_{c+1} = f_c X_c + g_c x_c with f_c = exp(M_c − M_{c+1}), g_c = exp(m_c − M_{c+1}).
 *
 * Layout: states [heads, chunks, state] (KeyStateLayout). A workgroup does one (head, d): z_d and the row s_d are E + 1 columns. It goes
 * through the chunks in blocks of SEGMENTS × `steps`. Lane → (segment, column), column fastest: a lane holds its segment of a column in
 * registers, so that its loads do not wait for each other, and segments meet in workgroup memory. Factors are found once for all columns,
 * lane → chunk of the block. What comes before the block is carried in workgroup memory.
 * Bindings: 0 states, 1 params.
 */
import { type ChunkedStates, type KernelFeatureMap, keyStateConstants, scalarSizeFactor } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface ScanKernelSpec extends Omit<HeadShape, "length">, Omit<ChunkedStates, "chunkRows"> {
  readonly featureMap: KernelFeatureMap;
  /** Whether to go from the last chunk to the first. */
  readonly reverse: boolean;
  /** Columns of a state that a workgroup does at a time. */
  readonly width: number;
  /** Segments of a block of chunks, each with lanes of its own. */
  readonly segments: number;
  /** Chunks of a segment. */
  readonly steps: number;
}

type Tile = Pick<ScanKernelSpec, "valueDim" | "width" | "segments" | "steps">;

function floats(name: string, count: number): WorkgroupVariable {
  return { name, element: "f32", count };
}

/** Workgroup variables of the sums. */
function sums({ valueDim, width, segments }: Tile): readonly WorkgroupVariable[] {
  return [floats("carry", valueDim + 1), floats("totals", width * segments)];
}

/** Workgroup variables of the factors. */
function factors({ segments, steps }: Tile): readonly WorkgroupVariable[] {
  return [
    ...["maxima", "keep", "take"].map((name) => floats(name, segments * steps)),
    ...["segment_maxima", "segment_keep"].map((name) => floats(name, segments)),
  ];
}

/** Bytes of workgroup memory of a scan kernel. */
export function scanBytes(tile: Tile): number {
  return workgroupBytes([...sums(tile), ...factors(tile)]);
}

export function scanKernel(spec: ScanKernelSpec): Kernel {
  const { segments } = spec;
  const { functions, factor } = scalarSizeFactor(spec.featureMap);
  const steps = range(spec.steps);
  /** X_c → X_{c+1}, for step i of the lane's segment. */
  const step = (sum: string, i: number) => `fma(${sum}, keep[at + ${u32(i)}], x${i} * take[at + ${u32(i)}])`;
  const body = wgsl`  let d = group % D;
  let head = group / D;
  let segment = lane / WIDTH;
  let column = lane % WIDTH;
  let at = segment * STEPS;
  for (var i = lane; i <= E; i += LANES) { carry[i] = 0.0; }
  var before = ${LOWEST};
  workgroupBarrier();
  for (var first = 0u; first < CHUNKS; first += BLOCK) {
    for (var i = lane; i < BLOCK; i += LANES) {
      var m = ${LOWEST};
      if (first + i < CHUNKS) { m = states[state_of(head, first + i) + d]; }
      maxima[i] = m;
    }
    workgroupBarrier();
    for (var s = lane; s < SEGMENTS; s += LANES) {
      var largest = ${LOWEST};
      for (var i = 0u; i < STEPS; i++) { largest = max(largest, maxima[s * STEPS + i]); }
      segment_maxima[s] = largest;
    }
    workgroupBarrier();
    for (var i = lane; i < BLOCK; i += LANES) {
      let s = i / STEPS;
      var start = before;
      for (var j = 0u; j < s; j++) { start = max(start, segment_maxima[j]); }
      var largest = start;
      for (var j = s * STEPS; j < i; j++) { largest = max(largest, maxima[j]); }
      let m = maxima[i];
      let next = max(largest, m);
      keep[i] = ${factor("largest - next")};
      take[i] = ${factor("m - next")};
      if (i == s * STEPS) { segment_keep[s] = ${factor("start - max(start, segment_maxima[s])")}; }
      if (first + i < CHUNKS) { states[state_of(head, first + i) + d] = largest; }
    }
    for (var s = 0u; s < SEGMENTS; s++) { before = max(before, segment_maxima[s]); }
    workgroupBarrier();
    for (var columns = 0u; columns <= E; columns += WIDTH) {
      let e = columns + column;
      let offset = select(STATE_PRODUCTS + d * STATE_STRIDE + e, STATE_SUM + d, e == E);
${unroll(
  steps,
  (i) => `      var x${i} = 0.0;
      let inside${i} = e <= E && first + at + ${u32(i)} < CHUNKS;
      let place${i} = state_of(head, first + at + ${u32(i)}) + offset;
      if (inside${i}) { x${i} = states[place${i}]; }`,
)}
      var total = 0.0;
${unroll(steps, (i) => `      total = ${step("total", i)};`)}
      totals[lane] = total;
      workgroupBarrier();
      var sum = 0.0;
      if (e <= E) { sum = carry[e]; }
      var own = 0.0;
      for (var s = 0u; s < SEGMENTS; s++) {
        if (s == segment) { own = sum; }
        sum = fma(sum, segment_keep[s], totals[s * WIDTH + column]);
      }
      workgroupBarrier();
      if (segment == 0u && e <= E) { carry[e] = sum; }
${unroll(
  steps,
  (i) => `      if (inside${i}) { states[place${i}] = own; }
      own = ${step("own", i)};`,
)}
    }
    workgroupBarrier();
  }
`;
  return makeKernel({
    id: "attention/causal/scan",
    label: `linear attention scan ${spec.featureMap === "sikf" ? "sikf" : "powers of two"}${spec.reverse ? " reverse" : ""} ${spec.chunks} chunks`,
    constants: spec,
    workgroupSize: spec.width * segments,
    bindings: [{ name: "states", access: "read_write", element: "f32" }],
    params: [],
    declarations: [
      wgsl`const D = ${u32(spec.headDim)};
const E = ${u32(spec.valueDim)};
const CHUNKS = ${u32(spec.chunks)};
const WIDTH = ${u32(spec.width)};
const SEGMENTS = ${u32(segments)};
const STEPS = ${u32(spec.steps)};
const BLOCK = ${u32(segments * spec.steps)};
${keyStateConstants(spec.state)}`,
      ...sums(spec),
      functions,
      ...factors(spec),
      `// Where the state of the chunk that comes i-th is.
fn state_of(head: u32, i: u32) -> u32 { return (head * CHUNKS + ${spec.reverse ? "CHUNKS - 1u - i" : "i"}) * STATE; }`,
    ],
    body,
  });
}
