/** The built library's templates are compiled: the kernels are the same, token for token. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "vite";
import { describe, expect, test } from "vitest";
import { compileTemplate, compileTemplates, minifyTemplate, minifyWgsl } from "../scripts/minify-wgsl.mjs";
import { planProgram } from "../src/plan/planners.ts";
import {
  attentionGradientSpec,
  type AttentionOptions,
  attentionSpec,
  type ConvolveOptions,
  convolveSpec,
  complexMultiplySpec,
  fftSpec,
  kernelSpectrumSpec,
  type OperationSpec,
  spectrumSpec,
  toeplitzGradientSpec,
  type ToeplitzOptions,
  toeplitzSpec,
} from "../src/spec/operations.ts";
import { limitsWith } from "../src/testing/planning.ts";
import * as reference from "./wgsl.ts";

/** Words, numbers and signs: all that WGSL's grammar sees. The longest sign first. */
const TOKEN =
  /[A-Za-z_]\w*|(?:0[xX][\da-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)[fuih]?|>>=|<<=|->|\+\+|--|&&|\|\||[=!<>+\-*/%&|^]=|<<|>>|\S/g;

function tokens(code: string): string[] {
  return code.replaceAll(/\/\/.*/g, "").match(TOKEN) ?? [];
}

const FFTS = [1, 5, 17, 1000, 1001, 8192, 20_011].flatMap((length) =>
  (["c2c", "r2c", "c2r"] as const).flatMap((kind) =>
    (["f32", "f16"] as const).map((storage) => fftSpec({ shape: [3, length, 2], axes: [1], kind, storage, norm: "ortho" })),
  ),
);
const CONVOLUTIONS: readonly ConvolveOptions[] = [
  { shape: [2, 100], kernel: [2, 7], mode: "same" },
  { shape: [2, 20_000], kernel: [300], mode: "causal" },
  { shape: [30, 20], kernel: [5, 3], axes: [0, 1], mode: "full" },
  { shape: [97], kernel: [97], mode: "circular", dtype: "complex64" },
];
const PRODUCTS: readonly ToeplitzOptions[] = [
  { heads: 2, length: 300, channels: 3 },
  { heads: 2, length: 20_000, channels: 4, causal: true },
  { heads: 1, grid: [12, 20], channels: 5 },
  { heads: 1, grid: [200, 120], channels: 2 },
];
const ATTENTION: readonly AttentionOptions[] = (["none", "fastrpb", "multiplicative"] as const).flatMap((bias) =>
  (["sikf", "elu+1", "relu", "softmax", "favor+", undefined] as const).flatMap((featureMap) =>
    [false, true].flatMap((causal) =>
      (bias === "multiplicative" && (featureMap === undefined || featureMap === "softmax") ? [] : (["f32", "f16"] as const))
        .filter((storage) => bias !== "multiplicative" || storage === "f32")
        .map((storage) => {
          const common = { heads: 2, length: 200, headDim: 18, valueDim: 7, causal, bias, storage, variableLengths: causal };
          return featureMap === undefined ? { ...common, kind: "softmax" as const } : { ...common, featureMap };
        }),
    ),
  ),
);
const SPECS: readonly OperationSpec[] = [
  ...FFTS,
  fftSpec({ shape: [21, 35], axes: [0, 1] }),
  ...CONVOLUTIONS.map((options) => convolveSpec(options)),
  ...CONVOLUTIONS.map((options) => kernelSpectrumSpec(convolveSpec(options))),
  complexMultiplySpec({ shape: [3, 5], conjugate: true, scale: 2 }),
  ...PRODUCTS.flatMap((options) => [toeplitzSpec(options), spectrumSpec(toeplitzSpec(options)), toeplitzGradientSpec(toeplitzSpec(options))]),
  ...ATTENTION.map(attentionSpec).flatMap((spec) => [
    spec,
    ...(spec.bias === "none" ? [] : [spectrumSpec(spec)]),
    ...(spec.storage === "f16" ? [] : [attentionGradientSpec(spec)]),
  ]),
];

test("every kernel of the built planner has the tokens of the sources", async () => {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const result = await build({
    configFile: false,
    root,
    logLevel: "error",
    publicDir: false,
    plugins: [minifyWgsl(/\/shaders\/[\w-]+\.ts$/)],
    build: {
      write: false,
      minify: false,
      target: "esnext",
      lib: { entry: join(root, "src/plan/index.ts"), formats: ["es"], fileName: "planner" },
      rolldownOptions: { output: { codeSplitting: false } },
    },
  });
  const chunk = [result].flat().flatMap((each) => ("output" in each ? each.output : []))[0]!;
  const folder = mkdtempSync(join(tmpdir(), "fastrpb-planner-"));
  let built: { planProgram: typeof planProgram };
  try {
    const file = join(folder, "planner.mjs");
    writeFileSync(file, chunk.type === "chunk" ? chunk.code : "");
    built = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as typeof built;
  } finally {
    rmSync(folder, { recursive: true });
  }
  let [kernels, before, after] = [0, 0, 0];
  for (const spec of SPECS) {
    const [source, compiled] = [planProgram, built.planProgram].map((plan) => plan("test", spec, limitsWith()));
    expect(compiled!.dispatches).toHaveLength(source!.dispatches.length);
    for (const [i, { kernel }] of source!.dispatches.entries()) {
      const { code } = compiled!.dispatches[i]!.kernel;
      expect(tokens(code), `${JSON.stringify(spec)}: ${kernel.label}`).toEqual(tokens(kernel.code));
      kernels++;
      before += kernel.code.length;
      after += code.length;
    }
  }
  expect(kernels).toBeGreaterThan(400);
  expect(after).toBeLessThan(before);
});

describe("a compiled template", () => {
  /** Source and compiled form of the same template, with `a` and `b` either way, have the same tokens. */
  test.each([
    "x\n#if ${a}\n  first ${1}\n#elif ${b}\n  second\n#else\n  third\n#endif\ny",
    "#if ${a}\n  a\n  #if ${b}\n    b\n  #else\n    not b ${wgsl`#if ${b}\n c\n#endif\n`}\n  #endif\n again\n#endif\n",
    "#if ${a}\n#else\n  not a\n#endif\n#if ${b}\n  b\n#endif",
    "let x = ${2} - ${-1}; // a comment with ${a ? 1 : 2} in it\n#if ${b}\n  z // says b\n#endif\n",
    "a - -b; a & &b; p -> f32; return (x); else if (y) { return vec2f(1.0, -2.0); }",
  ])("%j", (text) => {
    const code = `wgsl\`${text}\``;
    const compiled = compileTemplates("test.ts", code);
    expect(compiled).not.toContain("#");
    for (const a of [false, true]) {
      for (const b of [false, true]) {
        const run = (source: string, wgsl: unknown): string => new Function("wgsl", "a", "b", `return ${source}`)(wgsl, a, b) as string;
        expect(tokens(run(compiled, String.raw)), `${a}, ${b}: ${compiled}`).toEqual(tokens(run(code, reference.wgsl)));
      }
    }
  });

  test("what breaks the rules does not build", () => {
    for (const text of ["#if x\n", "#else\n", "#endif\n", "#ifdef A\n x\n#endif", "#define A"]) expect(() => compileTemplate([text], [])).toThrow();
    expect(() => compileTemplate(["#if ", "\n x"], ["a"])).toThrow();
    expect(() => compileTemplate(["#if ", "\n x\n#else\n#else\n#endif"], ["a"])).toThrow();
    expect(() => minifyTemplate(["a /* b */"])).toThrow();
  });

  test("spaces beside a value stay: it may begin with a sign", () => {
    expect(minifyTemplate(["  let x = y - ", ";\n\n    // gone\n  z = a + b;"])).toEqual(["let x=y- ", ";\nz=a+b;"]);
  });
});
