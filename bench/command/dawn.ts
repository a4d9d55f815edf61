/**
 * The runner in Node with Dawn, no browser: `node bench/dist/command/dawn.js [options]`. It needs bench/dist, the npm package `webgpu`
 * and a Vulkan, Metal or D3D12 driver, nothing else, so that the folder can be copied to a machine with a GPU.
 */
import { pathToFileURL } from "node:url";
import { create, globals } from "webgpu";
import { adapterFacts, settingsFor, suitedRows } from "../measure/adapter.ts";
import { measureCopy } from "../measure/copy.ts";
import { fastrpb } from "../measure/fastrpb.ts";
import { loadLibrary } from "../measure/library.ts";
import type { RowResult } from "../measure/result.ts";
import { ROWS } from "../measure/rows.ts";
import { measureRows } from "../measure/session.ts";
import { loadPeers, NODE_PEERS } from "../peers/index.ts";
import { measureCpuRows, packagesOf } from "./cpu-rows.ts";
import { describeMachine } from "./machine.ts";
import { type Options, parseOptions, USAGE } from "./options.ts";
import { readTorch, saveResult, showResult } from "./save.ts";
import { rowLine } from "./tables.ts";

// By default Dawn rounds timestamps to 0.1 ms.
const DAWN_OPTIONS = ["disable-dawn-features=timestamp_quantization"];

// Dawn lives in a global: were it garbage-collected, the process would crash.
const dawn = create(DAWN_OPTIONS);
Object.assign(globalThis, globals, { benchDawn: dawn });
Object.defineProperty(globalThis, "navigator", { value: { gpu: dawn, userAgent: "Node" }, configurable: true }); // where peers look

try {
  const options = parseOptions(process.argv.slice(2));
  if (options) await main(options);
  else console.log(USAGE);
  process.exit(0); // Dawn's threads would keep the process alive
} catch (error) {
  console.error(error);
  process.exit(1);
}

async function main(options: Options): Promise<void> {
  const report = (line: string) => console.log(line);
  const file = options.library ? pathToFileURL(options.library) : new URL("../fastrpb.js", import.meta.url);
  const library = await loadLibrary(file.href);
  const adapter = await adapterFacts(dawn);
  const copy = await measureCopy(dawn, adapter.copyBytes);
  report(`${adapter.description}; copies ${copy.kernel.toFixed(1)} GB/s by kernel, ${copy.buffer.toFixed(1)} GB/s by copyBufferToBuffer`);
  const settings = settingsFor(options.settings, adapter);
  const peers = await loadPeers(NODE_PEERS, options.peers, report);
  const competitors = [fastrpb({ library, gpu: dawn, tuned: settings.tuned, profile: true }), ...peers];
  const asked = ROWS.filter((row) => row.kind !== "cpu-fft" && options.rows.includes(row.name));
  const rows = suitedRows(asked, adapter, report);
  const results: RowResult[] = [];
  const done = (row: RowResult) => {
    results.push(row);
    report(rowLine(row));
  };
  await measureRows({ rows, competitors, settings, library, report, done });
  const cpu = await measureCpuRows(options, library, report);
  const machine = describeMachine("dawn", `Node ${process.versions.node} with Dawn`, adapter.description, [...packagesOf(peers), ...cpu.packages]);
  const result = {
    date: new Date().toISOString(),
    machine,
    settings,
    copy,
    rows: [...results, ...cpu.rows],
    ...(options.torch !== undefined && { torch: readTorch(options.torch) }),
  };
  saveResult(result);
  showResult(result, options.write);
}
