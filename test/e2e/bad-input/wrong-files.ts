// Files that the operator gives: the policy, the identity, the kit.
import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Run } from "../../../shared/repository/run.ts";
import { failureOf, type Host } from "./host.ts";

const kit = "mine";
const other = "theirs";

export function wrongFiles(getHost: () => Host): void {
  let host: Host;
  let run: Run;
  let tree: string;
  before(async () => {
    host = getHost();
    for (const name of [kit, other]) await host.init(name, ["--store", `file://${host.file(`${name}-store`)}`]);
    await host.newVolume("shop", { rows: "committed" });
    tree = host.tree("shop");
    run = await host.backupWhole(kit, "shop");
  });

  async function restoreWith(identity: string): Promise<{ exitCode: number | null; code: string; message: string }> {
    const result = await host.skep(...host.restoreArgv(kit, "shop", "--identity", identity));
    expect(host.tree("shop")).to.equal(tree);
    return { ...failureOf(result), exitCode: result.code };
  }

  it("names every fault of a policy at once, with its line and an example", async () => {
    const policy = [
      "version: 1",
      "schedules:",
      "  - name: Nightly",
      '    cron: "0 25 * * *"',
      "    timeZone: Europe/Zurick",
      "select:",
      "  volumes: { include: all }",
      "limits: { nodesAtOnce: 0 }",
      "retension: { daily: 7 }",
    ];
    await writeFile(host.file("policy.yaml"), policy.join("\n"));
    const result = await host.skep("policy", "check", "policy.yaml", "--json");
    expect(result.code).to.equal(1);
    const { code, message } = failureOf(result);
    expect(code).to.equal("SKEP_POLICY_INVALID");
    expect(message).to.contain("policy.yaml");
    for (const wanted of [
      /line 3: schedules\[0\]\.name: .*e\.g\. name: nightly/,
      /line 4: schedules\[0\]\.cron: .*e\.g\. cron: "0 3 \* \* \*"/,
      /line 5: schedules\[0\]\.timeZone: .*e\.g\. timeZone: Europe\/Zurich/,
      /line 7: select\.volumes\.include: .*e\.g\. include: \["\*"/,
      /line 8: limits\.nodesAtOnce: .*e\.g\. nodesAtOnce: 10/,
      /line 9: .*retension.*e\.g\./,
    ]) {
      expect(message).to.match(wanted);
    }
  });

  it("refuses an invalid policy in the kit before anything is written", async () => {
    const cluster = join(host.file(kit), "skep.yaml");
    const text = await readFile(cluster, "utf8");
    await writeFile(cluster, text.replace(/^policy:[^]*/m, "policy:\n  version: 1\n  limits: { nodesAtOnce: 0 }\n"));
    try {
      const result = await host.skep(...host.backupArgv(kit, "shop"));
      expect(result.code).to.equal(1);
      const { code, message } = failureOf(result);
      expect(code).to.equal("SKEP_POLICY_INVALID");
      expect(message).to.contain("skep.yaml").and.contain("limits.nodesAtOnce");
    } finally {
      await writeFile(cluster, text);
    }
  });

  it("ends with 12 with the identity of another repository", async () => {
    const error = await restoreWith(join(other, "identity-anna.txt"));
    expect(error).to.include({ exitCode: 12, code: "SKEP_IDENTITY_DOES_NOT_FIT" });
    expect(error.message).to.contain("file://").and.contain("identity");
  });

  it("ends with 12 with another identity under this repository's name", async () => {
    const [mine, theirs] = await Promise.all(
      [kit, other].map((name) => readFile(join(host.file(name), "identity-anna.txt"), "utf8")),
    );
    const secret = /^AGE-SECRET-KEY-.*$/m;
    const mixed = (mine ?? "").replace(secret, secret.exec(theirs ?? "")?.[0] ?? "");
    await writeFile(host.file("mixed.txt"), mixed);
    expect(await restoreWith("mixed.txt")).to.include({ exitCode: 12, code: "SKEP_IDENTITY_DOES_NOT_FIT" });
  });

  it("ends with 12 with the kit of another repository, and writes nothing", async () => {
    const result = await host.skep(...host.backupArgv(other, "shop", "--store", `file://${host.file(`${kit}-store`)}`));
    expect(result.code).to.equal(12);
    expect(failureOf(result)).to.include({ code: "SKEP_CONTROLLER_KEY_DOES_NOT_FIT" });
    const runs = await host.skep("runs", "--from-store", "--kit", kit, "--json");
    expect(runs.stdout).to.contain(run.id);
    expect(JSON.parse(runs.stdout)).to.have.nested.property("runs.length", 1);
  });

  it("refuses an identity file that was cut short, that is damaged, or that is not there", async () => {
    const text = await readFile(join(host.file(kit), "identity-anna.txt"), "utf8");
    for (const length of [text.length - 2, text.indexOf("AGE-SECRET-KEY-") + 30, 200, 0]) {
      await writeFile(host.file("cut.txt"), text.slice(0, length));
      const error = await restoreWith("cut.txt");
      expect(error, `${length} bytes`).to.include({ exitCode: 1, code: "SKEP_IDENTITY_INVALID" });
      expect(error.message).to.contain("cut.txt");
    }
    expect(await restoreWith("nowhere.txt")).to.include({ exitCode: 1, code: "SKEP_CLI_FILE_UNREADABLE" });
  });

  it("loses nothing by all that", async () => {
    expect(await host.restored(kit, "shop", run)).to.equal(tree);
  });
}
