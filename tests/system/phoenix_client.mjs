/* In Node: node phoenix_client.mjs URL TRANSPORT SCENARIO. Exits 0 if all was as promised. */

import * as phoenix from "phoenix";
import { run } from "./phoenix_scenarios.mjs";

const [url, transport, scenario] = process.argv.slice(2);
await run(phoenix, url, transport, scenario);
process.exit(0);
