// A swarm in one file, made and brought back by the command itself, on the engines that the end-to-end tests have no time for.
import { suites } from "../lab/apt-sources.ts";
import { describeSwarmFile } from "../e2e/swarm-file-suite.ts";

for (const engine of suites.filter((suite) => suite !== "bookworm")) describeSwarmFile(engine);
