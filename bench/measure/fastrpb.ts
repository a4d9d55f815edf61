/** The library itself, on the GPU or on the CPU. Every row opens a runtime of its own, so that nothing is compiled beforehand. */
import type { Runtime, RuntimeOptions, TuneProgress, TuneRequest, Tuning } from "../../src/index.ts";
import type { Competitor, Prepared } from "./competitor.ts";
import type { LoadedPlan, Output } from "./kind.ts";
import { kindOf } from "./kinds.ts";
import type { Library } from "./library.ts";
import { median } from "./numbers.ts";
import type { Candidate, OwnDetails } from "./result.ts";

/** Of one plan: so many, or for so long. */
const MOST_PROFILES = 25;
const PROFILE_MILLISECONDS = 2000;
/** Calls whose host time is taken together, for clocks that are coarse in a browser, where they are not long; and how often. */
const HOST_RUNS = 32;
const HOST_SAMPLES = 32;

export interface OwnOptions {
  readonly library: Library;
  /** `undefined` stands for the CPU backend. */
  readonly gpu: GPU | undefined;
  readonly tuned: boolean;
  /** Whether to ask the GPU's own clock for the time of each dispatch. */
  readonly profile: boolean;
}

export function fastrpb(options: OwnOptions): Competitor {
  const { library, gpu, tuned, profile } = options;
  return {
    name: "fastrpb",
    package: undefined,
    supports: (row) => (row.kind === "cpu-fft") === (gpu === undefined),

    async prepare(row, data, copies): Promise<Prepared> {
      const backend = gpu ? ({ backend: "webgpu", gpu } as const) : ({ backend: "cpu" } as const);
      const request = tuned ? kindOf(row).tune?.(row) : undefined;
      const found = request && (await tune(library, backend, request));
      const tuning = found && {
        tuneMilliseconds: found.milliseconds,
        candidates: found.candidates,
        chosen: found.tuning.plans.map((entry) => entry.choices),
      };
      const runtime = await library.createRuntime({ ...backend, ...(found && { tuning: found.tuning }) });
      try {
        const code = collectShaders(runtime.device);
        const started = performance.now();
        const plan = await kindOf(row).open(runtime, row, library);
        const planMilliseconds = performance.now() - started;
        const loaded = Array.from({ length: copies }, () => plan.load(data));
        const outputs = loaded.map(() => plan.output());
        await settled(runtime);
        let turn = 0;
        const run = () => {
          loaded[turn]!.run(outputs[turn]!);
          turn = (turn + 1) % copies;
        };
        const finish = () => settled(runtime);
        return {
          run,
          finish,
          read: () => outputs[0]!.data(),
          dispose: () => runtime.dispose(),
          async details(): Promise<OwnDetails> {
            const { dispatches, bytesMoved, bytesMinimum } = plan.cost;
            const wgslBytes = [...code].reduce((bytes, text) => bytes + text.length, 0);
            const own = { dispatches, bytesMoved, bytesMinimum, kernels: code.size, wgslBytes, planMilliseconds };
            const host = gpu ? { hostMilliseconds: await hostTime(run, finish) } : {};
            const measured = profile && gpu ? { profile: await profileOf(loaded, outputs) } : {};
            return { ...own, ...tuning, ...host, ...measured };
          },
        };
      } catch (error) {
        runtime.dispose();
        throw error;
      }
    },
  };
}

async function settled(runtime: Runtime): Promise<void> {
  await runtime.device?.queue.onSubmittedWorkDone();
}

/** The texts of all shaders that the device compiles from now on. */
function collectShaders(device: GPUDevice | undefined): ReadonlySet<string> {
  const code = new Set<string>();
  if (device) {
    const create = device.createShaderModule.bind(device);
    device.createShaderModule = (descriptor) => {
      code.add(descriptor.code);
      return create(descriptor);
    };
  }
  return code;
}

/** On a runtime of its own, so that the plans of the measured one are compiled afresh. */
async function tune(
  library: Library,
  backend: RuntimeOptions,
  request: TuneRequest,
): Promise<{ readonly tuning: Tuning; readonly milliseconds: number; readonly candidates: readonly Candidate[] }> {
  const started = performance.now();
  const runtime = await library.createRuntime(backend);
  const candidates: Candidate[] = [];
  const onProgress = ({ choices, milliseconds }: TuneProgress) => void candidates.push({ choices, milliseconds });
  try {
    return { tuning: await runtime.tune([request], { onProgress }), milliseconds: performance.now() - started, candidates };
  } finally {
    runtime.dispose();
  }
}

/** Median milliseconds that a call of `run` keeps its caller, the GPU having nothing else to do. */
async function hostTime(run: () => void, finish: () => Promise<void>): Promise<number> {
  const samples: number[] = [];
  const begun = performance.now();
  run();
  await finish();
  const runs = Math.min(HOST_RUNS, Math.ceil(PROFILE_MILLISECONDS / (performance.now() - begun)));
  while (samples.length < HOST_SAMPLES && (samples.length === 0 || performance.now() - begun < PROFILE_MILLISECONDS)) {
    const started = performance.now();
    for (let i = 0; i < runs; i++) run();
    samples.push((performance.now() - started) / runs);
    await finish();
  }
  return median(samples);
}

/** The median time of each dispatch. */
async function profileOf(loaded: readonly LoadedPlan<Output>[], outputs: readonly Output[]): Promise<NonNullable<OwnDetails["profile"]>> {
  const labels: string[] = [];
  const times: number[][] = [];
  const started = performance.now();
  for (let run = 0; run < MOST_PROFILES && (run === 0 || performance.now() - started < PROFILE_MILLISECONDS); run++) {
    const { dispatches } = await loaded[run % loaded.length]!.profile(outputs[run % outputs.length]!);
    for (const [i, { label, milliseconds }] of dispatches.entries()) {
      labels[i] = label;
      times[i] ??= [];
      if (milliseconds !== undefined) times[i].push(milliseconds);
    }
  }
  return labels.map((label, i) => ({ label, milliseconds: times[i]!.length > 0 ? median(times[i]!) : undefined }));
}
