/**
 * The bytes that a plan states are the bytes that its kernels move: every kernel is run with each access to a storage buffer replaced by
 * one that is counted on the GPU, and the counts are added up.
 */
import { ELEMENT_BYTES, type Kernel } from "../../shaders/kernel.ts";
import { planProgram } from "../../src/plan/index.ts";
import type { Program, ProgramDispatch } from "../../src/plan/program.ts";
import { DEFAULT_LIMITS, type PlannerLimits } from "../../src/spec/limits.ts";
import { attentionSpec, complexMultiplySpec, fftSpec, type OperationSpec, spectrumSpec, toeplitzSpec } from "../../src/spec/operations.ts";
import { type CaseContext, check, normals, type Suite } from "./case.ts";
import { runProgram } from "./run-program.ts";

/** Counters of one binding: reads, writes, lowest index read, highest index read + 1. */
const COUNTERS = 4;
const AREA_BYTES = 256;

/** The kernel with counted accesses; `probes` follows its bindings. */
function probed(kernel: Kernel): Kernel {
  let { code } = kernel;
  for (const { binding, name } of kernel.bindings) code = probeAccesses(code, name, binding);
  const last = kernel.bindings.length;
  code = code.replace(`@binding(${last}) var<uniform>`, `@binding(${last + 1}) var<uniform>`);
  code += `
@group(0) @binding(${last}) var<storage, read_write> probes: array<atomic<u32>>;
fn probe_read(binding: u32, index: u32) -> u32 {
  atomicAdd(&probes[binding * ${COUNTERS}u], 1u);
  atomicMin(&probes[binding * ${COUNTERS}u + 2u], index);
  atomicMax(&probes[binding * ${COUNTERS}u + 3u], index + 1u);
  return index;
}
fn probe_write(binding: u32, index: u32) -> u32 {
  atomicAdd(&probes[binding * ${COUNTERS}u + 1u], 1u);
  return index;
}
`;
  const bindings = [...kernel.bindings, { binding: last, name: "probes", access: "read_write", element: "f32" } as const];
  return { ...kernel, code, bindings };
}

/** Wraps the index of every `name[index]`; an assignment to it is a write. */
function probeAccesses(code: string, name: string, binding: number): string {
  const pattern = new RegExp(`\\b${name}\\[`, "g");
  let result = "";
  let at = 0;
  for (let match = pattern.exec(code); match; match = pattern.exec(code)) {
    const start = match.index + match[0].length;
    let end = start;
    for (let depth = 1; depth > 0; end++) {
      if (code[end] === "[") depth++;
      if (code[end] === "]") depth--;
    }
    const write = /^\s*=(?!=)/.test(code.slice(end));
    result += `${code.slice(at, start)}probe_${write ? "write" : "read"}(${binding}u, ${code.slice(start, end - 1)})]`;
    at = end;
  }
  return result + code.slice(at);
}

function probedProgram(program: Program): Program {
  const bytes = AREA_BYTES * program.dispatches.length;
  return {
    ...program,
    buffers: [...program.buffers, { name: "probes", role: "output", bytes }],
    dispatches: program.dispatches.map((dispatch, i): ProgramDispatch => {
      const kernel = probed(dispatch.kernel);
      const probes = { name: "probes", buffer: "probes", offset: i * AREA_BYTES, size: AREA_BYTES, bytesRead: 0, bytesWritten: 0 };
      return { ...dispatch, kernel, bindings: [...dispatch.bindings, probes] };
    }),
  };
}

/** Shared by many workgroups and small beside the rest: stated once, however often caches serve it. */
const SHARED = new Set(["tables", "spectrum"]);

async function checkBytes(context: CaseContext, spec: OperationSpec, limits?: PlannerLimits): Promise<void> {
  const runtime = await context.runtime;
  const program = planProgram("test", spec, limits ?? runtime.limits);
  const area = Uint32Array.from({ length: AREA_BYTES / 4 }, (_, i) => (i % COUNTERS === 2 ? 0xffffffff : 0));
  const probes = new Uint32Array(area.length * program.dispatches.length).map((_, i) => area[i % area.length]!);
  const data: Record<string, Float32Array | Uint32Array> = { probes };
  for (const { name, role, bytes } of program.buffers) if (role === "input") data[name] = normals(bytes, bytes / 4);
  const counts = new Uint32Array((await runProgram(runtime.device!, probedProgram(program), data))["probes"]!);
  let moved = 0;
  for (const [i, dispatch] of program.dispatches.entries()) {
    for (const [b, binding] of dispatch.bindings.entries()) {
      const element = ELEMENT_BYTES[dispatch.kernel.bindings[b]!.element];
      const [reads, writes, lowest, highest] = counts.subarray((i * AREA_BYTES) / 4 + b * COUNTERS) as unknown as [number, number, number, number];
      const what = `${JSON.stringify(spec)}, "${dispatch.label}", ${binding.name}`;
      check(writes * element === binding.bytesWritten, `${what}: ${writes * element} bytes written, ${binding.bytesWritten} stated`);
      // The combined key state counts once, too: a head's workgroups share it.
      const shared = SHARED.has(binding.name) || (binding.name === "states" && dispatch.label.includes("apply"));
      const covered = reads === 0 ? 0 : (highest - lowest) * element;
      if (!shared) {
        check(reads * element === binding.bytesRead, `${what}: ${reads * element} bytes read, ${binding.bytesRead} stated`);
      } else if (reads > 0) {
        // Entries of zero angle, padding and the rounding of states to vec4f may go unread or unstated: at most a tenth of them, or a few.
        check(covered <= binding.size, `${what}: reads beyond what is bound`);
        check(covered * 0.9 - 256 <= binding.bytesRead, `${what}: covers ${covered} bytes, ${binding.bytesRead} stated`);
        check(reads * element >= binding.bytesRead * 0.9 - 256, `${what}: reads ${reads * element} bytes, ${binding.bytesRead} stated`);
      }
      moved += (shared ? binding.bytesRead : reads * element) + writes * element;
    }
  }
  check(moved === program.cost.bytesMoved, `${JSON.stringify(spec)}: ${moved} bytes counted, ${program.cost.bytesMoved} stated`);
}

const small: PlannerLimits = { ...DEFAULT_LIMITS, maxStorageBufferBindingSize: 2 ** 18, workspaceBytes: 2 ** 19 };

export const bytesSuite: Suite = {
  name: "bytes",
  cases: [
    {
      name: "FFTs and products of complex numbers",
      run: async (context) => {
        for (const shape of [[1], [5, 12], [7, 1000], [3, 4096]]) await checkBytes(context, fftSpec({ shape }));
        await checkBytes(context, fftSpec({ shape: [3, 100, 7], axes: [1], direction: "inverse" }));
        await checkBytes(context, fftSpec({ shape: [2, 16384] }));
        await checkBytes(context, fftSpec({ shape: [9, 10000] }), small);
        await checkBytes(context, complexMultiplySpec({ shape: [3, 1001] }));
      },
    },
    {
      name: "Toeplitz products and their spectra",
      run: async (context) => {
        for (const [length, channels] of [
          [1, 1],
          [3, 4],
          [97, 7],
          [1000, 6],
          [10000, 5],
          [16384, 2],
        ] as const) {
          const spec = toeplitzSpec({ batch: 2, heads: 3, length, channels });
          await checkBytes(context, spec);
          await checkBytes(context, spectrumSpec(spec));
        }
        await checkBytes(context, toeplitzSpec({ heads: 3, batch: 2, length: 5000, channels: 7 }), small);
      },
    },
    {
      name: "attention",
      run: async (context) => {
        for (const [length, headDim, valueDim] of [
          [1, 1, 1],
          [50, 7, 5],
          [600, 32, 32],
          [777, 80, 70],
          [300, 130, 129],
        ] as const) {
          await checkBytes(context, attentionSpec({ heads: 2, length, headDim, valueDim, featureMap: "sikf", bias: "fastrpb" }));
          await checkBytes(context, attentionSpec({ heads: 1, batch: 2, length, headDim, valueDim, featureMap: "elu+1" }));
        }
        await checkBytes(
          context,
          attentionSpec({ heads: 2, batch: 3, length: 1001, headDim: 17, valueDim: 31, featureMap: "sikf", bias: "fastrpb" }),
          small,
        );
      },
    },
  ],
};
