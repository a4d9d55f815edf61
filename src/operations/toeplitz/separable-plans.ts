/** The plans of separable products, in a module of their own: pages without such a bias do without them. */
import { isSeparable } from "./forms.ts";
import type { Weighted } from "./positions.ts";
import type * as Separable from "./separable.ts";

let separable: typeof Separable | undefined;

/** Loads what plans of some tokens take that others do without. */
export async function loadForm(spec: Weighted): Promise<void> {
  if (isSeparable(spec)) separable ??= await import("./separable.ts");
}

/** What plans products by rows and columns. To be called after {@link loadForm}. */
export function separablePlans(): typeof Separable {
  return separable!;
}
