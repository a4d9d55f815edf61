/**
 * Why a call was refused or failed.
 *
 * - `"unavailable"`: the machine, browser or this version lacks what was asked for (no WebGPU, a feature not built yet).
 * - `"limit"`: the device is too small, or memory ran out; the message tells which limit and how much is needed.
 * - `"shape"`: a tensor's shape, dtype or byte length does not fit.
 * - `"value"`: an option or argument is not a valid value.
 * - `"lost"`: the GPU device is gone.
 * - `"disposed"`: the runtime, plan, spectrum or tensor was disposed.
 * - `"aborted"`: the caller's `AbortSignal` fired.
 */
export type FastRpbErrorCode = "unavailable" | "limit" | "shape" | "value" | "lost" | "disposed" | "aborted";

/** The one error class of the library. The message names the function, the argument, what was expected and what came. */
export class FastRpbError extends Error {
  override readonly name = "FastRpbError";
  readonly code: FastRpbErrorCode;

  constructor(code: FastRpbErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * What was expected of an argument, and what came. Every message of this kind is put together here, so that all read alike.
 *
 * @param caller the public function, as the caller wrote it: `runtime.fft`
 * @param argument or option: `options.shape[1]`
 * @param remedy what the caller can do about it
 */
export function refuse(code: FastRpbErrorCode, caller: string, argument: string, expected: string, got: unknown, remedy = ""): FastRpbError {
  return new FastRpbError(code, `${caller}: ${argument} must be ${expected}, got ${describe(got)}.${remedy && ` ${remedy}`}`);
}

const LONGEST_DESCRIPTION = 80;

/** A short, safe rendering of any value for an error message. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, LONGEST_DESCRIPTION));
  if (typeof value === "bigint") return `${value}n`;
  if (Array.isArray(value)) return `[${value.slice(0, 8).map(describe).join(", ")}${value.length > 8 ? ", …" : ""}]`;
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) {
    const name = Object.getPrototypeOf(value)?.constructor?.name ?? "object";
    return name === "Object" ? "an object" : `a ${name}`;
  }
  return String(value);
}

/** @throws FastRpbError code `"aborted"` where the caller's signal has fired */
export function checkAborted(caller: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new FastRpbError("aborted", `${caller}: aborted by the caller.`, { cause: signal.reason });
}
