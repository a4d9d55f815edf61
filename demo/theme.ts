/** Light or dark, and when pictures have to be drawn anew. */
import type { Theme } from "./pictures.ts";

const dark = matchMedia("(prefers-color-scheme: dark)");

export function theme(): Theme {
  return dark.matches ? "dark" : "light";
}

/** Calls `listener` when every picture has to be drawn anew: in other colours, or because a crash of the GPU wiped the canvases. */
export function onRepaint(listener: () => void): void {
  dark.addEventListener("change", listener);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(listener, 100);
  };
  document.addEventListener("contextrestored", soon, { capture: true });
}

/** A colour of the style sheet. */
export function colour(name: `--${string}`): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}
