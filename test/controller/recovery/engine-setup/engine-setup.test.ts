import { expect } from "chai";
import fc from "fast-check";
import { compareSetup, machineSettings, sha256 } from "../../../../controller/recovery/engine-setup/engine-setup.ts";
import { examineSetup } from "../../../../controller/recovery/engine-setup/setup-findings.ts";
import { readStoredSetup, type StoredSetup } from "../../../../controller/recovery/engine-setup/stored-setup.ts";
import { SkepError } from "../../../../shared/errors.ts";
import type { ArchivedFile } from "../../../../shared/repository/open/archive-reader.ts";

const certificate = { path: "/etc/docker/certs.d/hub.example:5000/ca.crt", mode: 0o640, content: Buffer.from("ca") };

function stored(more: Partial<StoredSetup> = {}): StoredSetup {
  return { nodeId: "n1", hostname: "node1", settings: null, settingsMode: 0o640, files: [], plugins: [], ...more };
}

const bare = { settings: null, files: new Map<string, string>(), plugins: [] };

async function* archived(files: Record<string, Uint8Array>): AsyncGenerator<ArchivedFile> {
  for (const [path, bytes] of Object.entries(files)) {
    async function* content(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(bytes);
    }
    yield { path, mode: 0o640, mtimeMs: 0, sizeBytes: bytes.length, content: content() };
    await Promise.resolve();
  }
}

const read = (files: Record<string, string | Uint8Array>): Promise<StoredSetup> =>
  readStoredSetup(
    { nodeId: "n1", hostname: "node1" },
    archived(Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path, Buffer.from(bytes)]))),
  );

describe("how an engine was set up", () => {
  it("is read from the node's part of a run: settings, files of registries, enabled plugins", async () => {
    const setup = await read({
      "node/engine.json": "{}",
      "node/plugins.json": '[{"Name":"a:1","Enabled":true},{"Name":"b:1","Enabled":false}]',
      "node/files/etc/docker/daemon.json": '{"debug":true}',
      "node/files/etc/docker/certs.d/hub.example:5000/ca.crt": "ca",
      "node/files/etc/default/docker": "X=1",
    });
    expect(setup).to.deep.equal(stored({ settings: { debug: true }, files: [certificate], plugins: ["a:1"] }));
  });

  it("is refused by its code where it is damaged, whatever the bytes are, and none of them is told", async () => {
    for (const path of ["node/plugins.json", "node/files/etc/docker/daemon.json"]) {
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
          try {
            await read({ [path]: bytes });
          } catch (error) {
            expect(error).to.be.instanceOf(SkepError).and.include({ code: "SKEP_RECOVERY_SETUP_INVALID" });
          }
        }),
      );
      const fault = await read({ [path]: '{"token":"s3cret"' }).catch((error: unknown) => error);
      expect(fault).to.include({ code: "SKEP_RECOVERY_SETUP_INVALID" });
      expect(String(fault)).to.not.contain("s3cret");
    }
  });

  it("takes no file and no sum of files that is larger than an agent writes", async () => {
    const fault = await read({ "node/files/etc/docker/daemon.json": Buffer.alloc(1024 * 1024 + 1, " ") }).catch(
      (error: unknown) => error,
    );
    expect(fault).to.include({ code: "SKEP_RECOVERY_SETUP_INVALID" });
  });
});

describe("what a machine's engine lacks", () => {
  it("is what differs of settings, files and plugins; what the machine has besides stays", () => {
    const settings = { debug: true, labels: ["rack=7"] };
    const found = compareSetup([stored({ settings, files: [certificate], plugins: ["a:1"] })], {
      ...bare,
      settings: { debug: true, "log-level": "warn" },
    });
    expect(found).to.deep.equal({
      settings: ["labels"],
      wanted: { settings: { debug: true, "log-level": "warn", labels: ["rack=7"] }, mode: 0o640 },
      files: [certificate],
      plugins: ["a:1"],
      clashes: [],
    });
  });

  it("is nothing once it was brought there, whatever the settings are", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        fc.dictionary(fc.string(), fc.jsonValue()),
        (old, now) => {
          const nodes = [stored({ settings: old, files: [certificate] })];
          const first = compareSetup(nodes, { ...bare, settings: now });
          const after = {
            ...bare,
            settings: first.wanted?.settings ?? now,
            files: new Map(first.files.map(({ path, content }) => [path, sha256(content)])),
          };
          expect(compareSetup(nodes, after)).to.deep.include({ settings: [], wanted: null, files: [] });
        },
      ),
    );
  });

  it("is nothing of what belongs to a machine: its disks, addresses and devices", () => {
    const settings = Object.fromEntries([...machineSettings].map((key) => [key, "/elsewhere"]));
    expect(compareSetup([stored({ settings })], bare)).to.deep.include({ settings: [], wanted: null });
  });

  it("is that of the first of several nodes, and what these had in two ways is told", () => {
    const other = { ...certificate, content: Buffer.from("another ca") };
    const first = stored({ settings: { debug: true }, files: [certificate] });
    const found = compareSetup([first, stored({ settings: { debug: false, ipv6: true }, files: [other] })], bare);
    expect(found).to.deep.include({
      wanted: { settings: { debug: true, ipv6: true }, mode: 0o640 },
      files: [certificate],
    });
    expect(found.clashes).to.deep.equal(["daemon.json's debug", certificate.path]);
  });

  it("is a warning that names the way, and a note where it is brought there", () => {
    const lacks = new Map([["m1", compareSetup([stored({ settings: { ipv6: true }, plugins: ["a:1"] })], bare)]]);
    const [settings, plugin] = examineSetup(lacks, { mode: "raft", setUp: [] });
    expect(settings).to.include({ severity: "warning", code: "engine-settings" });
    expect(settings?.text).to.contain("ipv6").and.contain("--apply-node-facts");
    expect(plugin?.text).to.contain("docker plugin install a:1");
    expect(
      examineSetup(lacks, { mode: "raft", setUp: ["m1"] }).map(({ severity, code }) => `${severity} ${code}`),
    ).to.deep.equal(["note engine-settings", "warning plugin"]);
  });

  it("names no flag that mode quorum does not take", () => {
    const settings = compareSetup([stored({ settings: { ipv6: true }, files: [certificate] })], bare);
    const found = examineSetup(new Map([["m2", settings]]), { mode: "quorum", setUp: [] });
    expect(found.map(({ code }) => code)).to.deep.equal(["engine-settings", "engine-files"]);
    for (const { text } of found) expect(text).to.contain("by hand").and.not.contain("--apply-node-facts");
  });
});
