/** Prints the GPU rows as JSON, for other programs that measure the same: `node bench/dist/command/list-rows.js`. */
import { ROWS } from "../measure/rows.ts";

console.log(JSON.stringify(ROWS.filter((row) => row.kind !== "cpu-fft")));
