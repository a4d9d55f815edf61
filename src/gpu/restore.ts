/** Another device in the place of one that was lost. */
import type { OpenSession } from "../core/backend.ts";
import { FastRpbError } from "../core/errors.ts";
import type { ExecutableSource, GpuExecutable } from "./executable.ts";
import type { InstalledProgram } from "./installed-program.ts";
import { Session } from "./session.ts";
import { type Patience, pause } from "./watch.ts";

/** How often a device is asked for after a loss, and the pauses between, in milliseconds: a browser starts its GPU process anew meanwhile. */
const PAUSES: readonly number[] = [0, 250, 1000];
/** What the caller wants, or what no new try would change. */
const FINAL: readonly string[] = ["aborted", "value", "limit", "disposed"];

/** What a backend lends to its restoration. */
export interface Restoration {
  readonly caller: string;
  readonly patience: Patience | undefined;
  /** Those that were not disposed; more may go meanwhile. */
  readonly executables: ReadonlySet<GpuExecutable>;
  reopen(): Promise<OpenSession>;
  install(session: Session, source: ExecutableSource): Promise<InstalledProgram>;
  isDisposed(): boolean;
  /** Makes the session that of the backend. */
  changeTo(session: Session): void;
}

/** @throws FastRpbError codes `"lost"` after three tries, `"limit"`, `"aborted"`, `"value"`, `"disposed"` */
export async function restore(restoration: Restoration): Promise<void> {
  const { caller, reopen, patience } = restoration;
  let failure: unknown;
  for (const milliseconds of PAUSES) {
    await pause(milliseconds);
    let session: Session | undefined;
    try {
      const { open, limits } = await reopen();
      session = new Session(open, limits, patience);
      await moveTo(session, restoration);
      return;
    } catch (error) {
      failure = error;
      session?.end();
      if (error instanceof FastRpbError && FINAL.includes(error.code)) throw error;
    }
  }
  throw new FastRpbError("lost", `${caller}: no device after ${PAUSES.length} tries: ${String(failure)}`, { cause: failure });
}

/** Compiles all that is there for a new device, and only then changes over to it. */
async function moveTo(session: Session, { caller, executables, install, isDisposed, changeTo }: Restoration): Promise<void> {
  const all = [...executables];
  const installed = await Promise.all(all.map(({ source }) => install(session, { ...source, caller })));
  session.watch.check(caller);
  if (isDisposed()) throw new FastRpbError("disposed", `${caller}: the runtime was disposed.`);
  for (const [i, executable] of all.entries()) {
    if (executables.has(executable)) executable.install(installed[i]!);
    else installed[i]!.dispose();
  }
  changeTo(session);
}
