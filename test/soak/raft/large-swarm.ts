// A swarm of many objects, whose settings are another than an engine's own.
import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { copiedFiles } from "../../../shared/raft/copied-file.ts";
import type { SwarmCopy } from "../../../shared/raft/copy.ts";
import { openSwarm } from "../../../shared/raft/open-swarm.ts";
import { swarmDirectory, until } from "../../e2e/raft-swarm.ts";
import { create, engineCall, fillSwarm, inspect } from "../../e2e/rich-swarm.ts";
import type { LabNode } from "../../lab/node.ts";
import { joinSwarm } from "../../lab/swarm.ts";
import type { Shape } from "./shapes.ts";

export const manyServices = 1000;
export const manySecrets = 200;
/** Objects that are made at a time; both numbers are multiples of it. */
const atOnce = 20;
/** Begins the names of those services and secrets, which nobody touches. */
export const untouched = "many-";

export async function makeLargeSwarm(managers: readonly LabNode[]): Promise<void> {
  const [first, ...others] = managers;
  if (first === undefined) throw new Error("no manager");
  await initSwarm(first);
  for (const node of others) await joinSwarm(node, first, "manager");
  await fillSwarm(first);
  await fillWithMany(first);
}

/** As initSwarm of the lab, but for the settings. */
async function initSwarm(first: LabNode): Promise<void> {
  await engineCall(first, "POST", "/swarm/init", {
    ListenAddr: "0.0.0.0:2377",
    AdvertiseAddr: first.address,
    DefaultAddrPool: ["10.96.0.0/12"],
    SubnetSize: 26,
    DataPathPort: 5789,
    Spec: {
      Dispatcher: { HeartbeatPeriod: 20e9 },
      Orchestration: { TaskHistoryRetentionLimit: 3 },
      CAConfig: { NodeCertExpiry: 40 * 24 * 3600e9 },
    },
  });
}

/** Puts the swarm into the shape's state, and waits until it is on every manager's disk. */
export async function prepare({ lock, disk }: Shape, managers: readonly LabNode[]): Promise<void> {
  const [first] = managers;
  if (first === undefined) throw new Error("no manager");
  const { Version, Spec } = await inspect(first, "/swarm");
  const Raft = { ...(Spec["Raft"] as object), SnapshotInterval: disk === "log" ? 100_000 : 60 };
  const EncryptionConfig = { AutoLockManagers: lock === "rotated" };
  await engineCall(first, "POST", `/swarm/update?version=${Version.Index}`, { ...Spec, Raft, EncryptionConfig });
  for (const node of managers) {
    const keyFile = node.hostPath(`${swarmDirectory}/certificates/swarm-node.key`);
    await until(`the key file of ${node.name} is ${lock === "rotated" ? "locked" : "in clear"}`, async () => {
      return (await readFile(keyFile, "latin1")).includes("ENCRYPTED") === (lock === "rotated");
    });
  }
}

const secretOf = (number: number): Buffer => Buffer.from(`secret ${number} ${"y".repeat(number * 7)}`);

async function fillWithMany(node: LabNode): Promise<void> {
  const make = async (count: number, one: (number: number) => Promise<unknown>): Promise<void> => {
    for (let number = 0; number < count; number += atOnce) {
      await Promise.all(Array.from({ length: atOnce }, (_, more) => one(number + more)));
    }
  };
  await make(manyServices, (number) =>
    create(node, "/services/create", {
      Name: `${untouched}${number}`,
      TaskTemplate: {
        ContainerSpec: { Image: "many", Env: [`NUMBER=${number}`, `PADDING=${"x".repeat(number % 500)}`] },
      },
      Mode: { Replicated: { Replicas: 0 } },
    }),
  );
  await make(manySecrets, (number) => {
    const Data = secretOf(number).toString("base64");
    return create(node, "/secrets/create", { Name: `${untouched}${number}`, Data });
  });
}

/** Each of the many secrets is in the copy, with what was put into it. */
export async function checkSecrets(copy: SwarmCopy): Promise<void> {
  const swarm = await openSwarm(copiedFiles(copy.files), { unlockKey: copy.unlockKey });
  const many = swarm.list("secret").filter(({ name }) => name.startsWith(untouched));
  expect(many.length).to.equal(manySecrets);
  for (const { id, name } of many) {
    const { Spec } = swarm.get("secret", id, true) as { Spec: { Data: string } };
    expect(Buffer.from(Spec.Data, "base64").equals(secretOf(Number(name.slice(untouched.length)))), name).to.equal(
      true,
    );
  }
}
