import { X509Certificate } from "node:crypto";

import { expect } from "chai";

import type { Docker } from "../../../agent/docker.ts";
import { reconcileHolds } from "../../../agent/quiesce/reconcile.ts";
import { encodeHoldRecord, holdLabels } from "../../../shared/contract/hold-record.ts";
import type { SpecJson } from "../../../shared/held-spec.ts";
import { SkepError } from "../../../shared/errors.ts";
import { engineJson } from "../../../shared/raft/engine-api/objects.ts";
import { heldConstraint } from "../../../shared/raft/hold.ts";
import { decodeKeyFile, isLocked } from "../../../shared/raft/key-file.ts";
import type { ObjectStore } from "../../../shared/raft/object-store.ts";
import { readSwarm } from "../../../shared/raft/read-swarm.ts";
import { rebaseSwarm, type RebasedSwarm, type RebaseOptions } from "../../../shared/raft/rebase.ts";
import { sealRecord } from "../../../shared/raft/sealed-record.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import {
  decodeMessage,
  encodeMessage,
  type Message,
  type MessageInit,
} from "../../../shared/raft/swarmkit/message-types.ts";
import { clusterId, dek, member, plainWal, request, syntheticCertificates, syntheticSwarm } from "./synthetic-swarm.ts";

type Objects = Parameters<typeof request>[1];

const now = Date.now();

async function rebased(objects: Objects, options: Partial<RebaseOptions> = {}, action = 1): Promise<RebasedSwarm> {
  const wal = plainWal(6)
    .entry(7, sealRecord(request(7, objects, action), dek))
    .state(7);
  const swarm = await syntheticSwarm(wal.finish());
  const certificates = await syntheticCertificates();
  return rebaseSwarm(
    await readSwarm(memoryFiles(swarm)),
    {
      node: certificates.get("certificates/swarm-node.crt") ?? new Uint8Array(),
      root: certificates.get("certificates/swarm-root-ca.crt") ?? new Uint8Array(),
    },
    { advertiseAddress: "10.9.8.7", now, ...options },
  );
}

function text(swarm: RebasedSwarm, path: string): string {
  return Buffer.from(swarm.files.find((file) => file.path === path)?.bytes ?? []).toString();
}

const task = (id: string, serviceId: string, state: number): Objects[number] => ({
  case: "task",
  value: { id, serviceId, status: { state } },
});

/** What an engine's API says of a state, as far as agents ask it that look after holds. */
class StateEngine {
  readonly updated: string[] = [];
  readonly #store: ObjectStore;
  constructor(store: ObjectStore) {
    this.#store = store;
  }
  #list(kind: "config" | "service"): Record<string, unknown>[] {
    const all = [...this.#store.objects[kind].values()];
    return all.map((bytes) => JSON.parse(JSON.stringify(engineJson(kind, bytes, true))) as Record<string, unknown>);
  }
  configs(): Promise<Record<string, unknown>[]> {
    return Promise.resolve(this.#list("config"));
  }
  service(id: string): Promise<Record<string, unknown> | null> {
    return Promise.resolve(this.#list("service").find(({ ID }) => ID === id) ?? null);
  }
  updateService(id: string): Promise<void> {
    this.updated.push(id);
    return Promise.resolve();
  }
  relabelConfig(): Promise<void> {
    return Promise.resolve();
  }
  removeConfig(): Promise<void> {
    return Promise.resolve();
  }
}

type Mode = NonNullable<MessageInit<Message<"ServiceSpec">>["mode"]>;

/** A service that Skep's hold stopped, its deadline over, and the hold's record. */
function heldInCopy(mode: "replicated" | "global", updateStatus: object): Objects {
  const annotations = { name: "db" };
  const container = { case: "container" as const, value: { image: "db:1" } };
  const meta = { version: { index: 5n } };
  const replicated = (replicas: bigint): Mode => ({ case: "replicated", value: { replicas } });
  const global: Mode = { case: "global", value: {} };
  const formerMode = mode === "global" ? global : replicated(3n);
  const heldMode = mode === "global" ? global : replicated(0n);
  const constraints = mode === "global" ? [heldConstraint] : [];
  const former = { annotations, task: { runtime: container }, mode: formerMode };
  const held = { annotations, task: { runtime: container, placement: { constraints } }, mode: heldMode };
  const service = { id: "s", meta, spec: held, previousSpec: former, updateStatus };
  const bytes = encodeMessage("Service", { id: "s", spec: former });
  const record = encodeHoldRecord({
    ...{ version: 1, holdId: "abcdefghijkl", serviceId: "s", previous: null, updateStatus: null, serviceVersion: 4 },
    former: JSON.parse(JSON.stringify(engineJson("service", bytes, true)["Spec"])) as SpecJson,
    deadlineAt: "2026-11-21T03:30:00.000Z",
  });
  const labels = { [holdLabels.hold]: "abcdefghijkl", [holdLabels.service]: "s", [holdLabels.version]: "5" };
  const config = { id: "c", meta, spec: { annotations: { name: "record", labels }, data: record } };
  return [
    { case: "service", value: service },
    { case: "config", value: config },
  ];
}

describe("a rebased swarm", () => {
  it("has this manager alone, at the new address, with every object as it was", async () => {
    const swarm = await rebased([{ case: "config", value: { id: "x" } }]);
    expect([...swarm.state.membership.members.values()]).to.deep.equal([{ ...member, addr: "10.9.8.7:2377" }]);
    expect(swarm.state.member.addr).to.equal("10.9.8.7:2377");
    expect(swarm.state.proof).to.include({ snapshotIndex: 7, commitIndex: 7, lastIndex: 7, entries: 0 });
    expect(swarm.state.store.objects.config.size).to.equal(5);
    expect(swarm.files.map(({ path, mode }) => `${path} ${mode.toString(8)}`)).to.deep.equal([
      "certificates/swarm-root-ca.crt 644",
      "certificates/swarm-node.key 600",
      "certificates/swarm-node.crt 644",
      "raft/snap-v3-encrypted/0000000000000002-0000000000000007.snap 600",
      "raft/wal-v3-encrypted/0000000000000000-0000000000000000.wal 600",
      "state.json 600",
      "docker-state.json 600",
    ]);
    expect(JSON.parse(text(swarm, "state.json"))).to.deep.equal([{ node_id: member.nodeId, addr: "10.9.8.7:2377" }]);
  });

  it("keeps the cluster's address pool and data path port in what the engine starts from", async () => {
    const cluster = { id: clusterId, defaultAddressPool: ["10.123.0.0/16"], subnetSize: 26, vxlanudpport: 4790 };
    const swarm = await rebased([{ case: "cluster", value: cluster }], { advertiseAddress: "fd00::7" }, 2);
    expect(JSON.parse(text(swarm, "docker-state.json"))).to.deep.equal({
      LocalAddr: "fd00::7",
      RemoteAddr: "",
      ListenAddr: "[::]:2377",
      AdvertiseAddr: "[fd00::7]:2377",
      DataPathAddr: "",
      DefaultAddressPool: ["10.123.0.0/16"],
      SubnetSize: 26,
      DataPathPort: 4790,
      JoinInProgress: false,
    });
  });

  it("holds chosen services: replicas zero, or a constraint; tasks gone, but not a job's ended ones", async () => {
    const running = 512;
    const complete = 576;
    const swarm = await rebased(
      [
        {
          case: "service",
          value: { id: "r", spec: { task: {}, mode: { case: "replicated", value: { replicas: 3n } } } },
        },
        { case: "service", value: { id: "g", spec: { task: {}, mode: { case: "global", value: {} } } } },
        { case: "service", value: { id: "j", spec: { task: {}, mode: { case: "replicatedJob", value: {} } } } },
        {
          case: "service",
          value: { id: "free", spec: { task: {}, mode: { case: "replicated", value: { replicas: 2n } } } },
        },
        task("t1", "r", running),
        task("t2", "g", running),
        task("t3", "j", running),
        task("t4", "j", complete),
        task("t5", "free", running),
      ],
      { hold: ({ id }) => id !== "free" },
    );
    expect(swarm.held.map(({ id, mode }) => `${id} ${mode}`)).to.deep.equal([
      "r replicated",
      "g global",
      "j replicatedJob",
    ]);
    expect(swarm.held[0]?.spec["Mode"]).to.deep.equal({ Replicated: { Replicas: 3 } });
    expect(JSON.stringify(swarm.held)).not.to.contain(heldConstraint);
    const { service, task: tasks } = swarm.state.store.objects;
    const spec = (id: string) => decodeMessage("Service", service.get(id) ?? new Uint8Array()).spec;
    expect(spec("r")?.mode).to.deep.include({ case: "replicated" });
    expect(spec("r")?.mode.value).to.include({ replicas: 0n });
    expect(spec("free")?.mode.value).to.include({ replicas: 2n });
    for (const id of ["g", "j"]) expect(spec(id)?.task?.placement?.constraints).to.deep.equal([heldConstraint]);
    expect([...tasks.keys()]).to.have.members(["t4", "t5"]);
  });

  it("keeps a service held that Skep held in the copy: no agent takes that hold for one to end", async () => {
    for (const mode of ["replicated", "global"] as const) {
      const rollback = { state: 6 };
      const swarm = await rebased(heldInCopy(mode, rollback), { hold: () => true });
      expect(swarm.undone.map(({ name }) => name)).to.deep.equal(["db"]);
      expect(swarm.held.map(({ name }) => name)).to.deep.equal(["db"]);
      if (mode === "replicated") expect(swarm.held[0]?.spec["Mode"]).to.deep.equal({ Replicated: { Replicas: 3 } });
      else expect(JSON.stringify(swarm.held)).not.to.contain(heldConstraint);

      const engine = new StateEngine(swarm.state.store);
      const done = await reconcileHolds(engine as unknown as Docker, now, new AbortController().signal);
      expect(done).to.deep.equal({ released: [], rolledBack: [], faults: [] });
      expect(engine.updated, mode).to.deep.equal([]);
    }
  });

  it("makes an ended certificate anew, for the same key and names", async () => {
    const caKey = Buffer.from((await syntheticCertificates()).get("test/root.key") ?? []);
    const caCert = Buffer.from((await syntheticCertificates()).get("certificates/swarm-root-ca.crt") ?? []);
    const later = now + 400 * 24 * 3600 * 1000;
    const cluster: Objects[number] = { case: "cluster", value: { id: clusterId, rootCa: { caKey, caCert } } };
    const swarm = await rebased([cluster], { now: later }, 2);
    expect(swarm.certificateReissued).to.equal(true);
    const made = new X509Certificate(text(swarm, "certificates/swarm-node.crt"));
    expect(made.subject).to.equal(`O=${clusterId}\nOU=swarm-manager\nCN=${member.nodeId}`);
    expect(made.subjectAltName).to.equal(`DNS:swarm-manager, DNS:${member.nodeId}, DNS:swarm-ca`);
    expect(made.validToDate.getTime() - later).to.be.closeTo(90 * 24 * 3600 * 1000, 2000);

    const external: Objects[number] = { case: "cluster", value: { id: clusterId, rootCa: { caCert } } };
    const failure = await rebased([external], { now: later }, 2).catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(SkepError).and.include({ code: "SKEP_RAFT_REISSUE" });
  });

  it("refuses what is no address", async () => {
    for (const advertiseAddress of ["", "node1", "10.0.0.1:2377", "10.0.0.300"]) {
      const failure = await rebased([], { advertiseAddress }).catch((error: unknown) => error);
      expect(failure, advertiseAddress).to.be.instanceOf(SkepError).and.include({ code: "SKEP_RAFT_ADDRESS" });
    }
  });

  it("writes the key file in clear, with a version below every cluster's", async () => {
    const key = decodeKeyFile(Buffer.from(text(await rebased([]), "certificates/swarm-node.key")));
    expect(isLocked(key)).to.equal(false);
    expect(key.headers.get("kek-version")).to.equal("0");
  });
});
