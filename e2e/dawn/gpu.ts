import { create, globals } from "webgpu";

declare global {
  // eslint-disable-next-line no-var
  var dawnGpu: GPU | undefined;
}

/** Dawn in Node. It lives in a global: were it garbage-collected, the process would crash. */
export function dawn(): GPU {
  Object.assign(globalThis, globals);
  return (globalThis.dawnGpu ??= create([]));
}
