import { FastRpbError } from "./errors.ts";

/**
 * Loads a module of the library that does not come with its entry, from where the entry came from. A failure is not kept: a later call tries
 * again, with success where the browser does (whatwg/html#10327; older ones keep the failure of a module until the page is reloaded).
 *
 * @param what the module is for
 * @throws FastRpbError code `"unavailable"`
 */
export async function loadModule<T>(caller: string, what: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const message = `${caller}: fastrpb's part "${what}" could not be loaded: ${String(cause)}. Try again, or reload the page.`;
    throw new FastRpbError("unavailable", message, { cause });
  }
}
