import type { Plugin } from "vite";

interface Piece {
  readonly start: number;
  readonly end: number;
}

export function minifyWgsl(modules: RegExp): Plugin;
export function minifiedPieces(id: string, code: string): (Piece & { readonly text: string })[];
export function wgslTemplates(id: string, code: string): readonly (readonly Piece[])[];
export function minifyTemplate(pieces: readonly string[]): string[];
