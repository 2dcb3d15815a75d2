// A process that backs one node's volume up as a run, killed by test/soak/killed-at-step.ts while it does; what it needs comes
// as JSON on stdin.
import { text } from "node:stream/consumers";
import { openDirectory } from "../../../../shared/store/directory.ts";
import { backUpRun, type Home, type Node } from "./repository-of-runs.ts";

const { path, made, node } = JSON.parse(await text(process.stdin)) as { path: string; made: Home["made"]; node: Node };
await backUpRun({ store: openDirectory(path), made }, node);
