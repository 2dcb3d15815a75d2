import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { expect } from "chai";

import type { RestoreObjectsDocument } from "../../controller/cli/restore-documents.ts";
import { copiedObjects, type CopiedObjects } from "../../controller/objects/copied-objects.ts";
import { comparable } from "../../controller/objects/portable.ts";
import { fieldChanges } from "../../shared/raft/diff.ts";
import { openSwarm } from "../../shared/raft/open-swarm.ts";
import { directoryFiles } from "../../shared/raft/swarm-files.ts";
import { cliPath, runCli, type CliResult } from "../controller/cli/run-cli.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { initSwarm } from "../lab/swarm.ts";
import { openRaftCopy, saveRaftCopy } from "./raft-copy.ts";
import { engineCall, type ApiObject } from "./rich-swarm.ts";

const secretCount = 20;
const numbers = Array.from({ length: secretCount }, (_, index) => index);

/** Nothing of it starts: the lab's engine has no image. */
const stackFile = `version: "3.9"
services:
  web:
    image: absent:1
    entrypoint: ["serve"]
    command: ["-v", "$$HOME"]
    environment: { A: "1", PRICE: "5$$", EMPTY: "" }
    hostname: "{{.Node.Hostname}}"
    networks: { back: { aliases: [www] }, front: {} }
    ports: ["8080:80", { target: 53, published: 5353, protocol: udp, mode: host }]
    secrets: [${numbers.map((number) => `s${number}`).join(", ")}]
    configs: [{ source: conf, target: /etc/conf, uid: "5", gid: "6", mode: 0440 }]
    volumes:
      - data:/data
      - nfs:/nfs:ro
      - { type: bind, source: /srv, target: /srv, bind: { propagation: rslave } }
      - { type: tmpfs, target: /t, tmpfs: { size: 1048576 } }
    init: false
    tty: true
    stdin_open: true
    read_only: true
    user: "1000:1000"
    working_dir: /srv
    stop_signal: SIGINT
    stop_grace_period: 1m30s
    labels: { c: d }
    healthcheck: { test: ["CMD", "true"], interval: 1500ms, timeout: 3s, start_period: 1m, retries: 4 }
    extra_hosts: ["h1:1.2.3.4", "h2:::1"]
    dns: [8.8.8.8]
    dns_search: [example.org]
    sysctls: { net.core.somaxconn: "1024" }
    cap_add: [CAP_NET_ADMIN]
    cap_drop: [CAP_CHOWN]
    ulimits: { nofile: { soft: 1024, hard: 65536 } }
    logging: { driver: json-file, options: { max-size: "10m" } }
    deploy:
      replicas: 3
      labels: { a: b }
      update_config: { parallelism: 2, delay: 10s, failure_action: rollback, monitor: 15s, max_failure_ratio: 0.15, order: start-first }
      rollback_config: { parallelism: 0, order: stop-first }
      restart_policy: { condition: on-failure, delay: 7s, max_attempts: 3, window: 2m }
      placement: { constraints: [node.labels.nowhere==1], preferences: [{ spread: node.labels.zone }], max_replicas_per_node: 2 }
      resources:
        limits: { cpus: "1.5", memory: 256M, pids: 100 }
        reservations: { cpus: "0.25", memory: 5M, generic_resources: [{ discrete_resource_spec: { kind: ssd, value: 3 } }] }
  db:
    image: absent:1
    networks: [back]
    deploy: { mode: global, endpoint_mode: dnsrr, placement: { constraints: [node.labels.nowhere==1] } }
networks:
  back: { driver: overlay, driver_opts: { encrypted: "" }, attachable: true, ipam: { config: [{ subnet: 10.61.0.0/24 }] } }
  front: { internal: true, labels: { tier: front, "y": "12:30" } }
volumes:
  data: {}
  nfs: { driver: local, driver_opts: { type: nfs, device: ":/x", o: addr=10.0.0.9 }, labels: { v: w } }
configs: { conf: { file: ./conf } }
secrets:
${numbers.map((number) => `  s${number}: { file: ./s${number}, labels: { number: "${number}", "on": "yes" } }`).join("\n")}
`;

describe("skep restore secret, config, network, service, stack", function () {
  this.timeout(180_000);
  let lab: Lab;
  let manager: LabNode;
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "skep-restore-objects-"));
    lab = await Lab.up({ nodes: 1 });
    manager = lab.node(0);
    await initSwarm([manager], { managers: 1 });
    const root = manager.hostPath("/root");
    await writeFile(join(root, "shop.yml"), stackFile);
    await writeFile(join(root, "conf"), "key=value\n");
    for (const number of numbers) await writeFile(join(root, `s${number}`), `secret number ${number}`);
    await manager.run(["docker", "stack", "deploy", "--resolve-image", "never", "-c", "/root/shop.yml", "shop"]);
    await saveRaftCopy(manager, join(folder, "copy"));
  });
  after(async () => {
    await lab.down();
    await rm(folder, { recursive: true });
  });

  function argvOf(argv: readonly string[]): string[] {
    return ["restore", ...argv, "--from", "copy", "--docker", `unix://${manager.dockerSocketPath}`];
  }

  async function cli(...argv: string[]): Promise<CliResult> {
    return await runCli(argvOf(argv), { cwd: folder });
  }

  async function json(...argv: string[]): Promise<RestoreObjectsDocument> {
    const { code, stdout, stderr } = await cli(...argv, "--json");
    expect(code, stderr).to.equal(0);
    return JSON.parse(stdout) as RestoreObjectsDocument;
  }

  /** Names of what the swarm has, beside its ingress network. */
  async function names(kind: "services" | "secrets" | "configs" | "networks"): Promise<string[]> {
    const filters = kind === "networks" ? `?filters=${encodeURIComponent('{"scope":["swarm"]}')}` : "";
    const list = (await engineCall(manager, "GET", `/${kind}${filters}`)) as (ApiObject & { Name?: string })[];
    return list
      .map(({ Name, Spec }) => Name ?? (Spec["Name"] as string))
      .filter((name) => name !== "ingress")
      .sort();
  }

  async function secretData(name: string): Promise<string> {
    const secret = (await openRaftCopy(manager)).get("secret", name, true) as { Spec: { Data: string } };
    return Buffer.from(secret.Spec.Data, "base64").toString();
  }

  const serviceSpec = async (name: string): Promise<Record<string, unknown>> =>
    ((await engineCall(manager, "GET", `/services/${name}`)) as ApiObject).Spec;

  it("has nothing to do where all is there, and knows every secret by its id", async () => {
    const document = await json("stack", "shop");
    expect(new Set(document.steps.map(({ action }) => action))).to.deep.equal(new Set(["keep"]));
    expect(document.steps).to.have.length(3 + secretCount + 2);
  });

  it("shows the plan and does nothing with --dry-run, nor without anybody to ask", async () => {
    await manager.run(["docker", "service", "rm", "shop_web"]);
    const { stderr, code } = await cli("service", "shop_web", "--dry-run");
    expect(code).to.equal(0);
    expect(stderr).to.contain("+ create service shop_web").and.to.contain("= keep secret shop_s0");
    const unasked = await cli("service", "shop_web");
    expect([unasked.code, unasked.stderr]).to.satisfy(
      ([exit, words]: [number, string]) => exit === 1 && words.includes("SKEP_CLI_UNCONFIRMED"),
    );
    expect(await names("services")).to.deep.equal(["shop_db"]);
  });

  it("brings a removed service back with what it needs", async () => {
    await manager.run(["docker", "secret", "rm", "shop_s3", "shop_s4"]);
    const { steps, result } = await json("service", "shop_web", "--yes");
    const made = steps.filter(({ action }) => action === "create").map(({ kind, name }) => `${kind} ${name}`);
    expect(made).to.deep.equal(["secret shop_s3", "secret shop_s4", "service shop_web"]);
    expect(result?.every((one) => one.result === "equal")).to.equal(true);
    expect(await secretData("shop_s3")).to.equal("secret number 3");
  });

  it("refuses a secret of the same name that is not the copy's, and then makes one of a new name", async () => {
    const before = await names("secrets");
    // What was made anew above has another id, and nobody sees its data.
    const refused = await cli("secret", "shop_s3", "--yes");
    expect(refused.code).to.equal(1);
    expect(refused.stderr).to.contain("SKEP_OBJECTS_CONFLICT").and.to.contain("may be other");
    expect(await names("secrets")).to.deep.equal(before);

    const { steps } = await json("secret", "shop_s3", "--existing", "update", "--yes");
    expect(steps.map(({ action, kind }) => `${action} ${kind}`)).to.deep.equal(["create secret", "update service"]);
    const name = steps[0]?.name ?? "";
    expect(name).to.match(/^shop_s3-[0-9a-f]{8}$/);
    const text = JSON.stringify(await serviceSpec("shop_web"));
    expect(text).to.contain(`"SecretName":"${name}"`).and.not.to.contain('"SecretName":"shop_s3"');
    expect(await secretData(name)).to.equal("secret number 3");
    const again = await json("secret", "shop_s3", "--existing", "update", "--yes");
    expect(again.steps.map(({ action }) => action)).to.deep.equal(["keep"]);
  });

  it("updates a service and a config that differ, and leaves them with --existing skip", async () => {
    await manager.run(["docker", "service", "update", "--detach", "--label-add", "c=d", "shop_db"]);
    const left = await json("service", "shop_db", "--existing", "skip", "--yes");
    expect(left.steps.find(({ kind }) => kind === "service")?.changes).to.deep.equal([
      { path: "Labels.c", before: "d", after: null },
    ]);
    expect((await serviceSpec("shop_db"))["Labels"]).to.have.property("c");
    await json("service", "shop_db", "--existing", "update", "--yes");
    expect((await serviceSpec("shop_db"))["Labels"]).not.to.have.property("c");
  });

  it("exports compose files that docker stack deploy makes the same stack of", async () => {
    const { stdout } = await runCli(["raft", "export", "copy", "--out", "out", "--reveal", "--json"], { cwd: folder });
    const { stacks } = JSON.parse(stdout) as { stacks: { stack: string; file: string; cannot: string[] }[] };
    expect(stacks.map(({ stack, cannot }) => [stack, cannot])).to.deep.equal([["shop", []]]);
    // Its networks cannot go before its tasks have, which happens in the background.
    await untilRun(["docker", "stack", "rm", "shop"]);
    await cp(join(folder, "out", "compose", "shop"), join(manager.hostPath("/root"), "exported"), { recursive: true });
    const deploy = [
      "docker",
      "stack",
      "deploy",
      "--resolve-image",
      "never",
      "-c",
      "/root/exported/compose.yml",
      "shop",
    ];
    await untilRun(deploy);
    const swarm = await openSwarm(directoryFiles(join(folder, "copy")));
    const [was, is] = [copiedObjects(swarm.state), copiedObjects((await openRaftCopy(manager)).state)];
    for (const kind of ["services", "secrets", "configs"] as const) {
      const facts = (objects: CopiedObjects): unknown =>
        objects[kind].map(({ name, spec }) => [name, comparable(spec)]);
      expect(fieldChanges(facts(was), facts(is)), kind).to.deep.equal([]);
    }
    const facts = (objects: CopiedObjects): unknown => objects.networks.map(({ body }) => ({ ...body, IPAM: null }));
    expect(facts(is)).to.deep.equal(facts(was));
    const subnets = JSON.stringify(is.networks.find(({ name }) => name === "shop_back")?.body.IPAM);
    expect(subnets).to.contain('"Subnet":"10.61.0.0/24"');
  });

  async function untilRun(argv: readonly string[]): Promise<void> {
    for (let tries = 0; tries < 60; tries++) {
      const { code } = await manager.exec(argv);
      if (code === 0) return;
      await sleep(500);
    }
    throw new Error(`${argv.join(" ")} failed for 30 s`);
  }

  it("refuses a clone whose port is taken before anything is made", async () => {
    const before = await names("networks");
    const { code, stderr } = await cli("stack", "shop", "--as", "copy", "--yes");
    expect([code, stderr.includes("8080/tcp is taken by service shop_web")], stderr).to.deep.equal([1, true]);
    expect(await names("networks")).to.deep.equal(before);
  });

  /** Runs the CLI, and kills it at its nth call that changes something: before the engine gets it, or before it has the answer. */
  async function killedClone(argv: readonly string[], { at, when }: { at: number; when: "before" | "after" }) {
    const socketPath = join(folder, "engine.sock");
    let calls = 0;
    const proxy = createServer((asked, answer) => {
      const isLast = asked.method === "POST" && ++calls === at;
      const stop = (): void => {
        child.kill("SIGKILL");
        answer.destroy();
      };
      if (isLast && when === "before") {
        stop();
        return;
      }
      const { method, url: path, headers } = asked;
      const passed = request({ socketPath: manager.dockerSocketPath, method, path, headers }, (given) => {
        if (isLast) {
          given.resume().on("end", stop);
          return;
        }
        answer.writeHead(given.statusCode ?? 500, given.headers);
        given.pipe(answer);
      });
      asked.pipe(passed);
    });
    proxy.listen(socketPath);
    await once(proxy, "listening");
    const words = ["restore", ...argv, "--from", "copy", "--docker", `unix://${socketPath}`];
    const child = spawn(process.execPath, [cliPath, ...words], { cwd: folder, stdio: "ignore" });
    const [, signal] = (await once(child, "exit")) as [number | null, string | null];
    proxy.close();
    return signal;
  }

  it("goes on with a clone that was killed in the middle, and leaves no mark", async () => {
    const clone = [
      "stack",
      "shop",
      "--as",
      "copy",
      "--publish",
      "8080=18080",
      "--remap-subnet",
      "10.61.0.0/24=10.62.0.0/24",
      "--yes",
    ];
    for (const kill of [
      { at: 4, when: "before" },
      { at: 12, when: "after" },
      { at: 14, when: "after" },
    ] as const) {
      expect(await killedClone(clone, kill), JSON.stringify(kill)).to.equal("SIGKILL");
    }
    const { steps, result } = await json(...clone);
    expect(steps.some(({ action }) => action === "keep")).to.equal(true);
    expect(result?.every((one) => one.result === "equal")).to.equal(true);

    const cloned = (await names("secrets")).filter((name) => name.startsWith("copy_"));
    expect(cloned).to.deep.equal(numbers.map((number) => `copy_s${number}`).sort());
    expect(await secretData("copy_s7")).to.equal("secret number 7");
    expect(await names("services")).to.deep.equal(["copy_db", "copy_web", "shop_db", "shop_web"]);
    const web = JSON.stringify(await serviceSpec("copy_web"));
    expect(web).to.contain('"Aliases":["www","web"]').and.to.contain('"PublishedPort":18080');
    expect(web).to.contain('"Source":"copy_data"').and.not.to.contain('"shop');
    const secrets = JSON.stringify(await engineCall(manager, "GET", "/secrets"));
    expect(secrets).not.to.contain("io.skep");
    expect(await names("configs")).to.deep.equal(["copy_conf", "shop_conf"]);
  });
});
