/** What is known about the adapter that everybody measures on. */
import type { AskedSettings, Settings } from "./result.ts";
import type { Row } from "./rows.ts";

/** Software needs no large buffers to leave a cache, and no more than small ones to keep a run short. */
const ROTATE_BYTES = { hardware: 512 * 2 ** 20, software: 16 * 2 ** 20 };
const COPY_BYTES = { hardware: 512 * 2 ** 20, software: 128 * 2 ** 20 };
const WARM_UP_MILLISECONDS = { hardware: 1000, software: 0 };

/** What was asked for, completed by what suits the adapter. */
export function settingsFor(asked: AskedSettings, { rotateBytes, warmUpMilliseconds }: AdapterFacts): Settings {
  return { ...asked, rotateBytes: asked.rotateBytes ?? rotateBytes, warmUpMilliseconds };
}

/** Rows but for those that are too much for a software adapter. */
export function suitedRows(rows: readonly Row[], { software }: AdapterFacts, report: (line: string) => void): readonly Row[] {
  const suited = rows.filter(({ large, hardware }) => !software || !(large || hardware));
  if (suited.length < rows.length) report("rows of much work are left out: this is a software adapter");
  return suited;
}

export interface AdapterFacts {
  readonly software: boolean;
  readonly warmUpMilliseconds: number;
  readonly description: string;
  readonly rotateBytes: number;
  readonly copyBytes: number;
}

export async function adapterFacts(gpu: GPU | undefined): Promise<AdapterFacts> {
  const adapter = await gpu?.requestAdapter();
  if (!adapter) throw new Error("there is no WebGPU adapter");
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const names = [...new Set([device, description, vendor, architecture])].filter(Boolean);
  const kind = isFallbackAdapter || /swiftshader|llvmpipe|lavapipe/i.test(names.join(" ")) ? "software" : "hardware";
  return {
    description: `${names.join(", ")}${kind === "software" ? " (software)" : ""}`,
    software: kind === "software",
    warmUpMilliseconds: WARM_UP_MILLISECONDS[kind],
    rotateBytes: ROTATE_BYTES[kind],
    copyBytes: COPY_BYTES[kind],
  };
}
