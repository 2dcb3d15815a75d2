import { expect } from "chai";

import { copiedObjects, type CopiedObjects } from "../../../controller/objects/copied-objects.ts";
import { encodeHoldRecord, holdLabels } from "../../../shared/contract/hold-record.ts";
import { ObjectStore, type ObjectKind } from "../../../shared/raft/object-store.ts";
import type { SwarmState } from "../../../shared/raft/read-swarm.ts";
import { encodeMessage, makeMessage } from "../../../shared/raft/swarmkit/message-types.ts";

const stack = { "com.docker.stack.namespace": "shop" };

function objectsOf(fill: (put: (kind: ObjectKind, id: string, bytes: Uint8Array) => void) => void): CopiedObjects {
  const store = new ObjectStore();
  fill((kind, id, bytes) => store.objects[kind].set(id, bytes));
  return copiedObjects({ store } as SwarmState);
}

const secret = (id: string, name: string, data: string, internal = false): Uint8Array => {
  const spec = { annotations: { name, labels: stack }, data: Buffer.from(data) };
  return encodeMessage("Secret", makeMessage("Secret", { id, internal, spec }));
};

describe("objects of a Raft copy, to be created", () => {
  it("have names for ids, the stack they belong to, and the registry's credentials", () => {
    const { services, secrets } = objectsOf((put) => {
      put("secret", "s1", secret("s1", "shop_pw", "hunter2"));
      const network = { id: "n1", spec: { annotations: { name: "back" } }, driverState: { name: "overlay" } };
      put("network", "n1", encodeMessage("Network", makeMessage("Network", network)));
      const container = makeMessage("ContainerSpec", {
        image: "web:1",
        secrets: [{ secretId: "s1", secretName: "shop_pw" }],
        pullOptions: { registryAuth: "eyJ1IjoieCJ9" },
      });
      const runtime = { case: "container", value: container } as const;
      const task = { runtime, networks: [{ target: "n1", aliases: ["web"] }] };
      const service = { id: "x", spec: { annotations: { name: "shop_web", labels: stack }, task } };
      put("service", "x", encodeMessage("Service", makeMessage("Service", service)));
    });
    const [service] = services;
    expect(service).to.include({ name: "shop_web", stack: "shop", registryAuth: "eyJ1IjoieCJ9", wasHeld: false });
    expect(service?.spec.TaskTemplate.Networks).to.deep.equal([{ Target: "back", Aliases: ["web"] }]);
    expect(JSON.stringify(service?.spec)).to.contain('"SecretName":"shop_pw"').and.not.to.contain("s1");
    expect(secrets[0]?.spec).to.include({ Name: "shop_pw", Data: Buffer.from("hunter2").toString("base64") });
    expect(secrets[0]?.mark).to.match(/^[0-9a-f]{32}$/);
  });

  it("include services that are plugins, with what they are", () => {
    const { services } = objectsOf((put) => {
      const plugin = makeMessage("PluginSpec", { name: "nfs", remote: "vendor/nfs:1", env: ["A=1"] });
      const payload = { typeUrl: "x", value: encodeMessage("PluginSpec", plugin) };
      const runtime = {
        case: "generic",
        value: makeMessage("GenericRuntimeSpec", { kind: "plugin", payload }),
      } as const;
      const mode = { case: "global", value: makeMessage("GlobalService", {}) } as const;
      const service = { id: "p", spec: { annotations: { name: "nfs" }, task: { runtime }, mode } };
      put("service", "p", encodeMessage("Service", makeMessage("Service", service)));
    });
    expect(services[0]?.spec.TaskTemplate).to.deep.include({
      PluginSpec: { name: "nfs", remote: "vendor/nfs:1", env: ["A=1"] },
      Runtime: "plugin",
    });
  });

  it("name what the API cannot make, and leave out what is the swarm's or Skep's own", () => {
    const { secrets, configs, networks, unsupported } = objectsOf((put) => {
      put("secret", "i", secret("i", "csi", "x", true));
      put(
        "volume",
        "v",
        encodeMessage("Volume", makeMessage("Volume", { id: "v", spec: { annotations: { name: "disk" } } })),
      );
      const labels = { "com.docker.swarm.predefined": "true" };
      put(
        "network",
        "h",
        encodeMessage("Network", makeMessage("Network", { id: "h", spec: { annotations: { name: "host", labels } } })),
      );
      const data = encodeHoldRecord({
        ...{
          version: 1,
          holdId: "abcdefghijkl",
          serviceId: "s",
          previous: null,
          updateStatus: null,
          serviceVersion: 1,
        },
        former: { Name: "s", Mode: { Global: {} }, TaskTemplate: {} },
        deadlineAt: "2026-11-21T03:30:00.000Z",
      });
      const annotations = { name: "skep-hold", labels: { [holdLabels.hold]: "abcdefghijkl" } };
      put("config", "c", encodeMessage("Config", makeMessage("Config", { id: "c", spec: { annotations, data } })));
    });
    expect([secrets, configs, networks]).to.deep.equal([[], [], []]);
    expect(unsupported).to.have.length(2);
    expect(unsupported.join()).to.contain("csi").and.to.contain("cluster volume disk");
  });

  it("leave out what was being removed, and say so", () => {
    const { services, networks, unsupported } = objectsOf((put) => {
      const spec = { annotations: { name: "old" } };
      const network = makeMessage("Network", { id: "n", spec, driverState: { name: "overlay" }, pendingDelete: true });
      put("network", "n", encodeMessage("Network", network));
      const task = { networks: [{ target: "n" }] };
      const service = makeMessage("Service", { id: "x", spec: { ...spec, task }, pendingDelete: true });
      put("service", "x", encodeMessage("Service", service));
    });
    expect([services, networks]).to.deep.equal([[], []]);
    expect(unsupported).to.deep.equal([
      "network old was being removed when the copy was taken",
      "service old was being removed when the copy was taken",
    ]);
  });

  it("are refused where a service refers to what is not there", () => {
    const broken = (): CopiedObjects =>
      objectsOf((put) => {
        const service = { id: "x", spec: { annotations: { name: "web" }, task: { networks: [{ target: "gone" }] } } };
        put("service", "x", encodeMessage("Service", makeMessage("Service", service)));
      });
    expect(broken).to.throw().with.property("code", "SKEP_OBJECTS_DANGLING");
  });
});
