/** The library as it was loaded: its sources, or a build of them. */
import type * as Core from "../../src/index.ts";
import type * as Nn from "../../src/nn.ts";

export type Library = typeof Core & {
  /** Models, which lie beside the library. */
  nn(): Promise<typeof Nn>;
};

/** @param address of the library's module */
export async function loadLibrary(address: string): Promise<Library> {
  const core = new URL(address, globalThis.location?.href);
  const nn = () => import(/* @vite-ignore */ new URL("nn.js", core).href) as Promise<typeof Nn>;
  return { ...((await import(/* @vite-ignore */ core.href)) as typeof Core), nn };
}
