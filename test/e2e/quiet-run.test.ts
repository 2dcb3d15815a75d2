// A run that makes volumes quiet, as their labels say, on a real swarm with real databases under write load.
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectDocker } from "../../agent/docker.ts";
import { Journal } from "../../agent/journal.ts";
import { Moments } from "../../agent/moment/moments.ts";
import { pause, unpause } from "../../agent/quiesce/pause.ts";
import { Watches } from "../../agent/quiesce/watches.ts";
import type { RolledBack } from "../../controller/api/schemas.ts";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { RestoreDocument } from "../../controller/cli/restore-documents.ts";
import { holdLabels } from "../../shared/contract/hold-record.ts";
import type { Part, Run } from "../../shared/repository/run.ts";
import type { LabNode } from "../lab/node.ts";
import { until } from "./agent-rig.ts";
import type { Cluster } from "./cluster.ts";
import { expectTaken, project, startProject } from "./compose-project.ts";
import { recipe } from "./recipes.ts";
import { sharedCluster } from "./shared-cluster.ts";

const nodeTag = "skep-lab/node:24";
const redisTag = "skep-lab/redis:7";

/**
 * Two programs that count in lock-step, each into its own volume: `left` goes on once `right` has written the same. As fast as
 * they can: copies that are less than a millisecond apart differ.
 */
const counter = `
const fs = require("node:fs"), net = require("node:net");
const file = fs.openSync("/data/counter", "w");
const write = (n) => fs.writeSync(file, String(n).padStart(12), 0);
if (process.argv[1] === "right") {
  net.createServer((s) => { s.on("error", () => {}); let rest = ""; s.on("data", (d) => { const lines = (rest + d).split("\\n"); rest = lines.pop(); for (const n of lines) { write(n); s.write(n + "\\n"); } }); }).listen(7000);
} else {
  const dial = (n) => { const s = net.connect(7000, "tasks.pair_right"); const next = () => { write(++n); s.write(n + "\\n"); };
    s.on("connect", next); s.on("data", next); s.on("error", () => {}); s.on("close", () => setTimeout(dial, 200, n)); };
  dial(0);
}
process.on("SIGTERM", () => process.exit());
`;

/** Counts in Redis; writes down what was acknowledged whenever the next answer takes long (and how long), or the connection breaks. */
const load = `
const fs = require("node:fs"), net = require("node:net");
const name = process.argv[1]; let acked = 0, at = Date.now();
const note = (why) => fs.appendFileSync("/data/" + name, acked + " " + why + "\\n");
const dial = () => { const s = net.connect(6379, "tasks." + name); const next = () => s.write("INCR n\\r\\n");
  s.on("connect", next); s.on("data", (d) => { const now = Date.now(); if (acked > 0 && now - at > 150) note("slow " + (now - at)); at = now; const n = /^:(\\d+)/.exec(d); if (n) acked = Number(n[1]); setTimeout(next, 2); });
  s.on("error", () => {}); s.on("close", () => { note("broke"); setTimeout(dial, 100); }); };
dial(); process.on("SIGTERM", () => process.exit());
`;

describe("a run that makes volumes quiet", function () {
  this.timeout(480_000);
  let cluster: Cluster;
  let run: Run;
  let asBefore: string;
  let specsAfter: string;
  /** All that is in the copy of a volume of which something is excluded. */
  let restoredLeft: string[] = [];
  const names = [
    "pair_left",
    "pair_right",
    "cache-stop",
    "cache-pause",
    "cache-dump",
    "everywhere",
    "load-stop",
    "load-pause",
    "load-dump",
    "at-rest",
  ];

  const docker = async (node: LabNode, ...argv: string[]): Promise<string> =>
    (await node.run(["docker", ...argv])).trim();
  const part = (name: string): Part =>
    run.parts.find((each) => each.name === name) ??
    expect.fail(`no ${name} among ${run.parts.map((each) => each.name).join(", ")}`);
  const volumeFile = (node: LabNode, volume: string, file: string): string =>
    node.hostPath(`/var/lib/docker/volumes/${volume}/_data/${file}`);
  const specs = async (): Promise<string> =>
    docker(cluster.manager, "service", "inspect", "--format", "{{json .Spec}}", ...names);

  before(async () => {
    cluster = await sharedCluster();
    await docker(cluster.manager, "network", "create", "--driver", "overlay", "quiet");
    const create = (
      name: string,
      host: string,
      tag: string,
      volume: string,
      labels: string[],
      command: string[],
      replicas = "1",
    ): Promise<string> =>
      docker(
        ...([cluster.manager, "service", "create", "--detach", "--quiet", "--no-resolve-image"] as const),
        ...["--name", name, "--network", "quiet", "--endpoint-mode", "dnsrr", "--stop-grace-period", "5s"],
        ...["--replicas", replicas],
        ...["--constraint", `node.hostname==${host}`, "--mount", `type=volume,source=${volume},target=/data`],
        ...labels.flatMap((label) => ["--label", label]),
        ...[tag, ...command],
      );
    // Of volumes that no container uses, the services that mount them speak.
    const rest = ["skep.enable=false"];
    await create("at-rest", "node2", nodeTag, "rests", rest, ["sleep", "1000"], "0");
    await docker(cluster.lab.node("node2"), "volume", "create", "rests");
    const pair = ["skep.group=pair", "skep.quiesce=pause", "skep.exclude=scrap/**, *.tmp"];
    await create("pair_right", "node2", nodeTag, "right", pair, ["node", "-e", counter, "right"]);
    await create("pair_left", "node3", nodeTag, "left", pair, ["node", "-e", counter, "left"]);
    const server = [
      "redis-server",
      "--dir",
      "/data",
      "--appendonly",
      "yes",
      "--appendfsync",
      "always",
      "--protected-mode",
      "no",
    ];
    const after = "until redis-cli ping | grep -q PONG; do sleep 0.1; done; redis-cli get n >&2";
    const stop = ["skep.quiesce=stop", `skep.hook.post=${after}`];
    await create("cache-stop", "node2", redisTag, "stopped", stop, server);
    await docker(cluster.manager, "service", "update", "--detach", "--quiet", "--label-add", "edition=2", "cache-stop");
    const who = `skep.hook.post=["node","-e","console.error(process.getuid(), process.getgid())"]`;
    const labels = ["skep.quiesce=stop", who, "skep.hook.post.user=1234:5678"];
    await docker(
      ...([cluster.manager, "service", "create", "--detach", "--quiet", "--no-resolve-image"] as const),
      ...["--name", "everywhere", "--mode", "global", "--mount", "type=volume,source=everywhere,target=/data"],
      ...labels.flatMap((label) => ["--label", label]),
      ...[nodeTag, "node", "-e", "process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6)"],
    );
    const hooks = [
      "skep.hook.pre=redis-cli set hook pre",
      "skep.hook.post=echo to stdout; exit 3",
      "skep.hook.post.on-error=continue",
    ];
    await create("cache-pause", "node3", redisTag, "paused", ["skep.quiesce=pause", ...hooks], server);
    await create("cache-dump", "node2", redisTag, "dumped", await recipe("Redis", "dump"), server);
    for (const how of ["stop", "pause", "dump"]) {
      await create(`load-${how}`, "node1", nodeTag, "scratch-load", [], ["node", "-e", load, `cache-${how}`]);
    }
    await startProject(cluster.lab.node("node3"));
    const counted = async (node: LabNode, volume: string): Promise<number> =>
      Number(await readFile(volumeFile(node, volume, "counter"), "utf8").catch(() => "0"));
    await until(async () => (await counted(cluster.lab.node("node2"), "right")) > 100, 90_000);
    for (const [host, volume] of [
      ["node2", "stopped"],
      ["node3", "paused"],
      ["node2", "dumped"],
    ] as const) {
      const node = cluster.lab.node(host);
      const count = (): Promise<string> => redisOn(node, volume, ["get", "n"]).catch(() => "");
      await until(async () => Number(await count()) > 100, 90_000);
    }
    await mkdir(volumeFile(cluster.lab.node("node3"), "left", "scrap"));
    for (const file of ["scrap/of-today", "a.tmp", "kept"]) {
      await writeFile(volumeFile(cluster.lab.node("node3"), "left", file), file);
    }
    asBefore = await specs();
    run = (await cluster.skepJson<BackupDocument>(["backup", "--wait"])).run ?? expect.fail("no run");
    specsAfter = await specs();
    // What they did is in their notes.
    const idle = ["load-stop=0", "load-pause=0", "load-dump=0", "pair_left=0", "pair_right=0"];
    await docker(cluster.manager, "service", "scale", "--detach", ...idle);
  });

  after(async () => {
    await cluster.lab.node("node3").exec(["docker", "rm", "--force", "--volumes", ...project]);
    for (const name of names) await cluster.manager.exec(["docker", "service", "rm", name]);
    for (const id of (
      await docker(cluster.manager, "config", "ls", "--quiet", "--filter", `label=${holdLabels.hold}`)
    ).split("\n")) {
      if (id !== "") await cluster.manager.exec(["docker", "config", "rm", id]);
    }
    await until(async () => (await cluster.manager.exec(["docker", "network", "rm", "quiet"])).code === 0, 60_000);
  });

  /** redis-cli in the running container that uses the volume. */
  async function redisOn(node: LabNode, volume: string, argv: string[]): Promise<string> {
    const id = await docker(node, "ps", "--quiet", "--filter", `volume=${volume}`);
    return docker(node, "exec", id, "redis-cli", ...argv);
  }

  /** What a fresh server on a copy of the restored volume has for `n`, after its own check. */
  async function restored(part: string, host: string): Promise<number> {
    const node = cluster.lab.node(host);
    const copy = `copy-${part.replace("/", "-")}`;
    await cluster.skep(["restore", "volume", part, "--as", copy, "--yes", "--identity", cluster.identity]);
    const mount = `${copy}:/data`;
    const server = ["redis-server", "--dir", "/data", "--appendonly", "yes"];
    await docker(node, "run", "-d", "--name", copy, "-v", mount, redisTag, ...server);
    try {
      await until(async () => (await node.exec(["docker", "exec", copy, "redis-cli", "ping"])).stdout.includes("PONG"));
      return Number(await docker(node, "exec", copy, "redis-cli", "get", "n"));
    } finally {
      await node.run(["docker", "rm", "--force", "--volumes", copy]);
      await node.run(["docker", "volume", "rm", copy]);
    }
  }

  /** What was acknowledged when the load saw its server break, or stand still the longest. */
  async function ackedAt(cache: string, why: string): Promise<number> {
    const text = await readFile(volumeFile(cluster.lab.node("node1"), "scratch-load", cache), "utf8").catch(() => "");
    const notes = text.split("\n").map((line) => line.split(" "));
    const fitting = notes
      .filter(([, said]) => said === why)
      .sort((a, b) => Number(b[2] ?? b[0]) - Number(a[2] ?? a[0]));
    return Number(fitting[0]?.[0] ?? 0);
  }

  it("is done, says of each volume whether it was quiet, and for how long what stood still", () => {
    const unwell = run.parts
      .filter(({ status }) => status !== "done")
      .map(({ name, error }) => `${name}: ${error?.message ?? ""}`);
    expect(unwell).to.deep.equal([]);
    for (const name of ["node2/right", "node3/left", "node2/stopped", "node3/paused"]) {
      const { consistency, quiet = [] } = part(name);
      expect(consistency, name).to.equal("quiet");
      expect(quiet.map(({ quietMs }) => quietMs > 0 && quietMs < 60_000)).to.not.include(false);
      expect(quiet.length, name).to.be.at.least(1);
      console.log(`      ${name}: ${quiet.map((each) => `${each.name} ${each.how} ${each.quietMs} ms`).join(", ")}`);
    }
    expect(part("node2/stopped").quiet?.map(({ name, how }) => `${name} ${how}`)).to.deep.equal(["cache-stop stop"]);
    expect(part("node2/dumped").kind).to.equal("dump");
  });

  it("leaves every service as it was, and nothing paused", async () => {
    expect(specsAfter).to.equal(asBefore);
    for (const node of cluster.lab.nodes)
      expect(await docker(node, "ps", "--quiet", "--filter", "status=paused")).to.equal("");
    await until(async () => (await redisOn(cluster.lab.node("node2"), "stopped", ["ping"]).catch(() => "")) === "PONG");
  });

  it("ran the hooks, and keeps what they said", async () => {
    const commands = part("node3/paused").commands ?? [];
    expect(commands.map(({ step, exitCode, stdout = "" }) => `${step} ${exitCode} ${stdout.trim()}`)).to.deep.equal([
      "hook.pre 0 ",
      "hook.post 3 to stdout",
    ]);
    expect(await redisOn(cluster.lab.node("node3"), "paused", ["get", "hook"])).to.equal("pre");
  });

  it("ran the hooks after a stop in what came back, on all nodes of a global service", async () => {
    const [stopped, ...more] = part("node2/stopped").commands ?? [];
    expect(more).to.deep.equal([]);
    expect(stopped).to.include({ step: "hook.post", exitCode: 0 });
    expect(Number(stopped?.stderr)).to.be.above(100);
    const running: string[] = [];
    for (const node of cluster.lab.nodes) {
      const names = await docker(node, "ps", "--filter", "volume=everywhere", "--format", "{{.Names}}");
      expect(part(`${node.name}/everywhere`)).to.include({ status: "done", consistency: "quiet" });
      running.push(...names.split("\n"));
    }
    const { commands = [] } = part("node1/everywhere");
    expect(commands.map(({ step, exitCode, stderr }) => `${step} ${exitCode} ${stderr}`)).to.deep.equal(
      Array(3).fill("hook.post 0 1234 5678\n"),
    );
    expect(commands.map(({ container }) => container)).to.have.members(running);
  });

  it("takes a compose project as its labels say: stopped in its order with hooks, paused, dumped; and all of it runs", async () => {
    await expectTaken(cluster.lab.node("node3"), part);
  });

  it("has one moment over two nodes: counters in lock-step differ by no more than what was in flight", async () => {
    const counts: number[] = [];
    for (const [name, host] of [
      ["node3/left", "node3"],
      ["node2/right", "node2"],
    ] as const) {
      const copy = `copy-${name.replace("/", "-")}`;
      await cluster.skep(["restore", "volume", name, "--as", copy, "--yes", "--identity", cluster.identity]);
      counts.push(Number(await readFile(volumeFile(cluster.lab.node(host), copy, "counter"), "utf8")));
      if (host === "node3")
        restoredLeft = await readdir(volumeFile(cluster.lab.node(host), copy, ""), { recursive: true });
      await cluster.lab.node(host).run(["docker", "volume", "rm", copy]);
    }
    const [left = 0, right = 0] = counts;
    console.log(`      left ${left}, right ${right}`);
    expect(right).to.be.above(100);
    expect(left - right).to.be.within(0, 1);
  });

  it("takes nothing of what skep.exclude names, and no volume for which skep.enable=false is said", () => {
    expect(restoredLeft.sort()).to.deep.equal(["counter", "kept", "scrap"]);
    expect(run.parts.map(({ name }) => name)).to.not.include("node2/rests");
    const left = run.notCovered.find(({ name }) => name === "node2/rests");
    expect(left).to.include({ kind: "volume", reason: "not-selected", message: "skep.enable says so" });
  });

  for (const [how, name] of [
    ["stop", "node2/stopped"],
    ["pause", "node3/paused"],
  ] as const) {
    it(`gives a Redis that was told to ${how} back with all that it had acknowledged before`, async () => {
      const acked = await ackedAt(`cache-${how}`, how === "stop" ? "broke" : "slow");
      const has = await restored(name, name.slice(0, 5));
      console.log(`      acknowledged before ${acked}, restored ${has}`);
      expect(acked).to.be.above(0);
      expect(has).to.be.within(acked, acked + 1);
    });
  }

  it("gives a Redis that runs back what it had when its dump was taken", async () => {
    const dump = part("node2/dumped");
    const node = cluster.lab.node("node2");
    await redisOn(node, "dumped", ["set", "later", "1"]);
    const { plan, result } = await cluster.skepJson<RestoreDocument>([
      "restore",
      "volume",
      "node2/dumped",
      "--yes",
      "--identity",
      cluster.identity,
    ]);
    expect(plan.load?.container).to.match(/^cache-dump\./);
    expect(result).to.deep.include({ kind: "restore-load", loadedBytes: dump.totals?.sourceBytes });
    expect(await redisOn(node, "dumped", ["exists", "later"])).to.equal("0");
    expect(Number(await redisOn(node, "dumped", ["get", "n"]))).to.be.above(100);
    expect(await redisOn(node, "dumped", ["role"])).to.match(/^master/);
  });

  it("leaves a service to its owner who updates it amid a pause, and rolls it back afterwards", async () => {
    const node = cluster.lab.node("node3");
    const engine = connectDocker(node.dockerSocketPath);
    const folder = await mkdtemp(join(tmpdir(), "skep-owner-"));
    const journal = new Journal(join(folder, "journal.sqlite"));
    const signal = AbortSignal.timeout(240_000);
    const inState = (state: string): Promise<string> =>
      docker(node, "ps", "--quiet", "--filter", "volume=paused", "--filter", `status=${state}`);
    const spec = (): Promise<string> =>
      docker(cluster.manager, "service", "inspect", "--format", "{{json .Spec}}", "cache-pause");
    /** Id of the one container that runs, once it is another. By one look: between two the former one may end, and none run. */
    const otherThan = async (former: string): Promise<string> => {
      let id = "";
      await until(async () => {
        id = await inState("running");
        return /^[0-9a-f]{12}$/.test(id) && id !== former;
      }, 90_000);
      return id;
    };
    try {
      const before = await spec();
      const pauseId = randomBytes(6).toString("hex");
      const deadlineAt = new Date(Date.now() + 240_000).toISOString();
      const tools = { journal, moments: new Moments(journal), watches: new Watches() };
      const context = { docker: engine, hostRoot: node.hostPath("/run").replace(/\/run$/, "") };
      await pause({ kind: "pause", pauseId, volumes: ["paused"], before: [], deadlineAt }, context, tools, signal);
      const frozen = await inState("paused");
      expect(frozen).to.match(/^[0-9a-f]{12}$/);
      const update = ["service", "update", "--detach", "--quiet", "--env-add", "EDITION=2", "cache-pause"];
      await docker(cluster.manager, ...update);
      const updated = await otherThan(frozen);
      const meant = await spec();
      const { quiet } = await unpause({ kind: "unpause", pauseId, after: [] }, engine, journal, signal);
      expect(quiet.map(({ how }) => how)).to.deep.equal(["pause"]);
      expect(await spec())
        .to.equal(meant)
        .and.not.equal(before);
      expect([await inState("paused"), await inState("running"), journal.pauses()]).to.deep.equal(["", updated, []]);
      await docker(cluster.manager, "service", "rollback", "--detach", "cache-pause");
      await otherThan(updated);
      expect(await spec()).to.equal(before);
    } finally {
      journal.close();
      await rm(folder, { recursive: true });
    }
  });

  it("rolls a service back past what the run did to it, and back again, by the CLI", async () => {
    const spec = async (): Promise<{ Labels: Record<string, string>; Mode: { Replicated: { Replicas: number } } }> =>
      JSON.parse(
        await docker(cluster.manager, "service", "inspect", "--format", "{{json .Spec}}", "cache-stop"),
      ) as never;
    const before = await spec();
    expect(before.Labels["edition"]).to.equal("2");
    for (const edition of [undefined, "2"]) {
      const rolled = await cluster.skepJson<RolledBack>(["service", "rollback", "cache-stop", "--yes"]);
      expect(rolled.service).to.equal("cache-stop");
      const { Labels, Mode } = await spec();
      expect([Labels["edition"], Mode.Replicated.Replicas]).to.deep.equal([edition, 1]);
      // The first goes past the hold, the second is Docker's own.
      expect(rolled.fromRecord).to.equal(edition === undefined);
    }
    expect(await spec()).to.deep.equal(before);
    const unknown = await cluster.skep(["service", "rollback", "nobody", "--yes"], { tolerant: true });
    expect([unknown.code, unknown.stderr]).to.satisfy(
      ([code, stderr]: [number, string]) => code === 1 && stderr.includes("SKEP_SERVICE_UNKNOWN"),
    );
  });
});
