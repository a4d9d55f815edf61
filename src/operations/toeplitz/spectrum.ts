/** Plans for the spectrum of FastRPB weights: both halves of the matrix along each axis, transformed. */
import { toeplitzExponentialsKernel } from "../../../shaders/toeplitz/exponentials.ts";
import { elementCount } from "../../core/check.ts";
import type { BindingUse, Handle, ProgramBuilder } from "../../program/builder.ts";
import { bindable, firstBytes, limitError, sliceBytes } from "../../program/ranges.ts";
import { spansOf } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo } from "../../program/workgroups.ts";
import { fusedSpectrum } from "./fused-spectrum.ts";
import { headSpectrumBytes, toeplitzLayout } from "./layout.ts";
import { longSpectrum } from "./long-spectrum.ts";
import { type SpectrumSpec, weightsShape } from "./spec.ts";

/** Adds the transforms of `weights`, or of their exponentials, into `spectrum`. @throws FastRpbError code `"limit"` */
export function planSpectrum(
  program: ProgramBuilder,
  spec: SpectrumSpec,
  { weights, spectrum }: { readonly weights: Handle; readonly spectrum: Handle },
  scratch: number,
): void {
  const { limits } = program;
  const layout = toeplitzLayout(program, spec);
  const headWeights = elementCount(weightsShape(spec).slice(1));
  const headBytes = headSpectrumBytes(spec, limits);
  const method =
    layout.kind === "fused" && layout.axes.length === 1 ? fusedSpectrum(program, spec, layout.axes[0]!) : longSpectrum(program, spec, layout);
  const bindableHeads = bindable(program, headBytes, spec.heads, "the spectrum of one head");
  const exponentialBytes = spec.exponential ? headWeights * FLOAT_BYTES : 0;
  const between = method.headBytes + exponentialBytes;
  const most = Math.min(bindableHeads, Math.floor(scratch / between)); // of none, any number
  if (most < 1) throw limitError(program, "workspaceBytes", between, "the transform of one head's weights", scratch);
  // Of a causal matrix half the weights are zero, whatever they hold.
  const counting = spec.causal ? spec.length : headWeights;
  for (const { first, count } of spansOf(spec.heads, most)) {
    const slice = sliceBytes(limits, first * headWeights * FLOAT_BYTES, (first + count) * headWeights * FLOAT_BYTES);
    let from: BindingUse = { buffer: weights, slice };
    let firstWeight = first * headWeights - slice.offset / FLOAT_BYTES;
    if (spec.exponential) {
      const exponentials = program.temporary("exponentials", count * exponentialBytes);
      const to = { buffer: exponentials, slice: firstBytes(count * exponentialBytes) };
      addExponentials(program, spec, { from, to, firstWeight, count });
      [from, firstWeight] = [to, 0];
    }
    method.add(
      {
        first,
        count,
        weights: from,
        firstWeight,
        reads: count * counting * FLOAT_BYTES,
        spectrum: { buffer: spectrum, slice: sliceBytes(limits, first * headBytes, (first + count) * headBytes) },
      },
      scratch - count * exponentialBytes,
    );
  }
}

/** Adds the exponentials of the weights of some heads, relative to the largest of each: those of a multiplicative bias. */
function addExponentials(
  program: ProgramBuilder,
  spec: SpectrumSpec,
  { from, to, firstWeight, count }: { readonly from: BindingUse; readonly to: BindingUse; readonly firstWeight: number; readonly count: number },
): void {
  const size = elementCount(weightsShape(spec).slice(1));
  const counting = spec.causal ? spec.length : size;
  const kernel = toeplitzExponentialsKernel({ lanes: floorPowerOfTwo(elementwiseLanes(program.limits)), size, count: counting });
  program.dispatch({
    kernel,
    groups: count,
    params: { firstWeight },
    uses: {
      // Once for the maximum, once for the exponentials.
      weights: { ...from, reads: 2 * count * counting * FLOAT_BYTES },
      out: { ...to, writes: count * size * FLOAT_BYTES },
    },
    flops: count * counting,
  });
}
