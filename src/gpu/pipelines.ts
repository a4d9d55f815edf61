import type { Kernel } from "../../shaders/wgsl/kernel.ts";
import { FastRpbError } from "../core/errors.ts";

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Pipelines kept for plans to come; beyond it the least recently used one is forgotten (plans hold on to theirs). */
const MOST_PIPELINES = 256;

/** Compiles kernels asynchronously, each WGSL text once, for all plans of a runtime. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #pipelines = new Map<string, Promise<Pipeline>>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** @throws FastRpbError code `"unavailable"` with the compiler's messages and the numbered WGSL */
  compile(caller: string, kernel: Kernel): Promise<Pipeline> {
    const known = this.#pipelines.get(kernel.code);
    const pipeline = known ?? this.#create(caller, kernel);
    this.#pipelines.delete(kernel.code);
    this.#pipelines.set(kernel.code, pipeline);
    if (!known) {
      pipeline.catch(() => this.#pipelines.delete(kernel.code));
      const [oldest] = this.#pipelines.keys();
      if (this.#pipelines.size > MOST_PIPELINES) this.#pipelines.delete(oldest!);
    }
    return pipeline;
  }

  /** Without waiting, and not kept for others: an invalid pipeline shows where it is used. */
  compileNow(kernel: Kernel): Pipeline {
    const { label } = kernel;
    const layout = this.#layout(kernel);
    const module = this.#device.createShaderModule({ label: kernel.id, code: kernel.code });
    const pipelineLayout = this.#device.createPipelineLayout({ label, bindGroupLayouts: [layout] });
    return { pipeline: this.#device.createComputePipeline({ label, layout: pipelineLayout, compute: { module, entryPoint: "main" } }), layout };
  }

  #layout(kernel: Kernel): GPUBindGroupLayout {
    // Explicit, because an automatic layout leaves out a table that a short transform does not read.
    return this.#device.createBindGroupLayout({
      label: kernel.label,
      entries: [
        ...kernel.bindings.map((binding): GPUBindGroupLayoutEntry => ({
          binding: binding.binding,
          visibility: GPU_SHADER_STAGE_COMPUTE,
          buffer: { type: binding.access === "read" ? "read-only-storage" : "storage" },
        })),
        { binding: kernel.bindings.length, visibility: GPU_SHADER_STAGE_COMPUTE, buffer: { type: "uniform" } },
      ],
    });
  }

  async #create(caller: string, kernel: Kernel): Promise<Pipeline> {
    const device = this.#device;
    const { label } = kernel;
    const layout = this.#layout(kernel);
    device.pushErrorScope("validation"); // the rejection below tells more than an uncaptured error would
    const module = device.createShaderModule({ label: kernel.id, code: kernel.code });
    const moduleError = device.popErrorScope().catch(() => null);
    try {
      const pipeline = await device.createComputePipelineAsync({
        label,
        layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: "main" },
      });
      return { pipeline, layout };
    } catch (cause) {
      await moduleError;
      throw new FastRpbError(
        "unavailable",
        `${caller}: the kernel "${label}" does not compile on this device: ${String(cause)}.\n${await listing(module, kernel)}`,
        { cause },
      );
    }
  }
}

/** `GPUShaderStage.COMPUTE`, which Node users of a WebGPU package may lack as a global. */
const GPU_SHADER_STAGE_COMPUTE = 4;

/** The compiler's messages, and the generated WGSL with line numbers. */
async function listing(module: GPUShaderModule, kernel: Kernel): Promise<string> {
  const info = await module.getCompilationInfo().catch(() => undefined);
  const messages = info?.messages.map((m) => `${m.type} at ${m.lineNum}:${m.linePos}: ${m.message}`) ?? [];
  const lines = kernel.code.split("\n").map((line, i) => `${String(i + 1).padStart(4)} ${line}`);
  return [...messages, ...lines].join("\n");
}
