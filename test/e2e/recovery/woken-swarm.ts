// A swarm that was rebuilt elsewhere, whose own machine comes to life again with all that it had: its Docker state, its
// controller and its agent with their keys, and the credentials of the store.
import { expect } from "chai";
import type { LabNode } from "../../lab/node.ts";
import type { Cluster } from "../cluster.ts";
import { until } from "./application.ts";

/** A line for each object of the bucket: what it is called, how large it is and when it was written. */
export async function objectsOf(cluster: Cluster): Promise<string[]> {
  const store = await cluster.openStore();
  try {
    const lines: string[] = [];
    for await (const object of store.list("")) lines.push(JSON.stringify(object));
    return lines;
  } finally {
    await store.close();
  }
}

/** Switches it on, unlocks its swarm, and waits until its controller has ended. What that said last. */
export async function wakeLocked(machine: LabNode, unlockKey: string): Promise<string> {
  await machine.start();
  const moment = (await machine.run(["date", "+%s"])).trim();
  await machine.run(["docker", "swarm", "unlock"], { input: `${unlockKey.trim()}\n` });
  return await fencedController(machine, moment);
}

/** What the controller of a swarm's one machine said last, once it said that the repository is not its own any more. */
export async function fencedController(machine: LabNode, since: string): Promise<string> {
  let said = "";
  await until("the dead swarm's controller ends", async () => {
    const label = "label=com.docker.swarm.service.name=skep_controller";
    const ids = await machine.run(["docker", "ps", "--all", "--quiet", "--filter", "status=exited", "--filter", label]);
    for (const id of ids.split("\n").filter((line) => line !== "")) {
      const { stdout, stderr } = await machine.exec(["docker", "logs", "--since", since, id]);
      said = `${stdout}${stderr}`.split("\n").find((line) => line.includes("SKEP_REPOSITORY_FENCED")) ?? said;
    }
    return said !== "";
  });
  return said;
}

/** Not by itself, and not by hand with its key. `before`: of objectsOf. */
export async function expectWrittenNothing(cluster: Cluster, before: readonly string[]): Promise<void> {
  await expectKeyRefused(cluster);
  expect(await objectsOf(cluster)).to.deep.equal(before);
}

/** As expectWrittenNothing, but for data of runs that were never written: a prune collects it. */
export async function expectCountedNothing(cluster: Cluster, before: readonly string[]): Promise<void> {
  await expectKeyRefused(cluster);
  const now = await objectsOf(cluster);
  expect(now).to.include.members([...before]);
  const data = /^\{"key":"(packs|index|manifests|refs|archives)\//;
  expect(now.filter((line) => !before.includes(line) && !data.test(line))).to.deep.equal([]);
}

async function expectKeyRefused(cluster: Cluster): Promise<void> {
  for (const argv of [
    ["prune", "--yes"],
    ["forget", "--keep", "last=1", "--yes"],
  ]) {
    const { code, stderr } = await cluster.skep(argv, { tolerant: true });
    expect(code, stderr).to.equal(12);
    expect(stderr).to.contain("SKEP_CONTROLLER_KEY_DOES_NOT_FIT");
  }
}
