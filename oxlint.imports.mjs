// The import rules alone, written from their table; .oxlintrc.json has the other rules. It stands at the root, since Oxlint takes paths from here.
import { overrides } from "./scripts/import-rules.mjs";

export default { plugins: [], categories: { correctness: "off" }, ignorePatterns: ["dist", "dist-demo"], overrides: overrides() };
