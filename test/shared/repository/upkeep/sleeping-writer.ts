// A process that takes one node's snapshot, to be suspended while it does; what it needs comes as JSON on stdin, what
// it made goes to stdout as the controller would hear it.
import { text } from "node:stream/consumers";
import { openDirectory } from "../../../../shared/store/directory.ts";
import { takeSnapshot, type Home, type Node } from "./repository-of-runs.ts";

interface Given {
  storePath: string;
  made: Home["made"];
  node: Node;
  runId: string;
}

const { storePath, made, node, runId } = JSON.parse(await text(process.stdin)) as Given;
const store = openDirectory(storePath);
process.stdout.write("begun\n");
const result = await takeSnapshot({ store, made }, node, runId);
process.stdout.write(`${JSON.stringify(result)}\n`);
