/**
 * Whether a training step may change anything: health[0] is 0 as long as it may, and from the first step on whose loss, or sum of squares of all
 * gradients, is not finite, 1 + that step's number; health[1] then tells which: 1 the loss, 2 the sum, 3 both. It goes by the bits, all ones in the
 * exponent, because WGSL's arithmetic may take for granted that there are no such numbers.
 *
 * Layout: `norm`, `loss` one float32 each, as words; `clock` four words, the third of them the number of the step; `health` two. One lane.
 * Bindings: 0 norm, 1 loss, 2 clock, 3 health; then params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { EXPONENT_BITS } from "../wgsl/non-finite.ts";
import { wgsl } from "../wgsl/wgsl.ts";

export function guardKernel(): Kernel {
  const fails = (word: string) => `(${word} & ${EXPONENT_BITS}) == ${EXPONENT_BITS}`;
  const body = wgsl`  let found = select(0u, 1u, ${fails("loss[0]")}) | select(0u, 2u, ${fails("norm[0]")});
  let failed = clock[2] + 1u;
  var first = health[0];
  var which = health[1];
  if (first == 0u && found != 0u) {
    first = failed;
    which = found;
  }
  health[0] = first;
  health[1] = which;
`;
  return makeKernel({
    id: "nn/guard",
    label: "guard",
    workgroupSize: 1,
    bindings: [
      { name: "norm", access: "read", element: "u32" },
      { name: "loss", access: "read", element: "u32" },
      { name: "clock", access: "read", element: "u32" },
      { name: "health", access: "read_write", element: "u32" },
    ],
    params: [],
    declarations: "",
    body,
  });
}
