/** Exponentials of the weights of a multiplicative bias, which its spectrum is of. */
import { toeplitzExponentialsKernel } from "../../../shaders/toeplitz/exponentials.ts";
import { elementCount } from "../../core/check.ts";
import { type SpectrumSpec, weightsShape } from "../specs.ts";
import type { BindingUse, ProgramBuilder } from "../../program/program.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo } from "../../program/workgroups.ts";

/** Exponentials of the weights of some heads, relative to the largest of each. */
export function addExponentials(
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
