/** The command line, common to both runners. */
import { parseArgs } from "node:util";
import type { AskedSettings } from "../measure/result.ts";
import { selectRows } from "../measure/rows.ts";

export const USAGE = `npm run bench -- [options]

  --adapter chromium|dawn   where the GPU rows run: in a page, with the peers (default), or in Node with Dawn
  --row NAME                one row, such as "fft 1024x64"
  --only TEXT               the rows with TEXT in their name, such as "fft" or "sikf"; several by commas
  --large                   also the rows that fill a large GPU: us alone; not on a software adapter
  --torch FILE              shows what bench/torch/bench_torch.py measured on the same GPU beside it
  --peers all|none|NAMES    which peers take part: names as in the tables, with commas (default: all)
  --rounds N                samples per competitor (default: 7)
  --quick                   three rounds of shorter samples, and less patience with slow peers
  --budget SECONDS          skips a peer that would take longer for one run; ends the samples of who took longer (default: 20)
  --rotate-bytes N          inputs and outputs rotate through N bytes (default: 512 MiB, and 16 MiB on a software adapter)
  --tuned                   tunes fastrpb before each row, where it can
  --prepare                 measures nothing: makes bench/dist
  --library FILE            another build of the library to measure (default: dist/fastrpb.js)
  --from FILE               measures nothing: shows the results in a file of bench/results
  --write                   puts the tables into bench/RESULTS.md`;

export interface Options {
  readonly adapter: string;
  readonly rows: readonly string[];
  readonly peers: string;
  readonly settings: AskedSettings;
  /** A file of bench/torch to show beside the results. */
  readonly torch: string | undefined;
  /** Only make bench/dist. */
  readonly prepare: boolean;
  readonly library: string | undefined;
  readonly from: string | undefined;
  readonly write: boolean;
}

/**
 * @returns `undefined` where the user asks for help
 * @throws Error with a message for the user
 */
export function parseOptions(args: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      adapter: { type: "string", default: "chromium" },
      row: { type: "string" },
      only: { type: "string" },
      large: { type: "boolean", default: false },
      torch: { type: "string" },
      peers: { type: "string", default: "all" },
      rounds: { type: "string" },
      quick: { type: "boolean", default: false },
      budget: { type: "string" },
      "rotate-bytes": { type: "string" },
      prepare: { type: "boolean", default: false },
      tuned: { type: "boolean", default: false },
      library: { type: "string" },
      from: { type: "string" },
      write: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  if (values.adapter !== "chromium" && values.adapter !== "dawn") throw new Error(`--adapter takes chromium or dawn, got "${values.adapter}"`);
  const rows = selectRows(values);
  if (rows.length === 0) throw new Error("no row has that name: see bench/measure/rows.ts");
  if (values.write && (values.row !== undefined || values.only !== undefined)) throw new Error("--write needs all rows: leave out --row and --only");
  const { quick } = values;
  return {
    adapter: values.adapter,
    rows: rows.map(({ name }) => name),
    peers: values.peers,
    settings: {
      rounds: number("rounds", values.rounds, quick ? 3 : 7),
      sampleMilliseconds: quick ? 10 : 30,
      budgetSeconds: number("budget", values.budget, quick ? 5 : 20),
      rotateBytes: values["rotate-bytes"] === undefined ? undefined : number("rotate-bytes", values["rotate-bytes"], 0),
      tuned: values.tuned,
    },
    prepare: values.prepare,
    torch: values.torch,
    library: values.library,
    from: values.from,
    write: values.write,
  };
}

function number(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!(value >= (name === "rotate-bytes" ? 0 : 1))) throw new Error(`--${name} takes a number, got "${text}"`);
  return value;
}
