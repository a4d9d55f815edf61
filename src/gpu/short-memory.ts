/** What to do where the device has no memory for a plan. */
import type { Program } from "../program/program.ts";
import { FastRpbError } from "../core/errors.ts";
import type { InstalledProgram } from "./installed-program.ts";
import type { Session } from "./session.ts";

/**
 * Tries again without the idle buffers of other plans, which may be what is in the way, then with half of the workspace, and half of that.
 *
 * @param make a program on the device, or the reason why there is none
 * @param plan the program for a bound of the workspace
 * @throws FastRpbError code `"limit"` that names what the smallest plan needs
 */
export async function installInLess(
  caller: string,
  session: Session,
  tried: { readonly program: Program; readonly error: FastRpbError },
  plan: (workspaceBytes: number) => Program,
  make: (program: Program) => Promise<InstalledProgram | FastRpbError>,
): Promise<InstalledProgram> {
  let { program, error } = tried;
  let { workspaceBytes } = session.limits;
  for (;;) {
    if (error.code !== "limit") throw error;
    const idle = session.pool.memory().pooledBytes;
    session.pool.trim();
    if (idle === 0) {
      workspaceBytes = Math.floor(Math.min(workspaceBytes, program.cost.workspaceBytes) / 2);
      program = smaller(caller, program, error, workspaceBytes, plan);
    }
    const made = await make(program);
    if (!(made instanceof FastRpbError)) return made;
    error = made;
  }
}

function smaller(caller: string, tried: Program, error: FastRpbError, workspaceBytes: number, plan: (workspaceBytes: number) => Program): Program {
  try {
    if (workspaceBytes >= 1) return plan(workspaceBytes);
  } catch (cause) {
    if (!(cause instanceof FastRpbError && cause.code === "limit")) throw cause;
  }
  const tables = tried.buffers.reduce((sum, { role, bytes }) => sum + (role === "table" ? bytes : 0), 0);
  throw new FastRpbError(
    "limit",
    `${caller}: the GPU has no memory for ${tried.cost.workspaceBytes} bytes of scratch and ${tables} bytes of tables, which is the least that "${tried.label}" needs. Dispose of tensors and plans, or use a smaller shape.`,
    { cause: error },
  );
}
