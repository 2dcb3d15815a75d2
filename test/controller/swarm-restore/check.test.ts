import { expect } from "chai";
import { checkRestored, type RestoreCheck } from "../../../controller/swarm-restore/check.ts";
import type { SwarmHost } from "../../../controller/swarm-restore/host.ts";
import { engineJson } from "../../../shared/raft/engine-api/objects.ts";
import { ObjectStore, type ObjectKind } from "../../../shared/raft/object-store.ts";
import type { SwarmState } from "../../../shared/raft/read-swarm.ts";
import { encodeMessage, type Message, type MessageInit } from "../../../shared/raft/swarmkit/message-types.ts";

type Answers = Record<string, unknown>;

const settings: MessageInit<Message<"Cluster">> = {
  id: "c",
  spec: { annotations: { name: "default" } },
  rootCa: { caCert: Buffer.from("root"), joinTokens: { worker: "SWMTKN-w", manager: "SWMTKN-m" } },
  defaultAddressPool: ["10.77.0.0/16"],
  subnetSize: 26,
  vxlanudpport: 4790,
};

function stateOf(cluster: MessageInit<Message<"Cluster">>): SwarmState {
  const store = new ObjectStore();
  store.objects.cluster.set("c", encodeMessage("Cluster", cluster));
  const spec = { annotations: { name: "disk" }, driver: { name: "csi" } };
  store.objects.volume.set("v", encodeMessage("Volume", { id: "v", spec }));
  const previousSpec = { annotations: { name: "web" } };
  store.objects.service.set("s", encodeMessage("Service", { id: "s", spec: previousSpec, previousSpec }));
  return { store } as SwarmState;
}

/** What an engine says that has the state; `change` is made to it. */
async function check(state: SwarmState, change: (answers: Answers) => void = () => undefined): Promise<RestoreCheck> {
  const shown = (kind: ObjectKind): Record<string, unknown>[] => {
    const all = [...state.store.objects[kind].values()].map((bytes) => engineJson(kind, bytes, true));
    return JSON.parse(JSON.stringify(all)) as Record<string, unknown>[];
  };
  const volumes = shown("volume").map(({ Name, Driver, ...ClusterVolume }) => ({ Name, Driver, ClusterVolume }));
  const answers: Answers = {
    ...{ "/nodes": [], "/networks": [], "/secrets": [], "/configs": [], "/services": shown("service") },
    "/swarm": { ...shown("cluster")[0], ManagerStatus: null },
    "/volumes": { Volumes: [{ Name: "local", Driver: "local" }, ...volumes] },
  };
  change(answers);
  const askEngine: SwarmHost["askEngine"] = ({ path }) => Promise.resolve(answers[path]);
  return await checkRestored(state, { askEngine } as SwarmHost, new AbortController().signal);
}

describe("what the engine says after a restore", () => {
  it("is compared by cluster volumes and by the cluster's settings too", async () => {
    const { compared, differences } = await check(stateOf(settings));
    expect(differences).to.deep.equal([]);
    expect(compared).to.include({ cluster: 1, volume: 1, service: 1 });
  });

  it("is equal on engines that show a default of which the copy says nothing, and differs where that was set", async () => {
    const state = stateOf(settings);
    const spec = {
      annotations: { name: "web" },
      task: { runtime: { case: "container" as const, value: { image: "web:1", privileges: {} } } },
    };
    state.store.objects.service.set("s", encodeMessage("Service", { id: "s", spec, previousSpec: spec }));
    interface Shown {
      Spec: { TaskTemplate: { ContainerSpec: { Privileges: object } } };
    }
    // As Docker 26.1 does of every service that a stack deployed.
    const showing = async (NoNewPrivileges: boolean): Promise<RestoreCheck["differences"]> =>
      (
        await check(state, (answers) => {
          const [web] = answers["/services"] as [Shown & { PreviousSpec: Shown["Spec"] }];
          for (const shown of [web.Spec, web.PreviousSpec]) {
            const { ContainerSpec } = shown.TaskTemplate;
            ContainerSpec.Privileges = { ...ContainerSpec.Privileges, NoNewPrivileges };
          }
        })
      ).differences;
    expect(await showing(false)).to.deep.equal([]);
    expect(await showing(true)).to.deep.equal([
      { kind: "service", id: "s", name: "web", what: ["Spec", "PreviousSpec"] },
    ]);
  });

  it("is not compared by records of holds, which agents close and remove", async () => {
    const state = stateOf(settings);
    for (const [id, labels] of Object.entries({ record: { "io.skep.hold": "aaaaaaaaaaaa" }, theirs: {} })) {
      const spec = { annotations: { name: id, labels } };
      state.store.objects.config.set(id, encodeMessage("Config", { id, spec }));
    }
    const { compared, differences } = await check(state);
    expect(compared).to.include({ config: 1 });
    expect(differences).to.deep.equal([{ kind: "config", id: "theirs", name: "theirs", what: "missing" }]);
  });

  for (const [field, other] of Object.entries({
    DefaultAddrPool: ["10.0.0.0/8"],
    SubnetSize: 24,
    DataPathPort: 4789,
    TLSInfo: { TrustRoot: "another" },
    JoinTokens: { Worker: "SWMTKN-w", Manager: "SWMTKN-other" },
  })) {
    it(`differs where the cluster has another ${field}`, async () => {
      const { differences } = await check(stateOf(settings), (answers) => {
        answers["/swarm"] = { ...(answers["/swarm"] as object), [field]: other };
      });
      const what = [field === "TLSInfo" ? "TrustRoot" : field];
      expect(differences).to.deep.equal([{ kind: "cluster", id: "c", name: "default", what }]);
    });
  }

  it("may be what an engine takes where nothing was set, and what a rotation under way comes to", async () => {
    const unset = { ...settings, defaultAddressPool: [], subnetSize: 0, vxlanudpport: 0 };
    const rootCa = { ...settings.rootCa, rootRotation: { caCert: Buffer.from("next") } };
    const { differences } = await check(stateOf({ ...unset, rootCa }), (answers) => {
      const made = { DefaultAddrPool: ["10.0.0.0/8"], SubnetSize: 24, DataPathPort: 4789, JoinTokens: {} };
      answers["/swarm"] = { ...(answers["/swarm"] as object), ...made, TLSInfo: { TrustRoot: "next" } };
    });
    expect(differences).to.deep.equal([]);
  });

  it("differs where a cluster volume is not there, or what a rollback goes to is another", async () => {
    const { differences } = await check(stateOf(settings), (answers) => {
      answers["/volumes"] = { Volumes: null };
      const [service] = answers["/services"] as object[];
      answers["/services"] = [{ ...service, PreviousSpec: { Name: "another" } }];
    });
    expect(differences.map(({ kind, what }) => `${kind} ${String(what)}`)).to.deep.equal([
      "service PreviousSpec",
      "volume missing",
    ]);
  });
});
