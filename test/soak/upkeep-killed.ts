// A process that forgets and prunes, or compacts, and kills itself at the nth write; what it needs comes as JSON on stdin.
import { text } from "node:stream/consumers";
import { openDirectory } from "../../shared/store/directory.ts";
import { dyingStore } from "../shared/repository/upkeep/dying-store.ts";
import { compact } from "../../shared/repository/open/compact.ts";
import { compactOptions, type Whole } from "../shared/repository/upkeep/compact-work.ts";
import { forgetAndPrune } from "../shared/repository/upkeep/upkeep-work.ts";

interface Given {
  path: string;
  made: Whole["made"];
  goneRuns: string[];
  nth: number;
  before: boolean;
  act: "prune" | "compact";
}

const { path, made, goneRuns, nth, before, act } = JSON.parse(await text(process.stdin)) as Given;
const store = dyingStore(openDirectory(path), nth, before, () => {
  process.kill(process.pid, "SIGKILL");
  // The signal comes before this is over.
  for (;;);
});
if (act === "prune") await forgetAndPrune({ store, made }, goneRuns);
else await compact({ ...(await compactOptions({ store, made })), exclusive: true });
