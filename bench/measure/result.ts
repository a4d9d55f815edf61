/** What a benchmark run leaves behind: the content of bench/results/*.json. */
import type { Tuning } from "../../src/index.ts";

type Choices = Tuning["plans"][number]["choices"];

export interface BenchResult {
  readonly date: string;
  readonly machine: Machine;
  readonly settings: Settings;
  readonly copy: CopyBandwidth | undefined;
  readonly rows: readonly RowResult[];
  /** The same rows by bench/torch, where that ran on the same GPU. */
  readonly torch?: TorchResult;
}

export interface TorchResult {
  readonly gpu: string;
  readonly torch: string;
  readonly cuda: string;
  /** GB/s of a copy of 512 MiB, reads and writes counted. */
  readonly copy: number;
  readonly rows: readonly {
    readonly name: string;
    readonly formulation: string;
    /** Milliseconds of a call, and of its replay as a CUDA graph. */
    readonly eager?: number;
    readonly graph?: number;
    readonly error?: number;
    readonly problem?: string;
  }[];
}

export interface Machine {
  /** "chromium" or "dawn": where the GPU rows ran. */
  readonly runner: string;
  /** "Chromium 156.0" or "Node 20.20 with Dawn". */
  readonly engine: string;
  readonly adapter: string;
  readonly cpu: string;
  readonly system: string;
  /** Versions of the peers, by npm name. */
  readonly versions: Readonly<Record<string, string>>;
}

/** How to measure. */
export interface Settings {
  readonly rounds: number;
  /** Repetitions of a sample are chosen so that it takes this long, in ms. */
  readonly sampleMilliseconds: number;
  /** A peer that is predicted to take longer for one repetition is skipped, in s. */
  readonly budgetSeconds: number;
  /** Inputs and outputs rotate through this many bytes, so that no cache holds them. */
  readonly rotateBytes: number;
  readonly tuned: boolean;
  /** Of work before the samples of a row: an idle GPU runs at a fraction of its clock rate, and takes a second to notice that it is not idle. */
  readonly warmUpMilliseconds: number;
}

/** What was asked for: what is left out depends on the adapter. */
export type AskedSettings = Omit<Settings, "rotateBytes" | "warmUpMilliseconds"> & { readonly rotateBytes: number | undefined };

/** GB/s, reads and writes counted. */
export interface CopyBandwidth {
  readonly bytes: number;
  readonly kernel: number;
  readonly buffer: number;
}

export interface RowResult {
  readonly name: string;
  readonly kind: string;
  /** Floating-point operations of its formula, where rates are told by them. */
  readonly flops?: number;
  /** fastrpb first. */
  readonly entries: readonly Entry[];
}

export interface Entry {
  readonly competitor: string;
  /** Milliseconds of one repetition; absent where it was skipped or failed. */
  readonly time?: Timing;
  readonly error?: number;
  /** "skipped: …" or "failed: …". */
  readonly problem?: string;
  readonly formulation?: string;
  readonly details?: OwnDetails;
}

export interface Timing {
  readonly median: number;
  readonly minimum: number;
  readonly maximum: number;
  /** How many samples, and how many repetitions each. */
  readonly samples: number;
  readonly repetitions: number;
  /** Preparation (plan, uploads) and first run, which compile. */
  readonly warmup: number;
}

export interface OwnDetails {
  /** Of one run. */
  readonly dispatches: number;
  readonly bytesMoved: number;
  readonly bytesMinimum: number;
  /** Of the unique kernels that the plan compiled, its preparation included. */
  readonly kernels: number;
  readonly wgslBytes: number;
  /** From asking for the plan to having it, with nothing cached. */
  readonly planMilliseconds: number;
  /** Present where the run was tuned: how long it took, what was tried, one change after the other, and what came out. */
  readonly tuneMilliseconds?: number;
  readonly candidates?: readonly Candidate[];
  readonly chosen?: readonly Choices[];
  /** What a call of `run` takes on the CPU, on a GPU that has nothing else to do. */
  readonly hostMilliseconds?: number;
  /** Time of each dispatch by the GPU's own clock, where asked for and known. */
  readonly profile?: readonly { readonly label: string; readonly milliseconds: number | undefined }[];
}

export interface Candidate {
  readonly choices: Choices;
  readonly milliseconds: number;
}
