/** Setup of the unit tests: they plan without loading, as every part of the planner is there. */
import { loadParts, PART_NAMES } from "../operations/parts.ts";

await loadParts("tests", PART_NAMES);
