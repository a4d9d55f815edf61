/**
 * The bytes that a plan states are the bytes that its kernels move: every kernel is run with each access to a storage buffer replaced by
 * one that is counted on the GPU, and the counts are added up.
 */
import { ELEMENT_BYTES, type Kernel } from "../../shaders/wgsl/kernel.ts";
import type { Runtime } from "../../src/index.ts";
import { crossEntropy, meanSquaredError } from "../../src/operations/cross-entropy/operation.ts";
import { crossEntropySpec, meanSquaredErrorSpec } from "../../src/operations/cross-entropy/spec.ts";
import { dropout } from "../../src/operations/dropout/operation.ts";
import { dropoutSpec } from "../../src/operations/dropout/spec.ts";
import { embedding } from "../../src/operations/embedding/operation.ts";
import { embeddingSpec } from "../../src/operations/embedding/spec.ts";
import { accumulate, activation, add, multiply } from "../../src/operations/elementwise/operation.ts";
import { accumulateSpec, activationSpec, addSpec, multiplySpec } from "../../src/operations/elementwise/spec.ts";
import { norm } from "../../src/operations/layer-norm/operation.ts";
import { normSpec } from "../../src/operations/layer-norm/spec.ts";
import { meanOverTokens } from "../../src/operations/mean-over-tokens/operation.ts";
import { meanOverTokensSpec } from "../../src/operations/mean-over-tokens/spec.ts";
import { matmul } from "../../src/operations/matmul/operation.ts";
import { type MatmulOptions, matmulSpec } from "../../src/operations/matmul/spec.ts";
import { planProgram as planTask, type Task, task } from "../../src/operations/operation.ts";
import { planProgram } from "../../src/testing/operations.ts";
import { headSpectrumBytes } from "../../src/operations/toeplitz/layout.ts";
import type { Program, ProgramDispatch } from "../../src/program/program.ts";
import { type PlannerLimits, SOFTWARE_GPU } from "../../src/core/limits.ts";
import {
  attentionGradientSpec,
  type AttentionOptions,
  attentionSpec,
  complexMultiplySpec,
  type ConvolveOptions,
  convolveSpec,
  fftGradientSpec,
  type FftOptions,
  fftSpec,
  inPlaceSpec,
  kernelSpectrumSpec,
  type AnySpec,
  spectrumSpec,
  toeplitzGradientSpec,
  type ToeplitzOptions,
  toeplitzSpec,
} from "../../src/testing/specs.ts";
import { limitsWith } from "../../src/testing/planning.ts";
import { dispatchGroups, total, wholeDispatches } from "../../src/testing/programs.ts";
import { type CaseContext, check, normals, type Suite, together } from "./case.ts";
import { runProgram } from "./run-program.ts";

/** Counters of one binding: reads, writes, where its bits start. */
const COUNTERS = 3;
const COUNTER_WORDS = 64;

/** What a dispatch counts into: counters, and for each binding that is shared a bit for each of its elements. */
interface ProbeArea {
  /** In words. */
  readonly offset: number;
  readonly size: number;
  readonly bits: readonly { readonly start: number; readonly words: number }[];
}

function probeAreas(program: Program): readonly ProbeArea[] {
  let offset = 0;
  return program.dispatches.map(({ kernel, bindings }) => {
    let size = COUNTER_WORDS;
    const bits = bindings.map((binding, b) => {
      const words = TRACKED.has(binding.name) ? Math.ceil(binding.size / ELEMENT_BYTES[kernel.bindings[b]!.element] / 32) : 0;
      size += words;
      return { start: size - words, words };
    });
    size = COUNTER_WORDS * Math.ceil(size / COUNTER_WORDS); // as bindings are aligned
    offset += size;
    return { offset: offset - size, size, bits };
  });
}

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
  let bits = atomicLoad(&probes[binding * ${COUNTERS}u + 2u]);
  if (bits != 0u) { atomicOr(&probes[bits + index / 32u], 1u << (index % 32u)); }
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

/** Wraps the index of every `name[index]`; an assignment to it is a write, `+=` a read too. */
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
    const rest = code.slice(end);
    const reads = !/^\s*=(?!=)/.test(rest);
    const writes = !reads || /^\s*[-+*/]=/.test(rest);
    let index = code.slice(start, end - 1);
    if (reads) index = `probe_read(${binding}u, ${index})`;
    if (writes) index = `probe_write(${binding}u, ${index})`;
    result += `${code.slice(at, start)}${index}]`;
    at = end;
  }
  return result + code.slice(at);
}

function probedProgram(program: Program, areas: readonly ProbeArea[]): Program {
  const bytes = 4 * areas.reduce((sum, area) => sum + area.size, 0);
  return {
    ...program,
    buffers: [...program.buffers, { name: "probes", role: "output", bytes }],
    dispatches: program.dispatches.map((dispatch, i): ProgramDispatch => {
      const kernel = probed(dispatch.kernel);
      const probes = { name: "probes", buffer: "probes", offset: 4 * areas[i]!.offset, size: 4 * areas[i]!.size, bytesRead: 0, bytesWritten: 0 };
      return { ...dispatch, kernel, bindings: [...dispatch.bindings, probes] };
    }),
  };
}

/** Shared by many workgroups and small beside the rest: stated once, however often caches serve it. */
const SHARED = new Set([
  "tables",
  "spectrum",
  "lengths",
  "bias",
  "keyMask",
  "weight",
  "statistics",
  "dLoss",
  "rowCounts",
  "clock",
  "rates",
  "norm",
  "health",
]);
/** Those, and the combined key state of a head, which its workgroups share. */
const TRACKED = new Set([...SHARED, "states"]);

function countBits(words: Uint32Array): number {
  let count = 0;
  for (let word of words) for (; word !== 0; word &= word - 1) count++;
  return count;
}

type ProgramData = Record<string, Float32Array | Uint32Array>;

/** Random numbers for all that a program reads. */
function randomData({ buffers }: Program): ProgramData {
  const read = buffers.filter(({ role }) => role === "input" || role === "inout");
  return Object.fromEntries(read.map(({ name, bytes }) => [name, normals(bytes, bytes / 4)]));
}

async function checkBytes(context: CaseContext, spec: AnySpec, limits?: PlannerLimits): Promise<void> {
  const runtime = await context.runtime;
  const program = planProgram("test", spec, limits ?? runtime.limits);
  const data = randomData(program);
  // What is stated is without rows that are summed directly. A spectrum of ones is that of a matrix in proportion to 1; bounds of 0 trust any sum of it.
  if ("bias" in spec && spec.bias === "multiplicative") {
    const kept = (spec.heads * headSpectrumBytes(spec, limits ?? runtime.limits)) / 4;
    data["spectrum"] = data["spectrum"]!.map((_, at) => (at < kept && at % 2 === 0 ? 1 : 0));
  }
  // What is stated is what full lengths take.
  if (data["lengths"] && "length" in spec) data["lengths"] = new Uint32Array(data["lengths"].length).fill(spec.length);
  await checkProgram(runtime, JSON.stringify(spec), program, data);
}

/** The same of a task, with some of its data. */
export async function checkTask(context: CaseContext, { operation, spec }: Task, data: ProgramData = {}, limits?: PlannerLimits): Promise<void> {
  const runtime = await context.runtime;
  const program = planTask("test", { operation, spec }, limits ?? runtime.limits);
  await checkProgram(runtime, JSON.stringify(spec), program, { ...randomData(program), ...data });
}

async function checkProgram(runtime: Runtime, title: string, program: Program, data: ProgramData): Promise<void> {
  const areas = probeAreas(program);
  const probes = new Uint32Array(areas.reduce((sum, area) => sum + area.size, 0));
  for (const { offset, bits } of areas) for (const [b, { start, words }] of bits.entries()) if (words > 0) probes[offset + COUNTERS * b + 2] = start;
  const counts = new Uint32Array((await runProgram(runtime.device!, probedProgram(program, areas), { ...data, probes }))["probes"]!);
  let moved = 0;
  const whole = [...wholeDispatches(program)];
  const left = [...areas];
  for (const parts of dispatchGroups(program)) {
    const dispatch = whole.shift()!;
    const own = left.splice(0, parts.length);
    for (const [b, binding] of dispatch.bindings.entries()) {
      const { bytesRead, bytesWritten } = binding;
      const element = ELEMENT_BYTES[dispatch.kernel.bindings[b]!.element];
      const reads = element * total(own, ({ offset }) => counts[offset + b * COUNTERS]!);
      const writes = element * total(own, ({ offset }) => counts[offset + b * COUNTERS + 1]!);
      const what = `${title}, "${dispatch.label}", ${binding.name}`;
      check(writes === bytesWritten, `${what}: ${writes} bytes written, ${bytesWritten} stated`);
      // The combined key state counts once, too: a head's workgroups share it.
      const shared = SHARED.has(binding.name) || (binding.name === "states" && /apply|gradient|row features/.test(dispatch.label));
      if (!shared) {
        check(reads === bytesRead, `${what}: ${reads} bytes read, ${bytesRead} stated`);
      } else if (reads > 0) {
        // Dispatches that share the work may read the same.
        const bits = new Uint32Array(own[0]!.bits[b]!.words);
        for (const { offset, bits: all } of own) {
          for (let word = 0; word < bits.length; word++) bits[word]! |= counts[offset + all[b]!.start + word]!;
        }
        const covered = countBits(bits) * element;
        // Entries of zero angle, padding and the rounding of states to vec4f may go unread or unstated, and idle columns read what is not
        // theirs: at most a tenth, or a few.
        check(covered * 0.9 - 256 <= bytesRead, `${what}: covers ${covered} bytes, ${bytesRead} stated`);
        check(reads >= bytesRead * 0.9 - 256, `${what}: reads ${reads} bytes, ${bytesRead} stated`);
      }
      moved += (shared ? total(parts, (part) => part.bindings[b]!.bytesRead) : reads) + writes;
    }
  }
  check(moved === program.cost.bytesMoved, `${title}: ${moved} bytes counted, ${program.cost.bytesMoved} stated`);
}

/** Of which a workgroup holds no line of 2048 points. */
const tiny = limitsWith({ maxComputeWorkgroupStorageSize: 2048, maxComputeInvocationsPerWorkgroup: 32 });
const small = limitsWith({ maxStorageBufferBindingSize: 2 ** 18, workspaceBytes: 2 ** 19 });

async function checkFfts(context: CaseContext, transforms: readonly FftOptions[], limits?: PlannerLimits): Promise<void> {
  await together(transforms, (options) => checkBytes(context, fftSpec(options), limits));
}

/** A convolution and the spectrum of its kernel. */
async function checkConvolutions(context: CaseContext, convolutions: readonly ConvolveOptions[], limits?: PlannerLimits): Promise<void> {
  const specs = convolutions.map((options) => convolveSpec(options));
  await together([...specs, ...specs.map(kernelSpectrumSpec)], (spec) => checkBytes(context, spec, limits));
}

export const bytesSuite: Suite = {
  name: "bytes",
  engineFree: "accesses are counted, and a kernel makes the same ones everywhere",
  cases: [
    {
      name: "FFTs and products of complex numbers",
      sample: true,
      run: async (context) => {
        await checkFfts(context, [
          { shape: [1] },
          { shape: [5, 12] },
          { shape: [7, 1000] },
          { shape: [3, 4096] },
          { shape: [3, 100, 7], axes: [1], direction: "inverse" },
          { shape: [2, 16384] },
        ]);
        await checkBytes(context, fftSpec({ shape: [9, 10000] }), small);
        await checkBytes(context, complexMultiplySpec({ shape: [3, 1001] }));
      },
    },
    {
      name: "FFTs as convolutions, in one pass and in three",
      run: async (context) => {
        await checkFfts(context, [{ shape: [40, 34] }, { shape: [5, 97, 3], axes: [1], direction: "inverse" }, { shape: [3, 4099] }]);
        await checkFfts(context, [{ shape: [5, 5003] }], small);
      },
    },
    {
      name: "FFTs of several axes, and in place",
      run: async (context) => {
        await checkFfts(context, [
          { shape: [3, 20, 16], axes: [1, 2] },
          { shape: [5, 6, 4, 7, 9], axes: [3, 1], direction: "inverse" },
          { shape: [60, 5, 80], axes: [2, 0] },
          { shape: [8, 9, 10], axes: [0, 1, 2] },
        ]);
        const inPlace: FftOptions[] = [
          { shape: [7, 100] },
          { shape: [5, 6, 10], axes: [0, 2] },
          { shape: [10000] },
          { shape: [60, 80], axes: [0, 1] },
        ];
        await together(inPlace, (options) => checkBytes(context, inPlaceSpec(fftSpec(options))));
        await checkFfts(context, [{ shape: [9, 60, 80], axes: [2, 1] }], small);
      },
    },
    {
      name: "FFTs of real data",
      run: async (context) => {
        for (const kind of ["r2c", "c2r"] as const) {
          await checkFfts(context, [
            { shape: [5, 2], kind },
            { shape: [3, 100, 7], axes: [1], kind },
            { shape: [4, 15], kind },
            { shape: [4, 34], kind },
            { shape: [2, 4099], kind },
            { shape: [12, 20, 30], axes: [2, 0, 1], kind },
          ]);
          await checkFfts(context, [{ shape: [9, 9000], kind }], small);
        }
      },
    },
    {
      name: "gradients of FFTs of real data",
      run: async (context) => {
        const shapes = [
          [3, 12],
          [2, 21],
          [2, 2048],
        ];
        const specs = (["r2c", "c2r"] as const).flatMap((kind) => shapes.map((shape) => fftGradientSpec(fftSpec({ shape, kind }))));
        await together(specs, (spec) => checkBytes(context, spec, tiny));
      },
    },
    {
      name: "convolutions and the spectra of their kernels",
      run: async (context) => {
        await checkConvolutions(context, [
          { shape: [5, 3, 50], kernel: [3, 13] },
          { shape: [4, 40, 3], kernel: [9], axes: [1], mode: "valid", dtype: "complex64" },
          { shape: [4, 37], kernel: [5], mode: "circular" },
          { shape: [4, 37, 6], kernel: [5], axes: [1], mode: "same" },
          { shape: [4, 9001], kernel: [50], mode: "same" },
          { shape: [2, 17, 19], kernel: [5, 3], axes: [1, 2], mode: "circular" },
          { shape: [3, 100, 90], kernel: [3, 4], axes: [1, 2], mode: "valid" },
          { shape: [2, 90, 97, 2], kernel: [2, 3, 4], axes: [1, 2], mode: "circular", dtype: "complex64" },
        ]);
        await checkConvolutions(context, [{ shape: [6, 2, 9000], kernel: [2, 70], mode: "causal" }], small);
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
        const others: ToeplitzOptions[] = [
          { heads: 2, length: 300, channels: 3, causal: true },
          { heads: 2, batch: 2, grid: [10, 24], channels: 5 },
          { heads: 2, grid: [50, 70], channels: 6 },
        ];
        await together(others, async (options) => {
          const spec = toeplitzSpec(options);
          await checkBytes(context, spec);
          await checkBytes(context, spectrumSpec(spec));
        });
        await checkBytes(context, toeplitzSpec({ heads: 3, batch: 2, length: 5000, channels: 7 }), small);
      },
    },
    {
      name: "forms of weights of Toeplitz products",
      sample: true,
      run: async (context) => {
        const options: ToeplitzOptions[] = [
          { heads: 2, batch: 2, grid: [5, 9], channels: 3, biasForm: "separable" },
          { heads: 3, grid: [40, 70], channels: 36, biasForm: "separable-symmetric", biasLength: [41, 90] },
          { heads: 2, grid: [6, 6], channels: 4, biasForm: "separable", biasShared: true },
          { heads: 2, grid: [1, 1], channels: 1, biasForm: "separable" },
          { heads: 2, length: 23, channels: 2, biasForm: "symmetric", causal: true, biasLength: 30 },
          { heads: 2, grid: [4, 7], channels: 2, biasForm: "symmetric" },
          { heads: 2, batch: 2, length: 23, channels: 3, outside: { first: 1, last: 2 } },
          { heads: 2, batch: 2, grid: [5, 9], channels: 4, gridChannels: 3, outside: { first: 1 }, biasForm: "separable" },
        ];
        const specs = options.map((each) => toeplitzSpec(each));
        await together([...specs, ...specs.map(spectrumSpec), ...specs.map(toeplitzGradientSpec)], (spec) => checkBytes(context, spec));
        const cramped = limitsWith({ maxStorageBufferBindingSize: 2 ** 15, workspaceBytes: 2 ** 15, maxComputeWorkgroupStorageSize: 1024 });
        await checkBytes(
          context,
          toeplitzGradientSpec(toeplitzSpec({ heads: 3, batch: 2, grid: [9, 20], channels: 7, biasForm: "separable" })),
          cramped,
        );
      },
    },
    {
      name: "gradients of Toeplitz products, products with lengths, spectra of exponentials",
      run: async (context) => {
        const passes = limitsWith({ maxComputeWorkgroupStorageSize: 256 });
        const groups = limitsWith({ maxComputeWorkgroupStorageSize: 256, maxStorageBufferBindingSize: 2 ** 15, workspaceBytes: 2 ** 16 });
        const ragged = (options: ToeplitzOptions) => ({ ...toeplitzSpec(options), variableLengths: true });
        const exponentials = (options: ToeplitzOptions) => ({ ...spectrumSpec(toeplitzSpec(options)), exponential: true });
        const fused: AnySpec[] = [
          toeplitzGradientSpec(toeplitzSpec({ heads: 1, length: 1, channels: 1 })),
          toeplitzGradientSpec(ragged({ heads: 2, batch: 2, length: 23, channels: 3, causal: true })),
          toeplitzGradientSpec(toeplitzSpec({ heads: 2, grid: [4, 7], channels: 4 })),
          ragged({ heads: 2, batch: 2, length: 23, channels: 3 }),
          exponentials({ heads: 3, length: 23, channels: 1, causal: true }),
        ];
        await together(fused, (spec) => checkBytes(context, spec));
        await checkBytes(context, toeplitzGradientSpec(toeplitzSpec({ heads: 3, batch: 2, length: 200, channels: 5 })), groups);
        await checkBytes(context, ragged({ heads: 2, batch: 2, length: 200, channels: 5 }), passes);
        await checkBytes(context, exponentials({ heads: 3, grid: [9, 5], channels: 1 }), passes);
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
    {
      name: "softmax attention and its gradient",
      run: async (context) => {
        const oneHead = limitsWith({ maxStorageBufferBindingSize: 2 ** 15, workspaceBytes: 2 ** 15 });
        const both = (options: Partial<AttentionOptions>): AnySpec[] => {
          const spec = attentionSpec({ kind: "softmax", heads: 1, ...options } as AttentionOptions);
          return [spec, attentionGradientSpec(spec)];
        };
        const specs = [
          ...both({ heads: 2, batch: 2, length: 77, headDim: 7, valueDim: 5, causal: true, variableLengths: true }),
          ...both({ batch: 2, length: 128, headDim: 5, valueDim: 4, keyMask: true }),
          // Columns of the sums in two pieces.
          ...both({ length: 45, headDim: 200, valueDim: 210 }),
        ];
        await together(specs, (spec) => checkBytes(context, spec));
        const [grouped] = both({ heads: 2, batch: 2, length: 150, headDim: 17, valueDim: 31, bias: "fastrpb" });
        const [, groupedGradient] = both({ heads: 2, batch: 2, length: 150, headDim: 17, valueDim: 31, causal: true });
        await together([grouped!, groupedGradient!], (spec) => checkBytes(context, spec, oneHead));
      },
    },
    {
      name: "softmax attention and its gradient in splits",
      run: async (context) => {
        const spec = (options: Partial<AttentionOptions>) => attentionSpec({ kind: "softmax", heads: 1, ...options } as AttentionOptions);
        // The second has columns of the sums in two pieces.
        const forward = [
          spec({ heads: 2, length: 1100, headDim: 3, valueDim: 5, causal: true, bias: "fastrpb" }),
          spec({ length: 1030, headDim: 1, valueDim: 196 }),
        ];
        await together(forward, (each) => checkBytes(context, each, limitsWith({ speed: SOFTWARE_GPU })));
        // Rows in blocks.
        const blocks = limitsWith({ speed: SOFTWARE_GPU, workspaceBytes: 2 ** 21 });
        await checkBytes(context, attentionGradientSpec(spec({ heads: 2, length: 1111, headDim: 17, valueDim: 31, causal: true })), blocks);
      },
    },
    {
      name: "softmax attention in a window, or with a bias in its logits, and its gradient",
      run: async (context) => {
        const spec = (options: Partial<AttentionOptions>) => attentionSpec({ kind: "softmax", heads: 1, ...options } as AttentionOptions);
        const specs = [
          spec({ length: 301, headDim: 5, valueDim: 3, window: 40 }),
          spec({ length: 301, headDim: 5, valueDim: 3, window: 3, causal: true, bias: "logits" }),
          spec({ heads: 2, batch: 2, length: 150, headDim: 5, valueDim: 3, bias: "logits", causal: true, variableLengths: true }),
          attentionSpec({ kind: "softmax", heads: 1, grid: [5, 41], headDim: 3, bias: "logits" }),
        ];
        await together([...specs.slice(0, 2), ...specs.map(attentionGradientSpec)], (each) => checkBytes(context, each));
        const splits = limitsWith({ speed: SOFTWARE_GPU, workspaceBytes: 2 ** 21 });
        await checkBytes(context, spec({ length: 2000, headDim: 1, valueDim: 3, window: 650 }), splits);
        await checkBytes(context, attentionGradientSpec(spec({ length: 2000, headDim: 1, valueDim: 3, window: 1100, causal: true })), splits);
      },
    },
    {
      name: "causal attention and its gradient",
      run: async (context) => {
        const forward: AttentionOptions[] = [
          { heads: 2, length: 1, headDim: 1, featureMap: "sikf" },
          { heads: 1, batch: 2, length: 100, headDim: 80, valueDim: 70, featureMap: "sikf" },
          { heads: 1, length: 130, headDim: 20, valueDim: 3, featureMap: "elu+1" },
        ];
        const backward: AttentionOptions[] = [
          { heads: 2, length: 70, headDim: 5, valueDim: 7, featureMap: "softmax" },
          { heads: 2, length: 21, headDim: 5, valueDim: 3, featureMap: "relu" },
        ];
        const causal = (options: AttentionOptions) => attentionSpec({ ...options, causal: true });
        const specs = [...forward.map(causal), ...backward.map((options) => attentionGradientSpec(causal(options)))];
        await together(specs, (spec) => checkBytes(context, spec));
        await checkBytes(context, causal({ heads: 4, batch: 2, length: 501, headDim: 17, valueDim: 31, featureMap: "sikf" }), small);
      },
    },
    {
      name: "linear attention of every feature map, and its gradient",
      run: async (context) => {
        const options: AttentionOptions[] = [
          { heads: 2, batch: 2, length: 1, headDim: 1, valueDim: 1, featureMap: "sikf" },
          { heads: 2, length: 150, headDim: 7, valueDim: 5, featureMap: "sikf", bias: "fastrpb", variableLengths: true },
          { heads: 1, batch: 2, length: 37, headDim: 9, valueDim: 40, featureMap: "relu" },
          { heads: 1, batch: 2, length: 131, headDim: 11, valueDim: 6, featureMap: "softmax" },
          { heads: 2, length: 70, headDim: 5, valueDim: 3, featureMap: "favor+", randomFeatures: { count: 13 } },
          { heads: 2, batch: 2, length: 70, headDim: 4, valueDim: 3, featureMap: "elu+1", keyMask: true },
          { heads: 2, length: 70, headDim: 3, valueDim: 3, featureMap: "dpfp", nu: 2 },
        ];
        await together(
          options.map((options) => attentionSpec(options)),
          (spec) => checkBytes(context, spec),
        );
        await together(
          options.map((options) => attentionSpec(options)),
          (spec) => checkBytes(context, attentionGradientSpec(spec)),
        );
      },
    },
    {
      name: "attention by token, or of a packed tensor, and its gradient",
      run: async (context) => {
        const options: AttentionOptions[] = [
          { heads: 2, length: 70, headDim: 7, valueDim: 5, featureMap: "sikf", bias: "fastrpb", layout: "bnhd" },
          { heads: 2, length: 70, headDim: 4, valueDim: 8, kind: "softmax", bias: "fastrpb", layout: "packed" },
          { heads: 2, length: 150, headDim: 5, valueDim: 3, featureMap: "softmax", causal: true, layout: "packed" },
          { heads: 2, batch: 2, length: 37, headDim: 4, valueDim: 3, featureMap: "elu+1", keyMask: true, layout: "packed" },
        ];
        const specs = options.map((each) => attentionSpec(each));
        await together([...specs, ...specs.map(attentionGradientSpec)], (spec) => checkBytes(context, spec));
      },
    },
    {
      name: "linear attention of every feature map, and its gradient, in groups of heads",
      run: async (context) => {
        const oneHead = limitsWith({ maxStorageBufferBindingSize: 2 ** 15, workspaceBytes: 2 ** 17 });
        const options: AttentionOptions[] = [
          { heads: 3, length: 250, headDim: 20, valueDim: 7, featureMap: "sikf" },
          { heads: 2, batch: 2, length: 250, headDim: 6, valueDim: 17, featureMap: "favor+", randomFeatures: { count: 9 } },
        ];
        const specs = options.map((options) => attentionSpec(options));
        await together([...specs, ...specs.map(attentionGradientSpec)], (spec) => checkBytes(context, spec, oneHead));
      },
    },
    {
      name: "cross-attention and grouped queries, and their gradients",
      run: async (context) => {
        const biased = attentionSpec({ heads: 2, batch: 2, length: 9, keyLength: 20, headDim: 5, valueDim: 3, featureMap: "sikf", bias: "fastrpb" });
        const grouped = attentionSpec({ heads: 4, keyHeads: 2, batch: 2, length: 21, headDim: 3, valueDim: 4, featureMap: "relu", causal: true });
        const logits = attentionSpec({ heads: 1, length: 45, keyLength: 70, headDim: 3, kind: "softmax", bias: "logits" });
        await together([biased, ...[biased, grouped, logits].map(attentionGradientSpec), spectrumSpec(biased)], (spec) => checkBytes(context, spec));
        const many = attentionSpec({ heads: 2, length: 20, keyLength: 1100, headDim: 3, kind: "softmax" });
        await checkBytes(context, many, limitsWith({ speed: SOFTWARE_GPU, workspaceBytes: 2 ** 21 }));
      },
    },
    {
      name: "a multiplicative bias: its spectrum, attention and gradient",
      run: async (context) => {
        const options: AttentionOptions[] = [
          // Not ReLU: of queries without a positive feature, sums go unread.
          { heads: 2, length: 40, headDim: 3, valueDim: 2, featureMap: "elu+1", causal: true },
          { heads: 2, batch: 2, length: 37, headDim: 5, valueDim: 3, featureMap: "sikf", variableLengths: true },
          { heads: 1, grid: [3, 7], headDim: 2, valueDim: 3, featureMap: "favor+", randomFeatures: { count: 4 } },
        ];
        const specs = options.map((each) => attentionSpec({ ...each, bias: "multiplicative" }));
        await together([...specs, ...specs.map(spectrumSpec)], (spec) => checkBytes(context, spec));
        await together(specs.slice(1).map(attentionGradientSpec), (spec) => checkBytes(context, spec));
        // In groups of heads and of features.
        const several = attentionSpec({ heads: 3, batch: 2, length: 60, headDim: 7, valueDim: 5, featureMap: "elu+1", bias: "multiplicative" });
        const cramped = limitsWith({ maxStorageBufferBindingSize: 2 ** 14, workspaceBytes: 2 ** 16 });
        await checkBytes(context, attentionGradientSpec(several), cramped);
      },
    },
    {
      name: "sums, products, activations and norms, means over tokens, and their gradients",
      run: async (context) => {
        const tasks: Task[] = [];
        for (const [size, period] of [
          [35, 7],
          [64, 64],
          [20_000, 4],
        ] as const) {
          tasks.push(task(add, addSpec({ size, period })), task(multiply, multiplySpec({ size, period })));
          tasks.push(task(activation, activationSpec({ size, kind: "gelu" })), task(accumulate, accumulateSpec({ size })));
        }
        for (const [rows, width] of [
          [700, 36],
          [5, 301],
        ] as const) {
          tasks.push(task(norm, normSpec({ kind: "layer", rows, width, epsilon: 1e-5, bias: true })));
          tasks.push(task(norm, normSpec({ kind: "rms", rows, width, epsilon: 1e-5, bias: false })));
        }
        for (const one of tasks) {
          await checkTask(context, one);
          const wanted = Object.keys(one.operation.tensors(one.spec, (await context.runtime).limits));
          for (const node of one.operation.backward?.(one.spec, wanted).nodes ?? []) await checkTask(context, node.task);
        }
        for (const [batch, length, width] of [
          [2, 1500, 12],
          [3, 20, 5],
        ] as const) {
          const spec = meanOverTokensSpec({ batch, length, width, variableLengths: true });
          const lengths = new Uint32Array(batch).fill(length);
          await checkTask(context, task(meanOverTokens, spec), { lengths });
          await checkTask(context, meanOverTokens.backward!(spec, ["x"]).nodes[0]!.task, { lengths });
        }
      },
    },
    {
      name: "matrix products",
      run: async (context) => {
        const products: readonly MatmulOptions[] = [
          { m: 70, n: 36, k: 44, bias: true, residual: true },
          { m: 37, n: 19, k: 21, transposeA: true, transposeB: true, bias: true },
          { m: 36, n: 20, k: 8000, transposeA: true, bias: true },
          { batch: 2, m: 3, n: 30, k: 50, transposeB: true, bias: true },
          { m: 5, n: 30, k: 50, transposeA: true, residual: true },
          { m: 60, n: 16, k: 8, transposeB: true, heads: { of: "out", length: 20, heads: 2 } },
        ];
        for (const options of products) await checkTask(context, task(matmul, matmulSpec(options)));
      },
    },
    {
      name: "losses and their gradients, dropout, embedding",
      run: async (context) => {
        const upTo = (n: number, count: number) => Uint32Array.from({ length: count }, (_, i) => (7 * i) % n);
        for (const [rows, classes, labelSmoothing] of [
          [7, 10, 0],
          [64, 256, 0.1],
          [5, 1003, 0.1],
          [3, 5004, 0],
        ] as const) {
          const spec = crossEntropySpec({ rows, classes, labelSmoothing });
          const data = { targets: upTo(classes, rows) };
          await checkTask(context, task(crossEntropy, spec), data);
          await checkTask(context, crossEntropy.backward!(spec, ["logits"]).nodes[0]!.task, data);
        }
        for (const size of [7, 30_000]) {
          const spec = meanSquaredErrorSpec({ size });
          await checkTask(context, task(meanSquaredError, spec));
          await checkTask(context, meanSquaredError.backward!(spec, ["x"]).nodes[0]!.task);
          await checkTask(context, task(dropout, dropoutSpec({ size, rate: 0.1, site: 1 })));
        }
        for (const width of [3, 8])
          await checkTask(context, task(embedding, embeddingSpec({ tokens: 100, count: 7, width })), { indices: upTo(7, 100) });
      },
    },
  ],
};
