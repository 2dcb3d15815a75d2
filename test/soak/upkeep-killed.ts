// A process that forgets and prunes, and kills itself at the nth write; what it needs comes as JSON on stdin.
import { text } from "node:stream/consumers";
import { openDirectory } from "../../shared/store/directory.ts";
import { dyingStore } from "../shared/repository/upkeep/dying-store.ts";
import type { Home } from "../shared/repository/upkeep/repository-of-runs.ts";
import { forgetAndPrune } from "../shared/repository/upkeep/upkeep-work.ts";

interface Given {
  path: string;
  made: Home["made"];
  goneRuns: string[];
  nth: number;
  before: boolean;
}

const { path, made, goneRuns, nth, before } = JSON.parse(await text(process.stdin)) as Given;
const store = dyingStore(openDirectory(path), nth, before, () => {
  process.kill(process.pid, "SIGKILL");
  // The signal comes before this is over.
  for (;;);
});
await forgetAndPrune({ store, made }, goneRuns);
