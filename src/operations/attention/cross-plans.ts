/** What plans of cross-attention take, in a module of its own: pages without do without it. */
import type * as CrossBias from "./cross-bias.ts";
import type { AttentionShape } from "./spec.ts";

let bias: typeof CrossBias | undefined;

/** Loads what plans of some attention take that others do without. */
export async function loadCrossBias({ keyLength }: Pick<AttentionShape, "keyLength">): Promise<void> {
  if (keyLength !== undefined) bias ??= await import("./cross-bias.ts");
}

/** What plans the bias of cross-attention. To be called after {@link loadCrossBias}. */
export function crossBias(): typeof CrossBias {
  return bias!;
}
