import { describeSwarmFile } from "./swarm-file-suite.ts";

describeSwarmFile("bookworm");
