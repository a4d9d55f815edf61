import type { Cost, DispatchInfo, Executable } from "../core/backend.ts";
import type { Choices } from "../core/choices.ts";
import { FastRpbError } from "../core/errors.ts";
import { planProgram, type Task } from "../operations/operation.ts";
import type { Program } from "../program/program.ts";
import type { PlannerLimits } from "../core/limits.ts";
import type { InstalledProgram, ProgramTensor } from "./installed-program.ts";

/** What an executable was compiled from, and is again after its device was lost. */
export interface ExecutableSource {
  readonly caller: string;
  readonly task: Task;
  readonly choices: Choices | undefined;
}

/** @throws FastRpbError code `"limit"` */
export function planSource({ caller, task, choices }: ExecutableSource, limits: PlannerLimits): Program {
  return planProgram(caller, task, choices ? { ...limits, choices } : limits);
}

/** A compiled operation: the same for its plan on every device that the runtime has one after the other. */
export class GpuExecutable implements Executable {
  readonly source: ExecutableSource;
  readonly #onDispose: (executable: GpuExecutable) => void;
  dispatches!: readonly DispatchInfo[];
  bytes!: Readonly<Record<string, number>>;
  #installed!: InstalledProgram;
  #disposed = false;

  constructor(source: ExecutableSource, installed: InstalledProgram, onDispose: (executable: GpuExecutable) => void) {
    this.source = source;
    this.#onDispose = onDispose;
    this.install(installed);
  }

  /** Takes what was compiled for another device. What it had is gone with its device. */
  install(installed: InstalledProgram): void {
    this.#installed = installed;
    this.dispatches = Object.freeze(
      installed.program.dispatches.map(({ label, workgroups, workgroupSize, bytesRead, bytesWritten, flops, estimatedSeconds }) =>
        Object.freeze({ label, workgroups, workgroupSize, bytesRead, bytesWritten, flops, estimatedSeconds }),
      ),
    );
    this.bytes = Object.fromEntries(installed.tensors.map(({ name, bytes }) => [name, bytes]));
  }

  get cost(): Cost {
    return this.#installed.program.cost;
  }

  get program(): Program {
    return this.#installed.program;
  }

  get tensors(): readonly ProgramTensor[] {
    return this.#installed.tensors;
  }

  /** @throws FastRpbError code `"disposed"` */
  get installed(): InstalledProgram {
    this.checkUsable();
    return this.#installed;
  }

  /** @throws FastRpbError code `"disposed"` */
  checkUsable(): void {
    if (this.#disposed) throw new FastRpbError("disposed", `${this.program.label}: the plan was disposed.`);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#onDispose(this);
    this.#installed.dispose();
  }
}
