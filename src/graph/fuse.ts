/** Joins nodes of which one can do the next one's work on its way out. */
import type { GraphNode } from "./differentiate.ts";

/**
 * The nodes, where a result that one other node reads alone is not written if its own can do that one's work too. The joined node stands where the
 * second one stood.
 *
 * @param results values that have to be written
 */
export function fuse(nodes: readonly GraphNode[], results: readonly string[]): readonly GraphNode[] {
  const fused: (GraphNode | undefined)[] = [...nodes];
  const users = new Map<string, number[]>();
  for (const [i, { values }] of nodes.entries()) {
    for (const name of new Set(Object.values(values))) {
      const known = users.get(name);
      if (known) known.push(i);
      else users.set(name, [i]);
    }
  }
  for (let i = 0; i < nodes.length; i++) {
    const node = fused[i];
    const out = node?.values["out"];
    if (!node || out === undefined || results.includes(out) || !node.task.operation.absorb) continue;
    const readers = users.get(out)!.filter((user) => user !== i);
    const [at = -1] = readers;
    const next = readers.length === 1 ? fused[at] : undefined;
    // One that reads it twice, or does not stand after it, is left alone.
    const read = next ? Object.keys(next.values).filter((tensor) => next.values[tensor] === out) : [];
    if (!next || at < i || read.length !== 1) continue;
    const joined = node.task.operation.absorb(node.task.spec, next.task, read[0]!);
    if (!joined) continue;
    const more = Object.entries(joined.tensors).map(([tensor, ofNext]) => [tensor, next.values[ofNext]!]);
    fused[i] = undefined;
    fused[at] = { task: joined.task, values: { ...node.values, ...Object.fromEntries(more), out: next.values["out"]! }, layer: node.layer };
  }
  return fused.filter((node) => node !== undefined);
}
