import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { expect } from "chai";

import { connectEngine } from "../../controller/engine/docker.ts";
import {
  copiedSwarm,
  planRebuild,
  type CopiedSwarm,
  type RebuildPlan,
} from "../../controller/recovery/rebuild/rebuild-plan.ts";
import {
  applyNodes,
  applySettings,
  makeObjects,
  presentSwarm,
  type RebuildContext,
} from "../../controller/recovery/rebuild/rebuild.ts";
import type { ComparedObject } from "../../controller/objects/comparison.ts";
import { Journal } from "../../controller/recovery/journal.ts";
import { rebuildSteps } from "../../controller/recovery/rebuild/rebuild-steps.ts";
import { runSteps } from "../../controller/recovery/steps.ts";
import { redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { initSwarm } from "../lab/swarm.ts";
import { openRaftCopy } from "./raft-copy.ts";
import { create, engineCall, inspect, type ApiObject } from "./rich-swarm.ts";

const image = "skep-lab/node:24";
const idle = '["node", "-e", "setInterval(() => 0, 1e6)"]';
const secrets = Array.from({ length: 20 }, (_, index) => `s${index}`);
const configs = Array.from({ length: 10 }, (_, index) => `c${index}`);

const stacks: Record<string, string> = {
  shop: `version: "3.8"
services:
  db:
    image: ${image}
    command: ${idle}
    networks: [back]
    secrets: [${secrets.join(", ")}]
    deploy: { endpoint_mode: dnsrr, placement: { constraints: [node.labels.zone==one, node.hostname==node1] } }
  web:
    image: ${image}
    command: ${idle}
    environment: { DATABASE_URL: "tcp://db:5432/shop" }
    networks: [back, front]
    configs: [${configs.join(", ")}]
    healthcheck: { test: ["CMD", "node", "-e", "0"], interval: 1s, retries: 9, timeout: 20s }
    deploy: { replicas: 2, endpoint_mode: dnsrr, update_config: { order: start-first } }
networks:
  back: { driver: overlay, driver_opts: { encrypted: "" }, ipam: { config: [{ subnet: 10.44.0.0/24 }] } }
  front: { driver: overlay, attachable: true }
secrets:
${secrets.map((name) => `  ${name}: { file: ./${name} }`).join("\n")}
configs:
${configs.map((name) => `  ${name}: { file: ./${name} }`).join("\n")}
`,
  mon: `version: "3.8"
services:
  everywhere: { image: ${image}, command: ${idle}, networks: [hostnet], deploy: { mode: global } }
networks: { hostnet: { external: true, name: host } }
`,
};

/** Each object as the API shows it, with names for ids, and without what belongs to a swarm and not to its owner. */
async function shown(node: LabNode): Promise<Record<string, unknown>> {
  const names = new Map<string, string>();
  const all: [string, ApiObject & { Name?: string; Description?: { Hostname: string } }][] = [];
  const overlays = `/networks?filters=${encodeURIComponent('{"scope":["swarm"]}')}`;
  for (const path of [overlays, "/secrets", "/configs", "/services", "/nodes"]) {
    const kind = path.split("?")[0] ?? "";
    for (const object of (await engineCall(node, "GET", path)) as (typeof all)[number][1][]) {
      const name = object.Name ?? object.Description?.Hostname ?? String(object.Spec["Name"]);
      names.set(object.ID ?? object.Id ?? "", name);
      all.push([`${kind} ${name}`, object]);
    }
  }
  const { Id: host } = (await engineCall(node, "GET", "/networks/host?scope=swarm")) as { Id: string };
  names.set(host, "host");
  const plain = (value: unknown): unknown => {
    let text = JSON.stringify(value).replace(/"com.docker.network.driver.overlay.vxlanid_list":"\d+",?/, "");
    for (const [id, name] of names) text = text.replaceAll(id, name);
    return JSON.parse(text) as unknown;
  };
  return Object.fromEntries(
    all.map(([key, object]) => {
      if (!key.startsWith("/networks")) return [key, plain(object.Spec)];
      const { Driver, Attachable, Internal, Ingress, IPAM, Labels, Options } = object as unknown as Record<
        string,
        unknown
      >;
      return [key, plain({ Driver, Attachable, Internal, Ingress, IPAM, Labels, Options })];
    }),
  );
}

describe("a swarm rebuilt from its Raft copy", function () {
  this.timeout(240_000);
  let lab: Lab;
  let from: LabNode;
  let to: LabNode;
  let copied: CopiedSwarm;
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "skep-rebuild-"));
    lab = await Lab.up({ nodes: 2, images: [...(await skepImages()), redisImage()] });
    [from, to] = [lab.node(0), lab.node(1)];
    await initSwarm([from], { managers: 1 });
    await initSwarm([to], { managers: 1 });
    await labelled(from);
    const root = from.hostPath("/root");
    for (const name of [...secrets, ...configs]) await writeFile(join(root, name), `content of ${name}\n`);
    for (const [name, text] of Object.entries(stacks)) {
      await writeFile(join(root, `${name}.yml`), text);
      await from.run(["docker", "stack", "deploy", "--resolve-image", "never", "-c", `/root/${name}.yml`, name]);
    }
    await create(from, "/services/create", {
      Name: "batch_job",
      Labels: { "com.docker.stack.namespace": "batch" },
      TaskTemplate: {
        ContainerSpec: { Image: image, Command: ["node", "-e", "0"] },
        RestartPolicy: { Condition: "none" },
      },
      Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } },
    });
    await untilComplete(from, "batch_job");
    copied = copiedSwarm((await openRaftCopy(from)).state, []);
  });
  after(async () => {
    await lab.down();
    await rm(folder, { recursive: true });
  });

  async function labelled(node: LabNode): Promise<void> {
    const { Version, Spec } = await inspect(node, "/swarm");
    const spec = { ...Spec, Labels: { site: "a" }, Orchestration: { TaskHistoryRetentionLimit: 2 } };
    await engineCall(node, "POST", `/swarm/update?version=${Version.Index}`, spec);
    const [self] = (await engineCall(node, "GET", "/nodes")) as ApiObject[];
    const path = `/nodes/${self?.ID ?? ""}/update?version=${self?.Version.Index ?? 0}`;
    await engineCall(node, "POST", path, { ...self?.Spec, Labels: { zone: "one" } });
  }

  async function untilComplete(node: LabNode, service: string): Promise<void> {
    const filters = encodeURIComponent(JSON.stringify({ service: [service] }));
    for (let tries = 0; tries < 300; tries++) {
      const tasks = (await engineCall(node, "GET", `/tasks?filters=${filters}`)) as { Status: { State: string } }[];
      if (tasks.some(({ Status }) => Status.State === "complete")) return;
      await sleep(200);
    }
    throw new Error(`${service} did not complete within 60 s`);
  }

  async function context(): Promise<{ context: RebuildContext; plan: () => Promise<RebuildPlan>; said: string[] }> {
    const said: string[] = [];
    const engine = await connectEngine({ kind: "socket", path: to.dockerSocketPath });
    const rebuild = { engine, say: (line: string) => said.push(line) };
    const [self] = await engine.nodes();
    const nodes = new Map([[copied.nodes[0]?.id ?? "", self?.ID ?? ""]]);
    const options = { nodes, subnets: new Map<string, string>(), runJobs: false };
    return { context: rebuild, plan: async () => planRebuild(copied, await presentSwarm(rebuild), options), said };
  }

  it("has everything held first, and goes on from wherever it was cut off", async () => {
    const rebuild = await context();
    const first = await rebuild.plan();
    expect(first.conflicts).to.deep.equal([]);
    expect(first.waves).to.deep.equal([["mon_everywhere", "shop_db"], ["shop_web"]]);
    expect(first.heldJobs).to.deep.equal(["batch_job"]);
    await applySettings(rebuild.context, first);
    await applyNodes(rebuild.context, first);
    // Cut off after so many objects, and done again by a plan of its own.
    for (const cut of [3, 17, 36]) {
      let made = 0;
      const dying = new AbortController();
      const say = (): void => {
        if (++made === cut) dying.abort(new Error("killed"));
      };
      const plan = await rebuild.plan();
      await makeObjects({ ...rebuild.context, signal: dying.signal, say }, plan).catch((error: unknown) => {
        expect(error).to.have.property("message", "killed");
      });
    }
    await makeObjects(rebuild.context, await rebuild.plan());
    const left = await rebuild.plan();
    expect(left.conflicts).to.deep.equal([]);
    expect(left.objects.steps.filter(({ action }) => action !== "keep")).to.deep.equal([]);
    expect([left.settings.spec, left.nodes, left.settings.notes]).to.deep.equal([null, [], []]);
    const tasks = await engineCall(to, "GET", "/tasks");
    expect(JSON.stringify(tasks)).not.to.match(/"State":"(running|preparing|starting)"/);
  });

  it("goes on by the steps of a recovery, in waves until all runs, and is then equal in every spec and label", async () => {
    const { context: rebuild } = await context();
    const [self] = await rebuild.engine.nodes();
    const steps = rebuildSteps({
      copied,
      engine: () => Promise.resolve(rebuild.engine),
      addresses: { advertise: to.address, dataPath: null },
      mark: null,
      nodes: () => new Map([[copied.nodes[0]?.id ?? "", self?.ID ?? ""]]),
      subnets: new Map(),
      runJobs: false,
      joined: [],
      volumes: [],
      release: { timeoutMs: 90_000, pollMs: 200 },
    });
    const journal = await Journal.open(folder, {
      format: 1,
      recoveryId: "abcdefghijkl",
      mode: "rebuild",
      repositoryId: "none",
      runId: "none",
      inventoryDigest: "0".repeat(64),
      startedAt: new Date().toISOString(),
    });
    const done: string[] = [];
    await runSteps(steps, journal, {
      signal: new AbortController().signal,
      parallel: 4,
      patienceMs: 30_000,
      now: () => Date.now(),
      onState: ({ title }, state) => {
        if (state === "done") done.push(title);
      },
    });
    expect(done.slice(2)).to.deep.equal([
      "release mon_everywhere, shop_db",
      "release shop_web",
      "compare everything with the copy, field by field",
    ]);
    for (const step of ["rebuild:release-1", "rebuild:release-2"]) {
      const { services } = journal.resultOf(step) as { services: { live: boolean }[] };
      expect(
        services.every(({ live }) => live),
        JSON.stringify(services),
      ).to.equal(true);
    }
    const { objects } = journal.resultOf("rebuild:compare") as { objects: ComparedObject[] };
    journal.close();
    const others = objects.filter(({ result }) => result !== "equal");
    expect(others.map(({ name, result }) => `${name} ${result}`)).to.deep.equal(["batch_job held"]);

    const [now, before] = [await shown(to), await shown(from)];
    const moved = JSON.stringify(before).replaceAll("node1", "node2");
    const expected = JSON.parse(moved) as Record<string, { TaskTemplate?: object }>;
    const job = expected["/services batch_job"] ?? {};
    job.TaskTemplate = { ...job.TaskTemplate, Placement: { Constraints: ["node.id==held-by-skep"] } };
    expect(now).to.deep.equal(expected);
    expect(Object.keys(now)).to.include.members([
      "/services shop_web",
      "/secrets shop_s19",
      "/configs shop_c9",
      "/networks shop_back",
    ]);
    const [swarmNow, swarmBefore] = [await inspect(to, "/swarm"), await inspect(from, "/swarm")];
    expect(swarmNow.Spec).to.deep.equal(swarmBefore.Spec);
  });

  it("gives containers their secrets and configs, and rolls back to no held spec", async () => {
    const container = async (service: string): Promise<string> => {
      const label = `label=com.docker.swarm.service.name=${service}`;
      return (await to.run(["docker", "ps", "--quiet", "--filter", label])).split("\n")[0] ?? "";
    };
    const db = await container("shop_db");
    const web = await container("shop_web");
    const contents = async (id: string, paths: string[]): Promise<string> =>
      await to.run(["docker", "exec", id, "/bin/busybox", "cat", ...paths]);
    const expected = (names: string[]): string => names.map((name) => `content of ${name}\n`).join("");
    expect(
      await contents(
        db,
        secrets.map((name) => `/run/secrets/${name}`),
      ),
    ).to.equal(expected(secrets));
    expect(
      await contents(
        web,
        configs.map((name) => `/${name}`),
      ),
    ).to.equal(expected(configs));
    const service = (await engineCall(to, "GET", "/services/shop_web")) as { Spec: object; PreviousSpec: object };
    expect(service.PreviousSpec).to.deep.equal(service.Spec);
  });
});
