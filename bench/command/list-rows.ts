/** Prints the GPU rows as JSON, for other programs that measure the same: `node bench/dist/command/list-rows.js [options]`. */
import { ROWS } from "../measure/rows.ts";
import { parseOptions } from "./options.ts";

const chosen = parseOptions(process.argv.slice(2))?.rows ?? [];
console.log(JSON.stringify(ROWS.filter(({ kind, name }) => kind !== "cpu-fft" && chosen.includes(name))));
