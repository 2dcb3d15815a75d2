// What goes wrong at a user's place, done for real: every fault ends with a code, a message that names the thing and the
// place, and a hint; no secret is ever printed; and when the fault is gone nothing was lost.
import { damagedStore } from "./bad-input/damaged-store.ts";
import { fullDisks } from "./bad-input/full-disks.ts";
import { Host } from "./bad-input/host.ts";
import { sources } from "./bad-input/sources.ts";
import { storeAccess } from "./bad-input/store-access.ts";
import { wrongFiles } from "./bad-input/wrong-files.ts";

describe("bad input", function () {
  let host: Host;
  before(async () => {
    host = await Host.up();
  });
  after(() => host.down());
  const faults: Readonly<Record<string, (getHost: () => Host) => void>> = {
    "files of the operator": wrongFiles,
    "the way to the store": storeAccess,
    "full disks": fullDisks,
    "volumes that are read": sources,
    "a damaged store": damagedStore,
  };
  for (const [name, define] of Object.entries(faults)) {
    describe(name, () => {
      define(() => host);
    });
  }
});
