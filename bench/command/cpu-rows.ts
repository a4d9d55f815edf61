/** The rows of the CPU backend, in this process. */
import type { Competitor } from "../measure/competitor.ts";
import { fastrpb } from "../measure/fastrpb.ts";
import type { Library } from "../measure/library.ts";
import type { RowResult, Settings } from "../measure/result.ts";
import { ROWS } from "../measure/rows.ts";
import { measureRows } from "../measure/session.ts";
import { CPU_PEERS, loadPeers } from "../peers/index.ts";
import type { Options } from "./options.ts";
import { rowLine } from "./tables.ts";

export interface CpuRows {
  readonly rows: readonly RowResult[];
  /** npm names of the peers that took part. */
  readonly packages: readonly string[];
}

export async function measureCpuRows(options: Options, library: Library, report: (line: string) => void): Promise<CpuRows> {
  const rows = ROWS.filter((row) => row.kind === "cpu-fft" && options.rows.includes(row.name));
  if (rows.length === 0) return { rows: [], packages: [] };
  const settings: Settings = { ...options.settings, rotateBytes: 0, warmUpMilliseconds: 0, tuned: false }; // one set of data: a CPU's FFT is meant to live in its caches
  const peers = await loadPeers(CPU_PEERS, options.peers, report);
  const competitors = [fastrpb({ library, gpu: undefined, tuned: false, profile: false }), ...peers];
  const results: RowResult[] = [];
  const done = (row: RowResult) => {
    results.push(row);
    report(rowLine(row));
  };
  await measureRows({ rows, competitors, settings, library, report, done });
  return { rows: results, packages: packagesOf(peers) };
}

export function packagesOf(competitors: readonly Competitor[]): string[] {
  return competitors.flatMap((competitor) => competitor.package ?? []);
}
