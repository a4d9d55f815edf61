/** The planner with all its parts, for who plans without loading: tests. The library takes planners.ts. */
import { loadParts, PART_NAMES } from "./parts.ts";

await loadParts("planProgram", PART_NAMES);

export { planProgram } from "./planners.ts";
