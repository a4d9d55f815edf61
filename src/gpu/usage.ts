/** WebGPU's usage flags as numbers: the spec fixes them, and Node users of a WebGPU package may lack the globals. */
const MAP_READ = 0x0001;
const COPY_SRC = 0x0004;
const COPY_DST = 0x0008;
const UNIFORM = 0x0040;
const QUERY_RESOLVE = 0x0200;

export const STORAGE = 0x0080;
export const STORAGE_USAGE = STORAGE | COPY_SRC | COPY_DST;
export const UNIFORM_USAGE = UNIFORM | COPY_DST;
export const READBACK_USAGE = MAP_READ | COPY_DST;
export const QUERY_USAGE = QUERY_RESOLVE | COPY_SRC;
export const COPY_SOURCE = COPY_SRC;

/** `GPUMapMode.READ` */
export const MAP_MODE_READ = 1;
