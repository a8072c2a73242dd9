/* In Node: node phoenix_client.mjs URL TRANSPORT SCENARIO [PACKAGE]. Exits 0 if all was as promised. */

import { run } from "./phoenix_scenarios.mjs";

const [url, transport, scenario, name = "phoenix"] = process.argv.slice(2);
const found = await import(name);
await run(found.default ?? found, url, transport, scenario);
process.exit(0);
