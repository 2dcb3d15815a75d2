// A machine on which nothing was begun: looked at from inside, not asked of Skep.
import { expect } from "chai";
import type { LabNode } from "../../lab/node.ts";

/** What a machine that only runs writes by itself, and what somebody leaves who logs in and asks. */
const ownDoing = /^\/(var\/log|var\/lib\/systemd|var\/lib\/sudo|run\/(systemd|log|sudo|utmp|user))(\/|$)/;

/** By the machine's clock, to the nanosecond: what is given to expectUntouched. */
export async function momentOn(machine: LabNode): Promise<string> {
  return (await machine.run(["date", "+%s.%N"])).trim();
}

/** Every file that was made or changed on its disks and in its memory since that moment, but for what it does by itself. */
export async function changedSince(machine: LabNode, moment: string): Promise<string[]> {
  const places = ["/", "/tmp", "/run", "/dev/shm", "/var/lib/docker"];
  const found = await machine.run([
    "find",
    ...places,
    "-xdev",
    "-newerct",
    `@${moment}`,
    "-not",
    "-type",
    "d",
    "-print",
  ]);
  return found.split("\n").filter((path) => path !== "" && !ownDoing.test(path));
}

/** No kit, no file, no container, no volume, no swarm. */
export async function expectUntouched(machine: LabNode, moment: string): Promise<void> {
  expect(await changedSince(machine, moment)).to.deep.equal([]);
  expect((await machine.run(["docker", "ps", "--all", "--quiet"])).trim()).to.equal("");
  expect((await machine.run(["docker", "volume", "ls", "--quiet"])).trim()).to.equal("");
  expect((await machine.run(["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"])).trim()).to.equal("inactive");
  for (const path of ["/var/lib/skep-recovery", "/var/lib/docker/swarm/docker-state.json"])
    expect((await machine.exec(["test", "-e", path])).code, path).to.equal(1);
}
