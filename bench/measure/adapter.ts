/** What is known about the adapter that everybody measures on. */

/** Software needs no large buffers to leave a cache, and no more than small ones to keep a run short. */
const ROTATE_BYTES = { hardware: 512 * 2 ** 20, software: 16 * 2 ** 20 };
const COPY_BYTES = { hardware: 512 * 2 ** 20, software: 128 * 2 ** 20 };

export interface AdapterFacts {
  readonly description: string;
  readonly rotateBytes: number;
  readonly copyBytes: number;
}

export async function adapterFacts(gpu: GPU | undefined): Promise<AdapterFacts> {
  const adapter = await gpu?.requestAdapter();
  if (!adapter) throw new Error("there is no WebGPU adapter");
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const names = [description || device, vendor, architecture].filter(Boolean);
  const kind = isFallbackAdapter || /swiftshader|llvmpipe|lavapipe/i.test(names.join(" ")) ? "software" : "hardware";
  return {
    description: `${names.join(", ")}${kind === "software" ? " (software)" : ""}`,
    rotateBytes: ROTATE_BYTES[kind],
    copyBytes: COPY_BYTES[kind],
  };
}
