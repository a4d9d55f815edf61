/** Every form of weights against the table of all offsets that it stands for; and what its plans cost. */
import { describe, expect, test } from "vitest";
import type { FastRpbError } from "../../core/errors.ts";
import { planProgram } from "../../testing/operations.ts";
import { DESKTOP_LIMITS, limitsWith } from "../../testing/planning.ts";
import { programComplaints } from "../../testing/programs.ts";
import { expandWeights } from "../../testing/reference.ts";
import { errorsOfPairs } from "../../testing/toeplitz-pairs.ts";
import {
  attentionSpec,
  type BiasFormOptions,
  spectrumSpec,
  type SequenceOptions,
  toeplitzGradientSpec,
  type ToeplitzOptions,
  toeplitzSpec,
  weightsShape,
} from "../../testing/specs.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;

type Form = BiasFormOptions & SequenceOptions & { causal?: boolean };

const FORMS: readonly (readonly [Form, shape: readonly number[]])[] = [
  [{ length: 1, biasForm: "symmetric" }, [1]],
  [{ length: 11, biasForm: "symmetric" }, [11]],
  [{ length: 12, biasForm: "symmetric", causal: true }, [12]],
  [{ length: 7, biasLength: 10 }, [19]],
  [{ length: 7, biasLength: 10, causal: true }, [19]],
  [{ length: 7, biasForm: "symmetric", biasLength: 50 }, [50]],
  [{ grid: [1, 1], biasForm: "symmetric" }, [1, 1]],
  [{ grid: [3, 5], biasForm: "symmetric" }, [3, 5]],
  [{ grid: [5, 1], biasForm: "symmetric", biasLength: [6, 4] }, [6, 4]],
  [{ grid: [1, 6], biasLength: [3, 7] }, [5, 13]],
  [{ grid: [3, 5], biasLength: [3, 6] }, [5, 11]],
  [{ grid: [3, 5], biasForm: "separable" }, [14]],
  [{ grid: [1, 1], biasForm: "separable" }, [2]],
  [{ grid: [1, 7], biasForm: "separable" }, [14]],
  [{ grid: [6, 1], biasForm: "separable-symmetric" }, [7]],
  [{ grid: [4, 4], biasForm: "separable", biasShared: true }, [7]],
  [{ grid: [5, 5], biasForm: "separable-symmetric", biasShared: true }, [5]],
  [{ grid: [4, 3], biasForm: "separable-symmetric" }, [7]],
  [{ grid: [4, 3], biasForm: "separable", biasLength: [6, 3] }, [16]],
  [{ grid: [3, 3], biasForm: "separable-symmetric", biasShared: true, biasLength: [5, 5] }, [5]],
];

test.each(FORMS)("on the CPU, %j is the table that it stands for", async (options, shape) => {
  const spec = toeplitzSpec({ batch: 2, heads: 3, channels: 5, ...options });
  expect(weightsShape(spec)).toEqual([3, ...shape]);
  const { out, dv, dWeights } = await errorsOfPairs(spec);
  expect(out, "seeds 1, 3").toBeLessThan(ROUNDING);
  expect(dv, "dv, seeds 1 to 3").toBeLessThan(ROUNDING);
  expect(dWeights, "dWeights, seeds 1 to 3").toBeLessThan(ROUNDING);
});

test("the form of the paper's author: one vector for rows and columns of a square grid", () => {
  const spec = toeplitzSpec({ heads: 1, grid: [2, 2], channels: 1, biasForm: "separable", biasShared: true });
  // w[dy + 1] + w[dx + 1] for dy, dx from −1 to 1.
  expect([...expandWeights(spec, [1, 20, 300])]).toEqual([2, 21, 301, 21, 40, 320, 301, 320, 600]);
});

describe("a separable product", () => {
  test.each([28, 64, 256])("of %i × %i tokens moves at most 1.3 times the minimum, in three dispatches", (side) => {
    for (const limits of [limitsWith(), DESKTOP_LIMITS]) {
      for (const biasForm of ["separable", "separable-symmetric"] as const) {
        const { cost } = planProgram("test", toeplitzSpec({ heads: 8, grid: [side, side], channels: 64, biasForm }), limits);
        expect(cost.dispatches).toBe(3);
        expect(cost.bytesMoved / cost.bytesMinimum).toBeLessThanOrEqual(1.3);
      }
    }
  });

  test("and its gradient keep to bindings and workspace, and refuse where these are too small", () => {
    const options: ToeplitzOptions = { batch: 3, heads: 5, grid: [40, 50], channels: 7, biasForm: "separable" };
    const small = limitsWith({ maxStorageBufferBindingSize: 2 ** 17, workspaceBytes: 2 ** 16 });
    for (const spec of [toeplitzSpec(options), toeplitzGradientSpec(toeplitzSpec(options)), spectrumSpec(toeplitzSpec(options))]) {
      for (const limits of [limitsWith(), small, limitsWith({ maxComputeWorkgroupStorageSize: 256, maxComputeInvocationsPerWorkgroup: 32 })]) {
        try {
          expect(programComplaints(planProgram("test", spec, limits), limits)).toEqual([]);
        } catch (error) {
          expect((error as FastRpbError).code, String(error)).toBe("limit");
          expect(limits.maxComputeWorkgroupStorageSize).toBe(256);
        }
      }
    }
    expect(planProgram("test", toeplitzSpec(options), small).dispatches.length).toBeGreaterThan(3);
    expect(() => planProgram("test", toeplitzSpec(options), limitsWith({ workspaceBytes: 100 }))).toThrow(/workspaceBytes/);
  });
});

test.each([
  [{ length: 4, biasForm: "separable" }, "options.biasForm"],
  [{ length: 4, biasForm: "even" }, "options.biasForm"],
  [{ grid: [2, 3], biasForm: "separable", biasShared: true }, "options.biasShared"],
  [{ grid: [2, 2], biasShared: true }, "options.biasShared"],
  [{ grid: [2, 2], biasForm: "separable", biasShared: 1 }, "options.biasShared"],
  [{ grid: [2, 2], biasForm: "separable", biasShared: true, biasLength: [3, 2] }, "options.biasShared"],
  [{ length: 4, biasLength: 3 }, "options.biasLength"],
  [{ length: 4, biasLength: 4.5 }, "options.biasLength"],
  [{ length: 4, biasLength: [5] }, "options.biasLength"],
  [{ grid: [2, 2], biasLength: 3 }, "options.biasLength"],
  [{ grid: [2, 2], biasLength: [3, 1] }, "options.biasLength[1]"],
])("%j is refused: %s", (options, mention) => {
  const make = () => toeplitzSpec({ heads: 1, channels: 1, ...options } as ToeplitzOptions);
  expect(make).toThrow(mention);
  expect(make).toThrow(expect.objectContaining({ code: "value" }));
});

test("only an added bias has a form", () => {
  const common = { heads: 1, length: 4, headDim: 2, featureMap: "sikf" } as const;
  expect(attentionSpec({ ...common, bias: "fastrpb", biasForm: "symmetric" }).form?.symmetric).toBe(true);
  for (const bias of ["none", "multiplicative"] as const) {
    expect(attentionSpec({ ...common, bias, biasForm: "full" }).form).toBeUndefined();
    for (const form of [{ biasForm: "symmetric" }, { biasLength: 5 }] as const) {
      expect(() => attentionSpec({ ...common, bias, ...form })).toThrow(expect.objectContaining({ code: "value" }));
    }
  }
});
