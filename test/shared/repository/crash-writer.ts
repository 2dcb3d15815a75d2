// A process that writes one snapshot and is killed while it does; the place comes as JSON on stdin.
import { text } from "node:stream/consumers";
import { openDirectory } from "../../../shared/store/directory.ts";
import { backUp, type Place } from "./snapshots.ts";

const { storePath, ...rest } = JSON.parse(await text(process.stdin)) as Omit<Place, "store" | "remove">;
const store = openDirectory(storePath);
process.stdout.write("begun\n");
await backUp({ ...rest, storePath, store, remove: () => store.close() });
