import { expect } from "chai";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { fetchScript, readingPlace } from "../../../controller/runbook/fetch-script.ts";
import { workFolder } from "../../../controller/runbook/runbook-text.ts";
import { withRunbook } from "../../../controller/runbook/write-runbook.ts";
import { encodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { layout, newRunId } from "../../../shared/repository/layout.ts";
import { readArchive } from "../../../shared/repository/open/archive-reader.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { appendRun, type NewRun } from "../../../shared/repository/run-chain.ts";
import type { Part } from "../../../shared/repository/run.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { samplePart, sampleRun } from "../cli/sample-run.ts";
import { operatorOf } from "../cli/committed-run.ts";
import { backUp, makePlace, writerId, type Place } from "../../shared/repository/snapshots.ts";
import { walk } from "../../shared/repository/walk.ts";

const readerPath = fileURLToPath(new URL("../../../controller/runbook/restore-by-hand.py", import.meta.url));

/** What a shell could take for its own, in every name that a user chooses. */
const hostile = {
  name: "da'ta $(touch pwned)",
  labels: { "a b": "'; touch pwned; '", nl: "one\ntwo", tick: "`touch pwned`" },
  options: { o: 'size="1" $HOME \\' },
};

describe("the runbook of a run", () => {
  let place: Place;
  let result: SnapshotResult;
  let runId: string;

  before(async () => {
    place = await makePlace();
    const at = (...names: string[]): string => join(place.source, ...names);
    mkdirSync(at("folder"), { mode: 0o710 });
    writeFileSync(at("folder", "small"), "hello", { mode: 0o640 });
    writeFileSync(at("folder", "large"), randomBytes(2_000_000));
    writeFileSync(at("zeros"), Buffer.alloc(700_000));
    linkSync(at("folder", "small"), at("link"));
    runId = newRunId(Date.now());
    result = await backUp(place, { runId });
  });
  after(() => place.remove());

  const packs = (): string[] =>
    readdirSync(join(place.storePath, "packs"), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name);

  const make = async (
    volume: Part["volume"],
    image?: Part["image"],
  ): Promise<{ run: NewRun; files: Map<string, string> }> => {
    const { manifest, refs, totals } = result;
    const part = samplePart({
      kind: "volume",
      name: `host1/${volume?.name ?? ""}`,
      hostname: "host1",
      nodeId: writerId,
    });
    const taken = { status: "done" as const, epoch: 1, manifest, refs, totals };
    const parts = [{ ...part, ...taken, ...(volume && { volume }) }];
    if (image !== undefined) parts.push({ ...samplePart({ kind: "image", name: "app:1" }), ...taken, image });
    const { store, made } = place;
    const run = await withRunbook(
      sampleRun(runId, { status: "done", parts, notCovered: [], warnings: [], nodes: [] }),
      {
        store,
        location: { url: store.address },
        repository: made.repositoryObject,
        packs: new Map([[refs.key, packs()]]),
        now: Date.now(),
      },
    );
    const archive = run.parts.at(-1)?.archive ?? expect.fail("no runbook");
    const identity = await (await openAsOperator(store, made.identityFile)).epochIdentity(1);
    const files = new Map<string, string>();
    for await (const { path, content } of readArchive({ store, archive, identity })) {
      files.set(path, Buffer.concat(await Array.fromAsync(content)).toString("utf8"));
    }
    return { run, files };
  };

  const commandsOf = (text: string): string[] =>
    [...text.matchAll(/^```sh\n(.*?)^```/gms)].map(([, body]) => body ?? "");

  /** With the working folder elsewhere, and a `docker` that notes its arguments and knows of one mount point. */
  const carryOut = (text: string, folder: string): string[][] => {
    const noted = join(folder, "docker.txt");
    const mountpoint = join(folder, "mounted");
    const docker = `docker() { printf '%s\\037' "$@" >> '${noted}'; printf '\\036' >> '${noted}'; echo '${mountpoint}'; }`;
    const moved = commandsOf(text).map((body) => body.replaceAll(workFolder, folder));
    execFileSync("sh", ["-euc", [docker, ...moved].join("\n")], { encoding: "utf8", cwd: folder });
    return readFileSync(noted, "utf8")
      .split("\u001e")
      .slice(0, -1)
      .map((call) => call.split("\u001f").slice(0, -1));
  };

  it("brings a volume back from a store that is a folder, by its own commands, each name as it was", async () => {
    const volume = { ...hostile, driver: "local", scope: "local" as const };
    const { run, files } = await make(volume);
    expect(run.parts.at(-1)).to.include({ kind: "runbook", status: "done", nodeId: "controller" });
    const folder = join(place.path, "by-hand");
    mkdirSync(folder);
    writeFileSync(join(folder, "identity.txt"), encodeIdentityFile(place.made.identityFile));
    const [create, inspect] = carryOut(files.get("RUNBOOK.md") ?? "", folder);
    expect(create).to.deep.equal([
      ...["volume", "create", "--driver", "local"],
      ...Object.entries(volume.labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]),
      ...["--opt", `o=${volume.options.o}`, volume.name],
    ]);
    expect(inspect?.at(-1)).to.equal(volume.name);
    const tree = async (root: string): Promise<unknown[]> =>
      (await Array.fromAsync(walk(root))).map(({ metadata, file }) => [
        metadata,
        file === null ? null : readFileSync(file.path).toString("base64"),
      ]);
    expect(await tree(join(folder, "mounted"))).to.deep.equal(await tree(place.source));
    expect(existsSync(join(folder, "pwned"))).to.equal(false);
    // Only what this volume needs was fetched.
    expect(files.get("objects/0001.txt")?.trim().split("\n").sort()).to.deep.equal(
      [result.manifest.key, ...packs().map((pack) => layout.pack(pack))].sort(),
    );
  });

  it("loads the images that the run took, and gives each the names by which services ask for it", async () => {
    const volume = { name: "data", driver: "local", labels: {}, options: {}, scope: "local" as const };
    const names = ["app:1", `host:5000/b@sha256:${"d".repeat(64)}`, "x$(touch pwned):2"];
    const image = { id: `sha256:${"a".repeat(64)}`, names, digests: [], architecture: "amd64", os: "linux" };
    const { files } = await make(volume, image);
    const folder = join(place.path, "image");
    mkdirSync(folder);
    writeFileSync(join(folder, "identity.txt"), encodeIdentityFile(place.made.identityFile));
    const text = files.get("RUNBOOK.md") ?? "";
    const [load, ...tags] = carryOut(text, folder).slice(2);
    expect(load?.join(" ")).to.match(/^load -q -i image-[0-9a-f]{32}\/image\.tar$/);
    // What the `docker` of this test says to everything.
    const said = join(folder, "mounted");
    const given = ["app:1", "host:5000/b:skep-dddddddddddd", "x$(touch pwned):2"];
    expect(tags).to.deep.equal(given.map((name) => ["tag", said, name]));
    expect(text).to.contain("becomes host:5000/b:skep-dddddddddddd");
    expect(existsSync(join(folder, "pwned"))).to.equal(false);
  });

  it("has a reader that writes nothing outside its target, whatever a manifest names", async () => {
    const outside = join(place.path, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "there"), "as it was");
    const identity = await (await openAsOperator(place.store, place.made.identityFile)).epochIdentity(1);
    writeFileSync(join(place.path, "epoch.txt"), `${identity}\n`);
    const facts = { mode: 0o755, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mtimeNs: "0" };
    const root = { ...facts, path: "", type: "directory" as const };
    const link = (path: string, linkTarget: string) => ({ ...facts, path, type: "symlink" as const, linkTarget });
    const fifo = (path: string, more: { hardLinkTo?: string } = {}) => ({
      ...{ ...facts, ...more, path, type: "fifo" as const },
    });
    const cases = [
      [root, fifo("../outside/new")],
      [root, fifo(join(outside, "new"))],
      [root, link("a", outside), fifo("a/new")],
      [root, link("a", outside), fifo("b", { hardLinkTo: "a/there" })],
    ];
    for (const [number, metadata] of cases.entries()) {
      const entries = metadata.map((one) => ({ metadata: one, file: null }));
      const { manifest } = await backUp(place, { entries: Readable.from(entries) });
      const argv = [readerPath, "store", "epoch.txt", `store/${manifest.key}`, `target-${number}`];
      const { status, stderr } = spawnSync("python3", argv, { cwd: place.path, encoding: "utf8" });
      expect(status, stderr).to.equal(1);
      expect(stderr).to.match(/leads out of the target|is there already, and is no file/);
      expect(readdirSync(outside)).to.deep.equal(["there"]);
      expect(existsSync(join(place.path, `target-${number}`, "b"))).to.equal(false);
    }
  });

  it("reads only listed packs, so that another's damaged pack is no obstacle", async () => {
    const { files } = await make({ name: "data", driver: "local", labels: {}, options: {}, scope: "local" });
    const folder = join(place.path, "listed");
    mkdirSync(folder);
    cpSync(place.storePath, join(folder, "store"), { recursive: true });
    mkdirSync(join(folder, "store", "packs", "00"), { recursive: true });
    writeFileSync(join(folder, "store", "packs", "00", "0".repeat(64)), "no pack");
    for (const [path, text] of files) {
      mkdirSync(join(folder, path, ".."), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const identity = await (await openAsOperator(place.store, place.made.identityFile)).epochIdentity(1);
    writeFileSync(join(folder, "epoch.txt"), `${identity}\n`);
    const reader = ["restore-by-hand.py", "store", "epoch.txt", `store/${result.manifest.key}`];
    const run = (...argv: string[]): string =>
      execFileSync("python3", [...reader, ...argv], { cwd: folder, encoding: "utf8", stdio: "pipe" });
    run("restored", "objects/0001.txt");
    expect(readFileSync(join(folder, "restored", "link"), "utf8")).to.equal("hello");
    expect(() => run("restored-2")).to.throw();
    // As after a compaction, which moves chunks to packs that no list of that run names.
    writeFileSync(join(folder, "old.txt"), `packs/11/${"1".repeat(64)}\n`);
    expect(() => run("restored-3", "old.txt")).to.throw(/is not there.*copy all of packs\/ and leave LIST out/);
  });

  it("shows names with nothing that begins another line or markup", async () => {
    const { files } = await make({ ...hostile, name: "a\n# b", driver: "local", scope: "local" });
    const text = (files.get("RUNBOOK.md") ?? "").replaceAll(/^```sh\n.*?^```/gms, "");
    expect(text).to.not.match(/^# b/m);
  });

  it("is printed by `skep runbook`, or written with what it needs; a run without one says so", async () => {
    const { run, files } = await make({ name: "data", driver: "local", labels: {}, options: {}, scope: "local" });
    await appendRun(place.store, place.made.controllerKey, 1, run);
    const skep = operatorOf(place);
    expect((await skep("runbook", "latest")).stdout.trimEnd()).to.equal(files.get("RUNBOOK.md")?.trimEnd());
    const document = JSON.parse((await skep("runbook", runId, "--out", "out", "--json")).stdout) as { files: string[] };
    expect(document.files).to.deep.equal([...files.keys()]);
    for (const [path, text] of files) expect(readFileSync(join(place.path, "out", path), "utf8")).to.equal(text);
    const bare = newRunId(Date.now() + 5000);
    await appendRun(
      place.store,
      place.made.controllerKey,
      1,
      sampleRun(bare, { status: "done", parts: [], notCovered: [], warnings: [] }),
    );
    expect((await skep("runbook", bare)).stderr).to.contain("SKEP_RUNBOOK_MISSING");
  });
});

describe("the way to a store by hand", () => {
  it("is curl's own signature for S3, in the style that the store wants, and holds no credentials", () => {
    const of = (location: Parameters<typeof readingPlace>[0]) => readingPlace(location) ?? expect.fail("no place");
    const ceph = of({ url: "s3://backups/swarm-a", endpoint: "http://192.0.2.1:8101", region: "eu-1" });
    expect(ceph.base).to.equal("http://192.0.2.1:8101/backups/swarm-a/");
    expect(fetchScript(ceph)).to.contain("--aws-sigv4 'aws:amz:eu-1:s3'").and.contain("-K s3.curl");
    expect(of({ url: "s3://backups", region: "eu-west-1" }).base).to.equal(
      "https://backups.s3.eu-west-1.amazonaws.com/",
    );
    expect(of({ url: "file:///srv/skep" }).base).to.equal("/srv/skep/");
    const pinned = of({ url: "s3://b0b", endpoint: "https://s3", caPem: "-----BEGIN CERTIFICATE-----\nx\n" });
    expect(fetchScript(pinned)).to.contain("--cacert store-ca.pem").and.contain("-----BEGIN CERTIFICATE-----");
  });
});
