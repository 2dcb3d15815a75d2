// Makes the frozen vectors of one engine: node test/vectors/raft/make.ts bookworm|trixie|forky. Small directories as a real
// engine wrote them, of swarms that lived for seconds in the lab: all their keys are of no use to anybody.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { copyFrom, setAutolock, unlockKeyOf } from "../../e2e/raft-swarm.ts";
import { create, engineCall, fillSwarm, inspect, secretText } from "../../e2e/rich-swarm.ts";
import { encodeUnlockKey } from "../../../shared/raft/unlock-key.ts";
import { suites } from "../../lab/apt-sources.ts";
import { Lab } from "../../lab/lab.ts";
import { initSwarm } from "../../lab/swarm.ts";

const engine = suites.find((suite) => suite === process.argv[2]);
if (engine === undefined) throw new Error(`name one of ${suites.join(", ")}`);

const lab = await Lab.up({ nodes: 2, engine });
const staging = await mkdtemp(join(tmpdir(), "skep-vectors-"));
try {
  const [manager] = lab.nodes;
  if (manager === undefined) throw new Error("no node");
  await initSwarm(lab.nodes, { managers: 2 });
  await fillSwarm(manager);
  const { ServerVersion } = (await engineCall(manager, "GET", "/info")) as { ServerVersion: string };
  const version = /^\d+\.\d+/.exec(ServerVersion)?.[0] ?? ServerVersion;

  const save = async (name: string, unlockKey: Uint8Array | null): Promise<void> => {
    const copy = await copyFrom(manager, staging, () =>
      unlockKey === null ? Promise.reject(new Error("it is locked")) : Promise.resolve(unlockKey),
    );
    const folder = join(import.meta.dirname, `docker-${version}`, name);
    for (const file of copy.files) {
      await mkdir(dirname(join(folder, file.path)), { recursive: true });
      await writeFile(join(folder, file.path), Buffer.concat(await Array.fromAsync(file.content())));
    }
    const { commitIndex, lastIndex, snapshotIndex, term, locked, counts } = copy.proof;
    const facts = {
      engine: ServerVersion,
      unlockKey: unlockKey === null ? null : encodeUnlockKey(unlockKey),
      secret: { name: "db-password", text: secretText },
      proof: { commitIndex, lastIndex, snapshotIndex, term, locked, counts },
    };
    await writeFile(join(folder, "vector.json"), `${JSON.stringify(facts, null, 2)}\n`);
  };
  await save("log-only", null);

  const { Version, Spec } = await inspect(manager, "/swarm");
  const Raft = { ...(Spec["Raft"] as object), SnapshotInterval: 20 };
  await engineCall(manager, "POST", `/swarm/update?version=${Version.Index}`, { ...Spec, Raft });
  for (let number = 0; number < 30; number++) {
    await create(manager, "/configs/create", { Name: `later-${number}`, Data: "eA==" });
  }
  await save("snapshot", null);

  await setAutolock(manager, true);
  await save("locked", await unlockKeyOf(manager));
} finally {
  await lab.down();
  await rm(staging, { recursive: true });
}
