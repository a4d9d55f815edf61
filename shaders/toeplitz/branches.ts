/**
 * What a workgroup does in every Toeplitz product: a vector in registers, times a matrix given by the spectra of its branches,
 *
 *   T v = Σ_s D_s* F⁻¹ Ŝ_s F D_s v.
 *
 * In one dimension T = C + S, circulant plus skew-circulant of size M, with D_C = 1 and D_S = D = diag(exp(−iπn/M)) (Davis, Circulant
 * Matrices, 1979). On a grid each axis is split so, which makes four branches s = 2·s_y + s_x of D_s = D_y^{s_y} ⊗ D_x^{s_x}; F is the
 * transform of both axes. No zero padding, half the working set of the padded transform in each dimension.
 *
 * An inverse transform is a forward one of swapped re and im, so that one body of stages serves all branches and, where the radices
 * allow, both directions: unrolling it would cost compile time and instruction cache.
 */
import { rootFunction, type RootTable } from "../fft/roots.ts";
import { declareRegisters, eachInput, eachOutput, everyRegister, reversedAxes, stockhamProduct, type StockhamTransform } from "../fft/stockham.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

/** An axis of a Toeplitz matrix. */
export interface ToeplitzAxis {
  /** Positions along it. */
  readonly size: number;
  /** Period of the circulant and the skew-circulant half; at least `size`. */
  readonly period: number;
  /** Roots of order twice the period, as many as the period. */
  readonly roots: RootTable;
}

/** The branches of a Toeplitz matrix, with the transform of its periods. */
export interface ToeplitzBranchesSpec extends StockhamTransform {
  /** One axis, or the y and the x of a grid. */
  readonly axes: readonly ToeplitzAxis[];
  /** Whether to multiply by Tᵀ instead of T: T is real, so Tᵀ has the conjugate spectra. */
  readonly transposed: boolean;
}

/**
 * Where a column takes so many threads, a workgroup has a core to itself however few registers they hold: both branches at once then save
 * operations. Shorter columns lose more by fewer workgroups at a time.
 */
const THREADS_FOR_BOTH = 256;

/** WGSL expression of a factor of the spectrum. */
function spectrumFactor(index: string, transposed: boolean): string {
  return transposed ? `(spectrum[${index}] * vec2f(1.0, -1.0))` : `spectrum[${index}]`;
}

/** Branches of a matrix of so many axes. */
export function branchCount(axes: readonly unknown[]): number {
  return 2 ** axes.length;
}

/** `fn turn_branch(z, branch, point)`: z times D of a branch. It needs TURN_BY. */
export function branchDeclarations({ axes }: Pick<ToeplitzBranchesSpec, "axes">): string {
  const x = axes.at(-1)!;
  const y = axes.length === 2 ? axes[0] : undefined;
  return wgsl`${rootFunction(x.roots, "turn_x")}${y ? rootFunction(y.roots, "turn_y") : ""}
fn turn_branch(z: vec2f, branch: u32, point: u32) -> vec2f {
  var turned = z;
#if ${y !== undefined}
  if ((branch & 2u) != 0u) { turned = turn_y(turned, point / ${u32(x.period)}); }
  if ((branch & 1u) != 0u) { turned = turn_x(turned, point % ${u32(x.period)}); }
#else
  if (branch != 0u) { turned = turn_x(turned, point); }
#endif
  return turned;
}
`;
}

/**
 * Statements from v in the registers of {@link eachInput}, zero beyond the matrix, to T v with re and im swapped in those of
 * {@link branchesOutput}. The factors are `spectrum[spectrum_start + branch·stride + k]`, k over the axes in reversed order. They hold barriers.
 */
export function toeplitzBranches(spec: ToeplitzBranchesSpec, stride: number): string {
  const { shape } = spec;
  const transforms = stockhamProduct(
    shape,
    spec.twiddles,
    (i) => `v${i} = complex_multiply(v${i}, ${spectrumFactor(`spectrum_start + branch * ${u32(stride)} + point`, spec.transposed)}).yx;`,
  );
  if (spec.axes.length === 1 && shape.threads >= THREADS_FOR_BOTH) {
    // The skew-circulant branch is in registers w: both share twiddles and places in the exchange.
    const multiply = (v: string, branch: number) =>
      `${v} = complex_multiply(${v}, ${spectrumFactor(`spectrum_start + ${u32(branch * stride)} + point`, spec.transposed)}).yx;`;
    return `${declareRegisters(shape, "w")}
${eachInput(shape, (i) => `w${i} = turn_branch(v${i}, 1u, point);`)}
${stockhamProduct(shape, spec.twiddles, (i) => `${multiply(`v${i}`, 0)} ${multiply(`w${i}`, 1)}`, ["v", "w"])}
${branchesOutput(spec, (i) => `v${i} += turn_branch(w${i}, 1u, point);`)}`;
  }
  if (spec.axes.length === 1) {
    return `${declareRegisters(shape, "held")}
${everyRegister(shape, (i) => `held${i} = v${i};`)}
  for (var branch = 0u; branch < 2u; branch++) { // circulant, skew-circulant
${transforms}
    if (branch == 0u) {
      // The input goes back into the registers, turned by D, and its place is taken by this branch's result.
${everyRegister(shape, (i) => `{ let result = v${i}; v${i} = held${i}; held${i} = result; }`)}
${eachInput(shape, (i) => `v${i} = turn_branch(v${i}, 1u, point);`)}
    }
  }
${branchesOutput(spec, (i) => `v${i} = held${i} + turn_branch(v${i}, 1u, point);`)}`;
  }
  return `${declareRegisters(shape, "held")}
${declareRegisters(shape, "sum")}
${everyRegister(shape, (i) => `held${i} = v${i};`)}
  for (var branch = 0u; branch < ${u32(branchCount(spec.axes))}; branch++) { // the lowest bit: skew-circulant in x
${eachInput(shape, (i) => `v${i} = turn_branch(held${i}, branch, point);`)}
${transforms}
${branchesOutput(spec, (i) => `sum${i} += turn_branch(v${i}, branch, point);`)}
  }
${everyRegister(shape, (i) => `v${i} = sum${i};`)}`;
}

/** Statements for each register of the result; `point` is its position. */
export function branchesOutput({ shape }: ToeplitzBranchesSpec, body: (register: number) => string): string {
  return eachOutput(reversedAxes(shape), body); // the way back takes the axes in reversed order
}

/** `fn token(point) -> u32`, and `fn is_token(point) -> bool`: whether a point of the transform is no padding. */
export function tokenFunctions({ axes }: Pick<ToeplitzBranchesSpec, "axes">): string {
  const x = axes.at(-1)!;
  const [size, period] = [u32(x.size), u32(x.period)];
  // Where rows of a grid are padded, those of the transform are longer; otherwise all padding comes last.
  return wgsl`
#if ${axes.length === 2 && x.period > x.size}
fn token(point: u32) -> u32 { return point / ${period} * ${size} + point % ${period}; }
fn is_token(point: u32) -> bool { return point % ${period} < ${size} && token(point) < N; }
#else
fn token(point: u32) -> u32 { return point; }
fn is_token(point: u32) -> bool { return point < N; }
#endif
`;
}
