/** Loads the peers by name, each only when asked for: a module that is not installed, or does not load, costs nobody else anything. */
import type { Competitor } from "../measure/competitor.ts";

type Loader = () => Promise<Competitor>;

/** Need a browser. */
export const BROWSER_PEERS: Readonly<Record<string, Loader>> = {
  "jax-js": async () => (await import("./jax.ts")).jaxJs,
  tfjs: async () => (await import("./tfjs.ts")).tensorflow,
  "onnxruntime-web": async () => (await import("./onnxruntime.ts")).onnxruntime,
};

/** Run in Node with Dawn, too. */
export const NODE_PEERS: Readonly<Record<string, Loader>> = { "jax-js": BROWSER_PEERS["jax-js"]! };

/** On the CPU, in Node. */
export const CPU_PEERS: Readonly<Record<string, Loader>> = {
  "fft.js": async () => (await import("./fft-js.ts")).fftJs,
  "pffft-wasm": async () => (await import("./pffft.ts")).pffft,
};

/** The peers of a list that were asked for ("all", "none", or names) and load; says which do not. */
export async function loadPeers(list: Readonly<Record<string, Loader>>, wanted: string, report: (line: string) => void): Promise<Competitor[]> {
  const names = Object.keys(list).filter((name) => wanted === "all" || wanted.split(",").includes(name));
  const loaded: Competitor[] = [];
  for (const name of names) {
    try {
      loaded.push(await list[name]!());
    } catch (error) {
      report(`${name} does not load: ${error instanceof Error ? error.message.split("\n")[0]! : String(error)}`);
    }
  }
  return loaded;
}
