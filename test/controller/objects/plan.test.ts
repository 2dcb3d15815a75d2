import { expect } from "chai";

import { heldForm } from "../../../shared/held-spec.ts";
import { planObjects, type ObjectsPlan } from "../../../controller/objects/plan.ts";
import { renamed, withPorts, withSubnets } from "../../../controller/objects/renaming.ts";
import { select, selectAll } from "../../../controller/objects/selection.ts";
import { copied, file, network, presentOf, service, stackLabels } from "./sample-objects.ts";

const uses = (secret: string, target = "/run/secrets/pw") => ({
  TaskTemplate: {
    ContainerSpec: { Image: "app:1", Secrets: [{ SecretName: secret, File: { Name: target } }] },
    Networks: [{ Target: "shop_back", Aliases: ["web"] }],
  },
});
const shop = copied({
  networks: [network("shop_back", "10.0.5.0/24", { stack: "shop" }), network("other", "10.0.6.0/24")],
  secrets: [file("shop_pw", "hunter2", "shop"), file("common_pw", "x")],
  configs: [file("shop_conf", "a=b", "shop")],
  services: [
    service("shop_db", { ...uses("common_pw"), Mode: { Global: {} } }, "shop"),
    service(
      "shop_web",
      { ...uses("shop_pw"), EndpointSpec: { Ports: [{ PublishedPort: 80, PublishMode: "ingress" }] } },
      "shop",
    ),
    service("lonely"),
  ],
});
const empty = presentOf(copied({}));
const actions = ({ steps }: ObjectsPlan): string[] =>
  steps.map(({ kind, name, action }) => `${action} ${kind} ${name}`);
const conflicts = (plan: ObjectsPlan): string[] =>
  plan.conflicts.map(({ kind, name, what }) => `${kind} ${name}: ${what}`);
const fail = { existing: "fail", held: false } as const;
const update = { existing: "update", held: false } as const;
const skip = { existing: "skip", held: false } as const;

describe("the plan of objects", () => {
  it("takes a stack with what it needs, in the order in which it can be made", () => {
    expect(actions(planObjects(select(shop, "stack", "shop"), empty, fail))).to.deep.equal([
      "create network shop_back",
      "create secret shop_pw",
      "create secret common_pw",
      "create config shop_conf",
      "create service shop_db",
      "create service shop_web",
    ]);
    const one = planObjects(select(shop, "service", "shop_web"), empty, fail);
    expect(actions(one)).to.deep.equal([
      "create network shop_back",
      "create secret shop_pw",
      "create service shop_web",
    ]);
    expect(() => select(shop, "stack", "shoe"))
      .to.throw()
      .with.property("code", "SKEP_OBJECTS_UNKNOWN");
  });

  it("does not take a secret of the same name for the same: nobody sees its data", () => {
    const there = presentOf(copied({ secrets: shop.secrets }));
    const plan = planObjects(select(shop, "secret", "shop_pw"), there, fail);
    expect(conflicts(plan)).to.have.length(1);
    expect(plan.conflicts[0]?.what).to.contain("may be other");
    expect(actions(planObjects(select(shop, "secret", "shop_pw"), there, skip))).to.deep.equal(["keep secret shop_pw"]);
  });

  it("knows a secret by its id, and by the mark of a restore that was cut off", () => {
    for (const known of [{ id: "old-shop_pw" }, { mark: shop.secrets[0]?.mark ?? "" }]) {
      const there = presentOf(copied({ secrets: shop.secrets }));
      Object.assign(there.secrets[0] ?? {}, known);
      expect(actions(planObjects(select(shop, "secret", "shop_pw"), there, fail))).to.deep.equal([
        "keep secret shop_pw",
      ]);
    }
  });

  it("compares configs by their data", () => {
    const there = presentOf(copied({ configs: shop.configs }));
    expect(actions(planObjects(select(shop, "config", "shop_conf"), there, fail))).to.deep.equal([
      "keep config shop_conf",
    ]);
    const other = presentOf(copied({ configs: [file("shop_conf", "a=c", "shop")] }));
    expect(conflicts(planObjects(select(shop, "config", "shop_conf"), other, fail))).to.deep.equal([
      "config shop_conf: there is one of that name with other data",
    ]);
  });

  it("updates a secret by a new name, points its services to it, and then has nothing more to do", () => {
    const there = presentOf(shop);
    const plan = planObjects(select(shop, "secret", "shop_pw"), there, update);
    const next = `shop_pw-${shop.secrets[0]?.mark.slice(0, 8) ?? ""}`;
    expect(actions(plan)).to.deep.equal([`create secret ${next}`, "update service shop_web"]);
    const [, pointed] = plan.steps;
    expect(pointed?.changes).to.deep.equal([
      { path: "TaskTemplate.ContainerSpec.Secrets[0].SecretName", before: "shop_pw", after: next },
    ]);
    const after = presentOf(copied({ ...shop, secrets: [...shop.secrets, file(next, "hunter2", "shop")] }));
    const web = after.services.find(({ name }) => name === "shop_web");
    if (web !== undefined && pointed?.kind === "service") web.spec = pointed.spec;
    expect(actions(planObjects(select(shop, "secret", "shop_pw"), after, update))).to.deep.equal([
      `keep secret ${next}`,
    ]);
  });

  it("leaves services of others alone where a stack's secret gets a new name, and says so", () => {
    const others = copied({ ...shop, services: [...shop.services, service("stranger", uses("shop_pw"))] });
    const plan = planObjects(select(shop, "stack", "shop"), presentOf(others), update);
    expect(actions(plan)).not.to.include("update service stranger");
    expect(plan.notes).to.deep.equal(["service stranger goes on using secret shop_pw as it is"]);
  });

  it("updates, skips or refuses a service that differs, and keeps one that is equal", () => {
    const there = presentOf(shop);
    expect(actions(planObjects(select(shop, "service", "lonely"), there, fail))).to.deep.equal(["keep service lonely"]);
    const scaled = presentOf(copied({ services: [service("lonely", { Mode: { Replicated: { Replicas: 9 } } })] }));
    const wanted = select(shop, "service", "lonely");
    expect(conflicts(planObjects(wanted, scaled, fail))).to.deep.equal([
      "service lonely: there is one with other Mode.Replicated.Replicas",
    ]);
    expect(actions(planObjects(wanted, scaled, update))).to.deep.equal(["update service lonely"]);
    expect(actions(planObjects(wanted, scaled, skip))).to.deep.equal(["keep service lonely"]);
  });

  it("clones a stack beside itself: names, labels and volumes are the new stack's, aliases stay", () => {
    const data = service(
      "shop_data",
      {
        TaskTemplate: {
          ContainerSpec: {
            Labels: stackLabels("shop"),
            Mounts: [
              { Type: "volume", Source: "shop_data", Target: "/d", VolumeOptions: { Labels: stackLabels("shop") } },
            ],
          },
        },
      },
      "shop",
    );
    const all = copied({ ...shop, services: [...shop.services, data] });
    const clone = withPorts(renamed(select(all, "stack", "shop"), "stack", "shop", "copy"), new Map([[80, 8080]]));
    // What the stack needs and does not own is taken as it is.
    const there = presentOf(all);
    const plan = planObjects(
      clone,
      { ...there, secrets: there.secrets.map((secret) => ({ ...secret, id: `old-${secret.name}` })) },
      fail,
    );
    expect(conflicts(plan)).to.deep.equal([]);
    expect(actions(plan)).to.deep.equal([
      "create network copy_back",
      "create secret copy_pw",
      "keep secret common_pw",
      "create config copy_conf",
      "create service copy_db",
      "create service copy_web",
      "create service copy_data",
    ]);
    const text = JSON.stringify(plan.steps.filter(({ action }) => action === "create"));
    expect(text).not.to.match(/"shop_?/);
    expect(text).to.contain('"Aliases":["web"]').and.to.contain('"Source":"copy_data"');
    const [net] = plan.steps;
    expect(net?.why).to.contain("the swarm chooses");
  });

  it("points out a published port and a subnet that are taken before anything is done", () => {
    const clone = renamed(select(shop, "stack", "shop"), "stack", "shop", "copy");
    expect(conflicts(planObjects(clone, presentOf(shop), update))).to.deep.equal([
      "service copy_web: its published port 80/tcp is taken by service shop_web",
    ]);
    const fixed = copied({ networks: [network("mine", "10.0.5.0/25", { asked: true })] });
    const there = presentOf(copied({ networks: shop.networks }));
    expect(conflicts(planObjects(selectAll(fixed), there, update))).to.deep.equal([
      "network mine: its subnet 10.0.5.0/25 is in use by network shop_back",
    ]);
    const moved = withSubnets(selectAll(fixed), new Map([["10.0.5.0/25", "10.99.0.0/24"]]));
    expect(actions(planObjects(moved, there, update))).to.deep.equal(["create network mine"]);
    // Once it is made it has a gateway that the swarm chose.
    const made = presentOf(moved);
    const [pool] = made.networks[0]?.body.IPAM.Config ?? [];
    Object.assign(pool ?? {}, { Gateway: "10.99.0.1" });
    expect(actions(planObjects(moved, made, fail))).to.deep.equal(["keep network mine"]);
  });

  it("counts a service that is there held as made, in every mode", () => {
    const modes = [
      { Replicated: { Replicas: 3 } },
      { Global: {} },
      { ReplicatedJob: { TotalCompletions: 1 } },
      { GlobalJob: {} },
    ];
    const services = modes.map((Mode, index) => service(`s${index}`, { Mode }));
    const there = presentOf(copied({ services }));
    for (const present of there.services) present.spec = heldForm(present.spec);
    const held = planObjects(selectAll(copied({ services })), there, { existing: "fail", held: true });
    expect(held.conflicts).to.deep.equal([]);
    expect(new Set(held.steps.map(({ action }) => action))).to.deep.equal(new Set(["keep"]));
    expect(planObjects(selectAll(copied({ services })), there, fail).conflicts).to.have.length(modes.length);
  });
});
