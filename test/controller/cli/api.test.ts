import { expect } from "chai";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { versionDocument } from "../../../controller/cli/documents.ts";
import { agentsSchema, findingsSchema, type Agent } from "../../../controller/api/schemas.ts";
import { hangUp, startApiServer, type Answer, type ApiServer, type Asked } from "./api-server.ts";
import { runCli, type CliResult } from "./run-cli.ts";

const fingerprint = `SHA256:${"a".repeat(43)}`;
const agent = (fields: Partial<Agent>): Agent => ({
  nodeId: "node1id",
  hostname: "node1",
  role: "manager",
  leader: true,
  fingerprint,
  state: "enrolled",
  enrolledAt: "2026-11-21T03:00:00.000Z",
  lastSeenAt: new Date().toISOString(),
  skepVersion: "0.1.0",
  engineVersion: "26.1.5",
  problems: [],
  ...fields,
});

describe("the CLI at the controller's API", () => {
  let folder: string;
  let server: ApiServer;
  let answers: (asked: Asked) => Answer;
  before(async function () {
    this.timeout(30_000);
    folder = mkdtempSync(join(tmpdir(), "skep-api-"));
    for (const name of ["kit", "other"]) {
      const made = await runCli(
        ["init", "--no-stored-kit", "--store", `file://${folder}/${name}-store`, "--operator", "anna", "--out", name],
        {
          cwd: folder,
        },
      );
      expect(made.code, made.stderr).to.equal(0);
    }
    server = await startApiServer(join(folder, "kit"), (asked) => answers(asked));
  });
  beforeEach(() => {
    server.asked.length = 0;
    answers = () => ({ status: 404, body: "nothing here" });
  });
  after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
  const cli = (...argv: string[]): Promise<CliResult> =>
    runCli([...argv, "--kit", "kit", "--api", server.url], { cwd: folder });

  it("lists the agents with their state, and how to approve a new key", async () => {
    const agents = [
      agent({}),
      agent({ nodeId: "node2id", hostname: "node2", role: "worker", leader: false, state: "waiting" }),
    ];
    answers = () => ({ body: { agents } });
    const { code, stdout, stderr } = await cli("agents");
    expect(code, stderr).to.equal(0);
    expect(stdout)
      .to.match(/node1 +node1id +leader +ready/)
      .and.match(/node2 +node2id +worker +waiting/);
    expect(stderr).to.contain(`skep agents approve node2id --fingerprint ${fingerprint}`);
    expect(server.asked).to.deep.equal([{ method: "GET", path: "/v1/agents", body: "" }]);
    expect(agentsSchema.parse(JSON.parse((await cli("agents", "--json")).stdout)).agents).to.have.length(2);
  });

  it("approves exactly the fingerprint that was named", async () => {
    answers = ({ method }) => ({ body: method === "GET" ? { agents: [agent({})] } : agent({}) });
    const { code, stderr } = await cli("agents", "approve", "node1", "--fingerprint", fingerprint);
    expect(code, stderr).to.equal(0);
    expect(server.asked[1]).to.deep.equal({
      method: "POST",
      path: "/v1/agents/node1id/approve",
      body: JSON.stringify({ fingerprint }),
    });
    const unknown = await cli("agents", "approve", "node9", "--fingerprint", fingerprint);
    expect(unknown.stderr).to.contain("SKEP_CLI_NODE_UNKNOWN").and.contain("node1 (node1id)");
  });

  it("ends with the controller's own error and the exit code that belongs to it", async () => {
    const error = {
      code: "SKEP_RUN_IN_PROGRESS",
      message: "run 20261121-030000-aaaaaa is under way",
      permanent: true,
      hint: "wait for it",
    };
    answers = () => ({ status: 409, body: { error } });
    const { code, stdout, stderr } = await cli("backup", "--json");
    expect(code).to.equal(11);
    expect(JSON.parse(stdout)).to.deep.equal({ error });
    expect(stderr).to.contain(
      "error: run 20261121-030000-aaaaaa is under way\nhint: wait for it\ncode: SKEP_RUN_IN_PROGRESS",
    );
  });

  it("sends nothing to a server with another certificate", async () => {
    const impostor = await startApiServer(join(folder, "other"), () => ({ body: { agents: [] } }));
    try {
      const { code, stderr } = await runCli(["agents", "--kit", "kit", "--api", impostor.url], { cwd: folder });
      expect(code).to.equal(1);
      expect(stderr).to.contain("SKEP_API_CERTIFICATE");
      expect(impostor.asked).to.deep.equal([]);
    } finally {
      await impostor.close();
    }
  });

  it("finds the controller on whichever manager has it, and tells of each where none has", async () => {
    answers = () => ({ body: { agents: [agent({})] } });
    const at = (...urls: string[]): Promise<CliResult> =>
      runCli(["agents", "--kit", "kit", ...urls.flatMap((url) => ["--api", url])], { cwd: folder });
    const found = await at("https://127.0.0.1:1", server.url);
    expect(found.code, found.stderr).to.equal(0);
    expect(server.asked).to.deep.equal([{ method: "GET", path: "/v1/agents", body: "" }]);
    const none = await at("https://127.0.0.1:1", "https://127.0.0.1:2");
    expect(none.code).to.equal(1);
    expect(none.stderr)
      .to.contain("SKEP_API_UNREACHABLE")
      .and.contain("https://127.0.0.1:1 cannot")
      .and.contain("https://127.0.0.1:2 cannot");
  });

  it("says that nobody answers, that the token is wrong, and that the answer is not understood", async () => {
    const gone = await runCli(["runs", "--kit", "kit", "--api", "https://127.0.0.1:1"], { cwd: folder });
    expect(gone.code).to.equal(1);
    expect(gone.stderr).to.contain("SKEP_API_UNREACHABLE").and.contain("--from-store");
    writeFileSync(join(folder, "wrong.token"), "x".repeat(43));
    const wrong = await cli("agents", "--token-file", "wrong.token");
    expect(wrong.stderr).to.contain("SKEP_API_UNAUTHORIZED");
    answers = () => ({ body: { agents: [{ nodeId: 1 }] } });
    const odd = await cli("agents");
    expect(odd.stderr).to.contain("SKEP_API_ANSWER_INVALID");
    for (const { stdout, stderr } of [gone, wrong, odd]) {
      expect(stdout + stderr).to.not.contain(readFileSync(join(folder, "kit", "api.token"), "utf8").trim());
    }
  });

  it("refuses a controller without TLS before it says a word", async () => {
    const { code, stderr } = await runCli(["agents", "--kit", "kit", "--api", "http://127.0.0.1:1"], { cwd: folder });
    expect(code).to.equal(1);
    expect(stderr).to.contain("https://HOST:PORT");
  });

  it("shows the versions of both sides", async () => {
    answers = () => ({ body: { ok: true, skepVersion: "9.9.9" } });
    const { stdout } = await cli("version", "--json");
    expect(versionDocument.parse(JSON.parse(stdout)).controllerVersion).to.equal("9.9.9");
    const alone = await runCli(["version", "--json"], { cwd: tmpdir() });
    expect(versionDocument.parse(JSON.parse(alone.stdout)).controllerVersion).to.equal(null);
  });

  it("shows the policy as YAML, and sets one only when it is valid", async () => {
    answers = () => ({ body: { version: 4, policy: { version: 1, schedules: [] } } });
    const shown = await cli("policy", "show");
    expect(shown.stdout).to.equal("version: 1\nschedules: []\n");
    writeFileSync(
      join(folder, "bad.yaml"),
      "version: 1\nschedules:\n  - name: nightly\n    cron: nonsense\n    timeZone: Moon\n",
    );
    server.asked.length = 0;
    const bad = await cli("policy", "set", "bad.yaml");
    expect(bad.code).to.equal(1);
    expect(bad.stderr).to.contain("line 4: schedules[0].cron").and.contain("line 5: schedules[0].timeZone");
    expect(server.asked).to.deep.equal([]);
    writeFileSync(join(folder, "good.yaml"), "version: 1\n");
    expect((await cli("policy", "set", "good.yaml")).stdout).to.contain("policy version 4");
    expect(server.asked).to.deep.equal([{ method: "PUT", path: "/v1/policy", body: "version: 1\n" }]);
  });

  it("follows a run to its end, through a pause of the controller, and ends with the run's status", async function () {
    this.timeout(30_000);
    const { sampleRun } = await import("./sample-run.ts");
    const id = "20261121-030000-cccccc";
    const run = {
      ...sampleRun(id),
      format: 1,
      repositoryId: "ab".repeat(16),
      incarnation: 1,
      sequence: 1,
      previousDigest: null,
      upkeepSequence: null,
    };
    const progress = {
      id,
      status: "running",
      stage: "snapshots",
      trigger: "command",
      schedule: null,
      startedAt: run.startedAt,
      parts: [{ kind: "volume", name: "node1/www", hostname: "node1", state: "running", attempt: 1, progress: null }],
    };
    let polls = 0;
    answers = ({ method }) => {
      if (method === "POST") return { status: 202, body: { runId: id } };
      polls++;
      if (polls === 2) return hangUp;
      return { body: polls < 4 ? { progress } : { run } };
    };
    const { code, stdout, stderr } = await cli("backup", "--wait");
    expect(code, stderr).to.equal(3);
    expect(stdout).to.equal(`${id}\n`);
    expect(stderr).to.contain("volume node1/www: running").and.contain(`run ${id} is partial`);
    expect(stderr).to.contain("waiting for it").and.contain("the controller answers again");
  });

  it("doctor passes on what the controller finds, and fails on its errors", async () => {
    const warning = { level: "warning", code: "SKEP_SOMETHING", message: "look at this", hint: "do that" };
    const findings = [warning];
    answers = () => ({ body: { findings } });
    const well = await cli("doctor");
    expect(well.code, well.stdout + well.stderr).to.equal(0);
    expect(well.stdout).to.contain("look at this").and.contain("hint: do that");
    expect(well.stdout).to.contain("the identity opens repository");
    findings.push({ ...warning, level: "error", code: "SKEP_AGENT_NO_MANAGER" });
    const { code, stdout } = await cli("doctor", "--json");
    expect(code).to.equal(1);
    const codes = findingsSchema.parse(JSON.parse(stdout)).findings.map(({ code: found }) => found);
    expect(codes).to.include.members(["SKEP_DOCTOR_STORE", "SKEP_DOCTOR_CONTROLLER_KEY", "SKEP_AGENT_NO_MANAGER"]);
  });

  it("doctor names every fault at once: a lost store, an identity that does not fit, a kit that others may read", async () => {
    answers = () => ({ status: 500, body: "oops" });
    const other = join(folder, "other", "identity-anna.txt");
    const card = join(folder, "kit", "recovery-card.txt");
    chmodSync(card, 0o644);
    const { code, stdout } = await cli("doctor", "--identity", other, "--json");
    chmodSync(card, 0o600);
    expect(code).to.equal(1);
    const codes = findingsSchema.parse(JSON.parse(stdout)).findings.map(({ code: found }) => found);
    expect(codes).to.include("SKEP_DOCTOR_KIT_READABLE");
    expect(codes).to.include.members(["SKEP_IDENTITY_DOES_NOT_FIT", "SKEP_API_ANSWER_INVALID", "SKEP_DOCTOR_STORE"]);
    const lost = await cli("doctor", "--store", `file://${folder}/gone`, "--json");
    expect(lost.code).to.equal(1);
    expect(lost.stdout).to.contain("SKEP_STORE_");
  });
});
