import { describe, expect, test } from "vitest";
import { DEFAULT_CHOICES } from "../core/choices.ts";
import { capLimits, DEFAULT_LIMITS, type PlannerLimits, type Speed } from "../core/limits.ts";
import { MOST_DISPATCH_SECONDS } from "../program/duration.ts";
import type { Program } from "../program/program.ts";
import { planProgram } from "../testing/operations.ts";
import { random } from "../testing/random.ts";
import { attentionGradientSpec, attentionSpec, toeplitzSpec } from "../testing/specs.ts";
import { measureSpeed, type Probe } from "./speed.ts";

/** A device: what softmax attention reaches on it, how many workgroups fill it, and what a submit takes. */
interface Simulated {
  readonly flopsPerSecond: number;
  readonly groups: number;
  readonly submit: number;
}

const H100 = { flopsPerSecond: 1.4e13, groups: 1056 };
const GROUP_FLOPS = 32 * 128 * 280;

/** Seconds that work takes there; other kernels than those of softmax attention do a third of its operations in the same time. */
function takes({ flopsPerSecond, groups: all }: Simulated, kernel: string, flops: number, groups: number): number {
  return flops / (flopsPerSecond / (kernel.startsWith("attention/softmax/") ? 1 : 3)) / Math.min(1, groups / all);
}

/** The probe of a device, what it did for the longest, and in all. */
function probeOf(device: Simulated, seed: number): { probe: Probe; longest: () => number; total: () => number } {
  const uniform = random(seed);
  let [longest, total] = [0, 0];
  const time = async (groups: number, dispatches: number) => {
    const each = takes(device, "attention/softmax/forward", groups * GROUP_FLOPS, groups);
    longest = Math.max(longest, dispatches === 0 ? 0 : each);
    const seconds = dispatches * each + device.submit * (1 + uniform());
    total += seconds;
    return seconds;
  };
  return { probe: { groupFlops: GROUP_FLOPS, mostGroups: 2048, time }, longest: () => longest, total: () => total };
}

function limitsFor(speed: Speed): PlannerLimits {
  return capLimits("test", { ...DEFAULT_LIMITS, maxStorageBufferBindingSize: 2 ** 31 - 4, maxBufferSize: 2 ** 31 }, {}, 2 ** 30, {
    speed,
    choices: DEFAULT_CHOICES,
  });
}

/** True seconds of the dispatches of a program. */
function secondsOf({ dispatches }: Program, device: Simulated): number[] {
  return dispatches.map(({ kernel, flops, workgroups }) => takes(device, kernel.id, flops, workgroups[0] * workgroups[1] * workgroups[2]));
}

const FACTORS = [1e-3, 1e-2, 0.1, 0.3, 1, 3, 10];

const JOINS = ["combine", "combine-statistics", "sum"].map((name) => `attention/softmax/${name}`);

describe("simulated devices", () => {
  for (const factor of FACTORS) {
    for (const groups of factor < 0.05 ? [8, 64] : [128, 1056]) {
      const device: Simulated = { flopsPerSecond: factor * H100.flopsPerSecond, groups, submit: 2e-4 };
      const name = `${factor} of an H100, filled by ${groups} workgroups`;

      test(`${name}: its speed`, async () => {
        const { probe, longest, total } = probeOf(device, 5);
        const speed = await measureSpeed(probe);
        const reached = speed.flopsPerSecond * speed.paces!["attention/softmax/forward"]!;
        expect(reached / device.flopsPerSecond).toBeGreaterThan(0.88);
        expect(reached / device.flopsPerSecond).toBeLessThan(0.97);
        expect(speed.workgroupShare * groups).toBeGreaterThan(0.9);
        expect(speed.workgroupShare * groups).toBeLessThan(1.1);
        expect(longest()).toBeLessThanOrEqual(MOST_DISPATCH_SECONDS);
        expect(total()).toBeLessThan(factor >= 0.01 ? 0.4 : 3);
      });

      test(`${name}: no dispatch is too long, and there are few more than needed`, async () => {
        const limits = limitsFor(await measureSpeed(probeOf(device, 6).probe));
        for (const length of [1024, 4096, 16384, 65536]) {
          for (const causal of [false, true]) {
            const spec = attentionSpec({ heads: 8, length, headDim: 64, kind: "softmax", causal });
            for (const each of [spec, attentionGradientSpec(spec)]) {
              const program = planProgram("test", each, limits);
              const seconds = secondsOf(program, device);
              expect(Math.max(...seconds)).toBeLessThanOrEqual(MOST_DISPATCH_SECONDS);
              const needed = seconds.reduce((sum, one) => sum + one, 0) / MOST_DISPATCH_SECONDS;
              // A dispatch has whole workgroups, which may take long themselves; on slow devices long sequences go in blocks of rows besides.
              if (length > 4096 || longestGroup(program, device) > MOST_DISPATCH_SECONDS / 20) continue;
              // What brings splits together is short, and follows each block.
              const long = program.dispatches.filter(({ kernel }) => !JOINS.includes(kernel.id)).length;
              expect(long, `${each.operation}, ${length}`).toBeLessThanOrEqual(
                1.1 * needed + new Set(program.dispatches.map(({ kernel }) => kernel)).size,
              );
            }
          }
          const product = planProgram("test", toeplitzSpec({ heads: 64, length, channels: 64 }), limits);
          expect(Math.max(...secondsOf(product, device))).toBeLessThanOrEqual(MOST_DISPATCH_SECONDS);
        }
      });
    }
  }
});

test("a clock that shows no time makes no device infinitely fast", async () => {
  const { probe } = probeOf({ ...H100, submit: 2e-4 }, 7);
  // As browsers have it that resist fingerprinting.
  const time = async (groups: number, dispatches: number) => Math.floor((await probe.time(groups, dispatches)) / 10) * 10;
  await expect(measureSpeed({ ...probe, time })).rejects.toThrow("too coarse");
});

/** Seconds of a workgroup, of the kernel whose workgroups take longest. */
function longestGroup({ dispatches }: Program, device: Simulated): number {
  return Math.max(...dispatches.map(({ kernel, flops, workgroups: [x, y, z] }) => takes(device, kernel.id, flops / (x * y * z), 1)));
}
