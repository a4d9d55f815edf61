/** The page: measures the GPU rows of fastrpb and its peers. The runner (chromium.mjs) starts it and listens. */
import { adapterFacts, type AdapterFacts, settingsFor, suitedRows } from "../measure/adapter.ts";
import { measureCopy } from "../measure/copy.ts";
import { fastrpb } from "../measure/fastrpb.ts";
import { loadLibrary } from "../measure/library.ts";
import type { AskedSettings, CopyBandwidth, RowResult, Settings } from "../measure/result.ts";
import { ROWS } from "../measure/rows.ts";
import { measureRows } from "../measure/session.ts";
import { BROWSER_PEERS, loadPeers } from "../peers/index.ts";

/** What the runner asks for. */
export interface PageRequest {
  /** Address of the library's module. */
  readonly library: string;
  readonly rows: readonly string[];
  readonly peers: string;
  readonly settings: AskedSettings;
}

export interface PageStart {
  readonly adapter: AdapterFacts;
  readonly copy: CopyBandwidth;
  readonly settings: Settings;
  /** npm names of the peers that took part. */
  readonly packages: readonly string[];
}

declare global {
  interface Window {
    measure?: (request: PageRequest) => Promise<PageStart>;
    /** The runner's. */
    report: (line: string) => void;
    done: (row: RowResult) => void;
  }
}

window.measure = async (request) => {
  const library = await loadLibrary(request.library);
  const adapter = await adapterFacts(navigator.gpu);
  const copy = await measureCopy(navigator.gpu, adapter.copyBytes);
  const settings = settingsFor(request.settings, adapter);
  const report = (line: string) => window.report(line);
  report(`${adapter.description}; copies ${copy.kernel.toFixed(1)} GB/s by kernel, ${copy.buffer.toFixed(1)} GB/s by copyBufferToBuffer`);
  const own = fastrpb({ library, gpu: navigator.gpu, tuned: settings.tuned, profile: false });
  const peers = await loadPeers(BROWSER_PEERS, request.peers, report);
  const asked = ROWS.filter(({ kind, name }) => kind !== "cpu-fft" && request.rows.includes(name));
  const rows = suitedRows(asked, adapter, report);
  await measureRows({ rows, competitors: [own, ...peers], settings, library, report, done: (row) => window.done(row) });
  return { adapter, copy, settings, packages: peers.flatMap((peer) => peer.package ?? []) };
};
