/** Measures rows, one after the other; within a row all competitors in turn, round after round, so that drift hits all alike. */
import { Budget } from "./budget.ts";
import type { Competitor, Data } from "./competitor.ts";
import { Entrant } from "./entrant.ts";
import { kindOf, lastOf } from "./kinds.ts";
import type { Library } from "./library.ts";
import type { RowResult, Settings } from "./result.ts";
import type { Row } from "./rows.ts";

/** Enough to leave any cache, and not more buffers than a browser likes. */
const MOST_COPIES = 1024;

export interface Session {
  readonly rows: readonly Row[];
  readonly competitors: readonly Competitor[];
  readonly settings: Settings;
  /** Its CPU backend, which works in float64, computes the exact results. */
  readonly library: Library;
  /** Takes a line about what goes on. */
  report(line: string): void;
  /** Takes each row when it is done. */
  done(row: RowResult): void;
}

export async function measureRows(session: Session): Promise<void> {
  const budget = new Budget(session.settings.budgetSeconds);
  for (const row of session.rows) session.done(await measureRow(session, row, budget));
}

async function measureRow(session: Session, row: Row, budget: Budget): Promise<RowResult> {
  const { settings, report } = session;
  const kind = kindOf(row);
  const data = await kind.data(row, session.library);
  const copies = copiesOf(row, data, settings.rotateBytes);
  const takesPart = (competitor: Competitor) => competitor.supports(row) && (!row.large || competitor.package === undefined);
  const entrants = session.competitors.filter(takesPart).map((competitor) => new Entrant(competitor, row, settings));
  let exact: Promise<Float32Array> | undefined;
  const expected = row.unchecked ? undefined : () => (exact ??= exactResult(session.library, row, data));
  for (const entrant of entrants) {
    await entrant.enter(data, copies, expected, budget, session.library);
    report(`${row.name}: ${entrant.status}`);
  }
  for (const entrant of entrants) await entrant.warmUp();
  for (let round = 0; round < settings.rounds; round++) {
    for (let i = 0; i < entrants.length; i++) await entrants[(round + i) % entrants.length]!.turn();
  }
  const entries = [];
  for (const entrant of entrants) entries.push(await entrant.leave());
  const flops = kind.flops?.(row);
  return { name: row.name, kind: row.kind, ...(flops !== undefined && { flops }), entries };
}

/** How many sets of inputs it takes to touch `rotateBytes` before one comes round again. */
function copiesOf(row: Row, data: Data, rotateBytes: number): number {
  if (kindOf(row).heavy) return 1;
  const inputs = Object.values(data).reduce((bytes, array) => bytes + array.byteLength, 0);
  const workingSet = inputs + 4 * kindOf(row).outputLength(row);
  return Math.min(MOST_COPIES, Math.max(1, Math.ceil(rotateBytes / workingSet)));
}

/** The last of the batch; all of it where that is not much. */
async function exactResult(library: Library, whole: Row, all: Data): Promise<Float32Array> {
  const { row, data } = lastOf(whole, all);
  const runtime = await library.createRuntime({ backend: "cpu" });
  const plan = await kindOf(row).open(runtime, row, library);
  const output = plan.output();
  plan.load(data).run(output);
  const result = await output.data();
  runtime.dispose();
  return result;
}
