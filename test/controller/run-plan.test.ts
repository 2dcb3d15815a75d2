import { expect } from "chai";
import {
  childId,
  concludeRun,
  jobBytesPerSecond,
  nodesToAsk,
  planVolumes,
  type Failure,
  type NodeFacts,
  type Outcome,
  type RunFrame,
  type RunOutcomes,
  type VolumeJob,
} from "../../controller/run-plan.ts";
import { noWords, wordSources, type WordSources } from "../../controller/volume-speakers.ts";
import { decodePolicy } from "../../controller/policy.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { runSchema, type NotCovered, type Part, type RunNode } from "../../shared/repository/run.ts";

const runId = "20261121-030000-abc123";
const select = { include: ["*"], exclude: ["cache-*"] };

function node(id: string, hostname = id, state = "ready"): RunNode {
  return { id, hostname, role: "worker", availability: "active", state, address: "10.0.0.1" };
}

function part(kind: Part["kind"], name: string, nodeId: string, hostname = nodeId): Part {
  return {
    kind,
    name,
    nodeId,
    hostname,
    status: "done",
    startedAt: "2026-11-21T03:00:00.000Z",
    endedAt: "2026-11-21T03:00:01.000Z",
    attempt: 1,
    warnings: [],
    warningsLeftOut: 0,
  };
}

function volume(name: string, sharedId: string | null = null): NodeFacts["volumes"][number] {
  return { facts: { name, driver: "local", options: {}, labels: {}, scope: "local" }, sharedId, usedBy: [], users: [] };
}

function facts(nodeId: string, volumes: NodeFacts["volumes"], notCovered: NotCovered[] = []): NodeFacts {
  return { kind: "node", part: part("node", nodeId, nodeId), volumes, images: [], notCovered };
}

const failure: Failure = {
  error: { code: "SKEP_SOURCE_VOLUME_GONE", message: "volume db is gone", permanent: true, hint: "look" },
  attempts: 3,
  startedAt: "2026-11-21T03:00:02.000Z",
  endedAt: "2026-11-21T03:00:03.000Z",
  nodeId: "n1",
};

const definitions = (nodes: RunNode[]): TaskResultOf<"definitions"> => ({
  kind: "definitions",
  part: part("definitions", "definitions", "n1"),
  clusterId: "cluster1",
  nodes,
  services: [],
});

const frame: RunFrame = {
  id: runId,
  trigger: "command",
  schedule: null,
  policyVersion: 1,
  startedAt: "2026-11-21T03:00:00.000Z",
  endedAt: "2026-11-21T03:01:00.000Z",
  skepVersion: "0.1.0",
  warnings: [],
  select,
};

function done<T>(result: T): Outcome<T> {
  return { state: "done", result };
}

/** Two nodes, a volume each, all well. */
function well(): RunOutcomes & { nodes: Map<string, { hostname: string; outcome: Outcome<NodeFacts> }> } {
  return {
    raft: done(part("raft", "raft", "n1")),
    definitions: done(definitions([node("n1"), node("n2")])),
    nodes: new Map([
      ["n1", { hostname: "n1", outcome: done(facts("n1", [volume("db")])) }],
      ["n2", { hostname: "n2", outcome: done(facts("n2", [volume("web")])) }],
    ]),
    volumes: new Map([
      [childId(runId, "volume", "n1", "db"), done(part("volume", "n1/db", "n1"))],
      [childId(runId, "volume", "n2", "web"), done(part("volume", "n2/web", "n2"))],
    ]),
  };
}

describe("the plan of a run", () => {
  it("names children by run, kind, node and hash, as job ids allow", () => {
    const id = childId(runId, "volume", "n".repeat(64), "Some_Volume.name");
    expect(id).to.match(/^[0-9a-z-]{1,128}$/);
    expect(childId(runId, "volume", "n1", "a")).to.not.equal(childId(runId, "volume", "n1", "b"));
    expect(childId(runId, "raft")).to.equal(`${runId}-raft`);
  });

  it("asks the nodes that are up and whose agent is heard, or was a moment ago", () => {
    const nodes = [node("n1"), node("n2", "n2", "down"), node("n3"), node("n4")];
    const agents = ["n1", "n2", "n4", "n5"].map((nodeId) => ({ nodeId, hostname: nodeId, silentMs: 0 }));
    const silent = [{ nodeId: "n3", hostname: "n3", silentMs: 90_000 }];
    expect(nodesToAsk(nodes, [...agents, ...silent], 60_000).map(({ nodeId }) => nodeId)).to.deep.equal(["n1", "n4"]);
    expect(nodesToAsk(nodes, [...agents, ...silent], 91_000).map(({ nodeId }) => nodeId)).to.include("n3");
  });

  it("asks everybody who is heard when the definitions are missing", () => {
    const agents = [
      { nodeId: "n1", hostname: "a", silentMs: 0 },
      { nodeId: "n2", hostname: "b", silentMs: 99_000 },
    ];
    expect(nodesToAsk(null, agents, 60_000)).to.deep.equal([{ nodeId: "n1", hostname: "a" }]);
  });

  it("takes what is selected, each node's own, and lists the rest with its reason", () => {
    const bind: NotCovered = { kind: "bind", name: "n1:/srv", reason: "bind-mount", message: "a bind mount" };
    const plan = planVolumes(
      new Map([
        ["n2", facts("n2", [volume("db")])],
        ["n1", facts("n1", [volume("db"), volume("cache-1")], [bind])],
      ]),
      select,
    );
    expect(plan.jobs.map(({ nodeId, volume: { name } }) => `${nodeId}/${name}`)).to.deep.equal(["n1/db", "n2/db"]);
    expect(plan.notCovered).to.deep.equal([
      {
        kind: "volume",
        name: "n1/cache-1",
        hostname: "n1",
        reason: "not-selected",
        message: "the policy does not select it",
      },
      bind,
    ]);
  });

  it("takes a shared volume once, and says where", () => {
    const plan = planVolumes(
      new Map([
        ["n3", facts("n3", [volume("media", "nfs:10.0.0.9:/media")])],
        ["n1", facts("n1", [volume("media", "nfs:10.0.0.9:/media")])],
        ["n2", facts("n2", [volume("films", "nfs:10.0.0.9:/media"), volume("media", "nfs:10.0.0.9:/other")])],
      ]),
      select,
    );
    expect(plan.jobs.map(({ nodeId, volume: { name } }) => `${nodeId}/${name}`)).to.deep.equal([
      "n1/media",
      "n2/media",
    ]);
    expect(plan.notCovered.map(({ name, reason, message }) => `${name} ${reason}: ${message}`)).to.deep.equal([
      "n2/films taken-elsewhere: taken on n1, which shares it",
      "n3/media taken-elsewhere: taken on n1, which shares it",
    ]);
  });

  it("does not lose a shared volume to a node where the policy excludes it", () => {
    const plan = planVolumes(
      new Map([
        ["n1", facts("n1", [volume("media", "nfs")])],
        ["n2", facts("n2", [volume("media", "nfs")])],
      ]),
      { include: ["*"], exclude: ["n1/*"] },
    );
    expect(plan.jobs.map(({ nodeId }) => nodeId)).to.deep.equal(["n2"]);
  });

  describe("hears all nodes that share a volume", () => {
    const shared = (name: string): NodeFacts["volumes"][number] => volume(name, "nfs:10.0.0.9:/media");
    const used = (labels: Record<string, string>): NodeFacts["volumes"][number] => {
      const user = { container: "db.1", serviceId: "db1", uses: "all" as const, runs: true, labels };
      return { ...shared("media"), users: [user] };
    };
    const planOf = (labels: Record<string, string>): ReturnType<typeof planVolumes> =>
      planVolumes(
        new Map([
          ["n1", facts("n1", [shared("media")])],
          ["n2", facts("n2", [used(labels)])],
        ]),
        select,
        { rules: [], services: [], nodes: ["n1", "n2", "n3"].map((id) => node(id)) },
      );

    it("and leaves it out where one of them says so", () => {
      const { jobs, notCovered } = planOf({ "skep.enable": "false" });
      expect(jobs).to.deep.equal([]);
      expect(notCovered.map(({ name, message }) => `${name}: ${message}`)).to.deep.equal([
        "n1/media: skep.enable says so",
        "n2/media: skep.enable says so",
      ]);
    });

    it("takes its files on the first, with what the others say, and knows who was not asked", () => {
      const [job, ...others] = planOf({ "skep.quiesce": "pause", "skep.exclude": "tmp" }).jobs;
      expect(others).to.deep.equal([]);
      expect(job).to.deep.include({ nodeId: "n1", words: { quiesce: "pause", exclude: ["tmp"] }, unasked: ["n3"] });
      expect(job?.users).to.deep.equal([{ nodeId: "n2", container: "db.1", serviceId: "db1", uses: "all" }]);
      expect(job?.views.map(({ nodeId }) => nodeId)).to.deep.equal(["n1", "n2"]);
    });

    it("takes its dump where its program runs", () => {
      const { jobs, notCovered } = planOf({ "skep.dump": "pg_dumpall" });
      expect(jobs.map(({ nodeId }) => nodeId)).to.deep.equal(["n2"]);
      expect(notCovered.map(({ name, message }) => `${name}: ${message}`)).to.deep.equal([
        "n1/media: taken on n2, which shares it",
      ]);
    });
  });

  it("takes all of a volume, whatever one says that uses only a folder in it", () => {
    const user = (container: string, uses: "all" | "part", labels: Record<string, string>) => ({
      ...{ container, serviceId: null, uses, runs: true, labels },
    });
    const planOf = (labels: Record<string, string>): ReturnType<typeof planVolumes> => {
      const app = { ...volume("app"), users: [user("web", "all", {}), user("db", "part", labels)] };
      return planVolumes(new Map([["n1", facts("n1", [app])]]), select);
    };
    for (const labels of [{ "skep.dump": "x" }, { "skep.enable": "false" }, { "skep.exclude": "**" }]) {
      const { jobs, notCovered } = planOf({ ...labels, "skep.quiesce": "pause" });
      expect(jobs.map(({ words }) => words)).to.deep.equal([{ quiesce: "pause" }]);
      expect(jobs[0]?.faults).to.have.length(1);
      expect(notCovered).to.deep.equal([]);
    }
  });

  it("does not know who shares a volume while the swarm's definitions could not be read", () => {
    const found = new Map([["n1", facts("n1", [volume("media", "nfs::/media"), volume("own")])]]);
    const unasked = (sources: WordSources): VolumeJob["unasked"][] =>
      planVolumes(found, select, sources).jobs.map((job) => job.unasked);
    expect(unasked(wordSources([], null))).to.deep.equal([null, []]);
    expect(unasked(wordSources([], definitions([node("n1"), node("n2")])))).to.deep.equal([["n2"], []]);
    expect(unasked(noWords), "a host of its own").to.deep.equal([[], []]);
  });

  it("dumps what a service that runs nowhere says is to be dumped, which fails and never becomes a copy of files", () => {
    const db = {
      ...{ id: "db1", name: "db", mode: "replicated" as const, replicas: 0, volumes: ["db"], binds: [], image: "" },
      ...{ labels: { "skep.dump": "pg_dumpall" }, containerLabels: {}, mayRunOn: ["n1"] },
    };
    const found = new Map(["n1", "n2"].map((id) => [id, facts(id, [volume("db")])]));
    const { jobs } = planVolumes(found, select, { ...noWords, services: [db] });
    expect(jobs.map(({ nodeId, words }) => `${nodeId} ${words.dump === undefined ? "files" : "dump"}`)).to.deep.equal([
      "n1 dump",
      "n2 files",
    ]);
  });

  it("leave out the volumes of Skep's own stack, and say so", () => {
    const own = volume("skep_agent_state");
    own.facts.labels["io.skep.own"] = "true";
    const plan = planVolumes(new Map([["n1", facts("n1", [volume("db"), own])]]), select);
    expect(plan.jobs.map(({ volume: { name } }) => name)).to.deep.equal(["db"]);
    expect(plan.notCovered.map(({ name, reason }) => `${name} ${reason}`)).to.deep.equal([
      "n1/skep_agent_state not-selected",
    ]);
  });
});

describe("the end of a run", () => {
  it("is done when all that was wanted is there", () => {
    const run = concludeRun(frame, well());
    expect(run.status).to.equal("done");
    expect(run.parts.map(({ kind, name }) => `${kind} ${name}`)).to.deep.equal([
      "raft raft",
      "definitions definitions",
      "node n1",
      "node n2",
      "volume n1/db",
      "volume n2/web",
    ]);
    expect(run.clusterId).to.equal("cluster1");
    runSchema.parse({
      ...run,
      format: 1,
      repositoryId: "0".repeat(32),
      incarnation: 1,
      sequence: 1,
      previousDigest: null,
      upkeepSequence: null,
    });
  });

  it("is partial when a volume failed, and names it with its reason", () => {
    const volumes = new Map(well().volumes).set(childId(runId, "volume", "n1", "db"), { state: "failed", failure });
    const run = concludeRun(frame, { ...well(), volumes });
    expect(run.status).to.equal("partial");
    const failed = run.parts.find(({ name }) => name === "n1/db");
    expect(failed).to.include({ status: "failed", nodeId: "n1", hostname: "n1", attempt: 3 });
    expect(failed?.error).to.deep.equal(failure.error);
    expect(failed?.volume?.driver).to.equal("local");
  });

  it("is partial when a planned volume vanished from the queue", () => {
    const volumes = new Map(well().volumes);
    volumes.delete(childId(runId, "volume", "n2", "web"));
    const run = concludeRun(frame, { ...well(), volumes });
    expect(run.status).to.equal("partial");
    expect(run.parts.find(({ name }) => name === "n2/web")?.error?.code).to.equal("SKEP_JOB_LOST");
  });

  it("is failed without Raft, and records the volumes all the same", () => {
    const run = concludeRun(frame, { ...well(), raft: { state: "failed", failure: { ...failure, nodeId: null } } });
    expect(run.status).to.equal("failed");
    expect(run.parts[0]).to.include({ kind: "raft", name: "raft", nodeId: "none", status: "failed" });
    expect(run.parts.filter(({ kind, status }) => kind === "volume" && status === "done")).to.have.length(2);
  });

  it("is partial without definitions, and takes what the agents tell", () => {
    const run = concludeRun(frame, { ...well(), definitions: { state: "failed", failure } });
    expect(run.status).to.equal("partial");
    expect(run.clusterId).to.equal(null);
    expect(run.parts.filter(({ kind }) => kind === "volume")).to.have.length(2);
  });

  it("is partial when a node is down or has no agent, and lists both as not covered", () => {
    const nodes = [node("n1"), node("n2"), node("n3", "third", "down"), node("n4", "fourth")];
    const run = concludeRun(frame, { ...well(), definitions: done(definitions(nodes)) });
    expect(run.status).to.equal("partial");
    expect(run.notCovered.map(({ kind, name, reason }) => `${kind} ${name} ${reason}`)).to.deep.equal([
      "node third node-down",
      "node fourth no-agent",
    ]);
  });

  it("is partial when an agent did not tell its facts", () => {
    const nodes = well().nodes.set("n2", { hostname: "n2", outcome: { state: "failed", failure } });
    const run = concludeRun(frame, { ...well(), nodes });
    expect(run.status).to.equal("partial");
    expect(run.parts.find(({ kind, name }) => kind === "node" && name === "n2")?.status).to.equal("failed");
    expect(run.notCovered).to.deep.equal([]);
  });

  it("is done beside bind mounts and unselected volumes, but not beside a selected volume that can't be read", () => {
    const left = (entries: NotCovered[]) =>
      concludeRun(frame, {
        ...well(),
        nodes: well().nodes.set("n1", { hostname: "n1", outcome: done(facts("n1", [volume("db")], entries)) }),
      });
    const unread = { kind: "volume", hostname: "n1", reason: "unsupported", message: "the plugin is off" } as const;
    expect(left([{ kind: "bind", name: "n1:/srv", reason: "bind-mount", message: "" }]).status).to.equal("done");
    expect(left([{ ...unread, name: "n1/films" }]).status).to.equal("partial");
    const excluded = left([{ ...unread, name: "n1/cache-films" }]);
    expect(excluded.status).to.equal("done");
    expect(excluded.notCovered[0]).to.include({ reason: "not-selected" });
  });

  it("is done without Raft on a host of its own, and lists a manager's other nodes as not selected", () => {
    const standalone: RunFrame = { ...frame, trigger: "standalone" };
    const alone = { ...well(), raft: null, definitions: null };
    alone.nodes.delete("n2");
    const run = concludeRun(standalone, alone);
    expect(run.status).to.equal("done");
    expect(run.parts.map(({ kind }) => kind)).to.deep.equal(["node", "volume"]);
    const manager = well();
    manager.nodes.delete("n2");
    const taken = concludeRun(standalone, manager);
    expect(taken.status).to.equal("done");
    expect(taken.notCovered).to.deep.include({
      kind: "node",
      name: "n2",
      hostname: "n2",
      reason: "not-selected",
      message: "a standalone run takes the host that it runs on",
    });
  });

  it("is failed on a host of its own where no volume could be taken, or not even its facts", () => {
    const standalone: RunFrame = { ...frame, trigger: "standalone" };
    const alone = { ...well(), raft: null, definitions: null };
    alone.nodes.delete("n2");
    const without = { ...alone, volumes: new Map() };
    expect(concludeRun(standalone, without).status).to.equal("failed");
    const blind = {
      ...alone,
      nodes: new Map([["n1", { hostname: "n1", outcome: { state: "failed" as const, failure } }]]),
    };
    expect(concludeRun(standalone, blind).status).to.equal("failed");
  });
});

describe("the limit of one job", () => {
  const limits = (text: string) => decodePolicy(`version: 1\nlimits: ${text}`, "a test").limits;

  it("is the tighter share of the node's and the cluster's", () => {
    expect(jobBytesPerSecond(limits("{}"), 5, 2)).to.equal(0);
    expect(jobBytesPerSecond(limits("{ bytesPerSecondPerNode: 1000 }"), 5, 2)).to.equal(500);
    expect(jobBytesPerSecond(limits("{ bytesPerSecondInAll: 1000, nodesAtOnce: 10 }"), 5, 2)).to.equal(100);
    expect(jobBytesPerSecond(limits("{ bytesPerSecondInAll: 1000, nodesAtOnce: 2 }"), 5, 2)).to.equal(250);
    expect(
      jobBytesPerSecond(limits("{ bytesPerSecondInAll: 1000, nodesAtOnce: 2, bytesPerSecondPerNode: 100 }"), 5, 2),
    ).to.equal(50);
    expect(jobBytesPerSecond(limits("{ bytesPerSecondInAll: 1 }"), 5, 2)).to.equal(1);
  });
});
