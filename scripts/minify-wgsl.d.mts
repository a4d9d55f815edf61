import type { Plugin } from "vite";

export function minifyWgsl(modules: RegExp): Plugin;
export function compileTemplates(id: string, code: string): string;
export function compileTemplate(pieces: readonly string[], values: readonly string[]): string;
export function minifyTemplate(pieces: readonly string[]): string[];
