/** A mask over keys: of each batch row, keys where it is 0 are not seen. */
import type { KernelBinding } from "../../wgsl/kernel.ts";
import { othersOf } from "./visible.ts";

interface WithMask {
  /** Whether there is one; left out where there is none. */
  readonly keyMask?: boolean | undefined;
  readonly otherRows?: number | undefined;
}

/** The binding `keyMask: [B, N]` of a kernel, or none where all keys are seen. */
export function maskBinding({ keyMask }: WithMask): readonly Omit<KernelBinding, "binding">[] {
  return keyMask ? [{ name: "keyMask", access: "read", element: "f32" }] : [];
}

/** `fn is_seen(bh, key) -> bool`, which needs the parameter `heads`, for any key, also beyond the sequence; no text where all keys are seen. */
export function maskFunction({ keyMask, otherRows }: WithMask): string {
  const keys = othersOf({ otherRows });
  return keyMask ? `\nfn is_seen(bh: u32, key: u32) -> bool { return keyMask[bh / params.heads * ${keys} + min(key, ${keys} - 1u)] != 0.0; }\n` : "";
}

/** WGSL expression of which of four queries see a key: those that do by `reach`, WGSL of one or four truths, if by `seen` the mask lets it. */
export function seenToo({ keyMask }: WithMask, reach: string, seen: string): string {
  return keyMask ? `vec4<bool>(${reach}) & vec4<bool>(${seen})` : reach;
}
