import { expect } from "chai";
import { chmodSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { entriesDocument, partsDocument } from "../../../controller/cli/documents.ts";
import { backUp, makePlace, type Place } from "../../shared/repository/snapshots.ts";
import { commitRun, operatorOf } from "./committed-run.ts";
import type { CliResult } from "./run-cli.ts";

const first = "20261120-030000-aaaaaa";
const second = "20261121-030000-bbbbbb";

describe("skep ls", () => {
  let place: Place;
  let skep: (...argv: string[]) => Promise<CliResult>;
  before(async function () {
    this.timeout(30_000);
    place = await makePlace();
    skep = operatorOf(place);
    mkdirSync(join(place.source, "base", "deep"), { recursive: true });
    mkdirSync(join(place.source, "base.d"));
    writeFileSync(join(place.source, "base", "one"), "1");
    writeFileSync(join(place.source, "base", "deep", "two"), "22");
    writeFileSync(join(place.source, "base.d", "x"), "");
    writeFileSync(join(place.source, "evil\u001b[2J"), "");
    writeFileSync(Buffer.concat([Buffer.from(`${place.source}/caf`), Buffer.from([0xe9])]), "latin-1");
    symlinkSync("base/one", join(place.source, "link"));
    chmodSync(join(place.source, "base", "one"), 0o4755);
    utimesSync(join(place.source, "base", "one"), 1e9, 1e9);
    const data = await backUp(place);
    await commitRun(place, first, { data });
    await commitRun(place, second, { other: await backUp(place, { volume: "other", volumeIdentity: "2" }) });
  });
  after(() => place.remove());

  it("lists the parts of a run, and takes the beginning of its id", async () => {
    const { code, stdout, stderr } = await skep("ls", "20261120", "--json");
    expect(code, stderr).to.equal(0);
    const { runId, parts } = partsDocument.parse(JSON.parse(stdout));
    expect(runId).to.equal(first);
    expect(parts.map(({ kind, name }) => [kind, name])).to.deep.equal([["volume", "host1/data"]]);
    expect((await skep("ls", "latest")).stdout).to.match(/volume +host1\/other +done/);
    const ambiguous = await skep("ls", "2026");
    expect(ambiguous.code).to.equal(1);
    expect(ambiguous.stderr).to.contain("SKEP_RUN_AMBIGUOUS").and.contain(first);
    expect((await skep("ls", "20200101")).stderr).to.contain("SKEP_RUN_UNKNOWN");
  });

  it("lists a folder: itself and what is in it, no more", async () => {
    const { code, stdout, stderr } = await skep("ls", `${first}:host1/data:/base/`);
    expect(code, stderr).to.equal(0);
    const names = stdout
      .trim()
      .split("\n")
      .map((line) => line.split(" ").at(-1));
    expect(names).to.deep.equal(["base", "base/deep", "base/one"]);
    expect(stdout).to.match(/^-rwsr-xr-x +\d+:\d+ +1 B 2001-09-09 01:46:40 base\/one$/m);
  });

  it("lists all below, as one document of the manifest's entries, and shows names safely to people", async () => {
    const json = await skep("ls", `${first}:host1/data`, "--recursive", "--json");
    expect(json.code, json.stderr).to.equal(0);
    const { entries, volume } = entriesDocument.parse(JSON.parse(json.stdout));
    expect(volume).to.include({ hostname: "host1", name: "data" });
    expect(entries.map(({ path, pathBase64 }) => path ?? pathBase64)).to.deep.equal([
      "",
      "base",
      "base/deep",
      "base/deep/two",
      "base/one",
      "base.d",
      "base.d/x",
      Buffer.from([0x63, 0x61, 0x66, 0xe9]).toString("base64"),
      "evil\u001b[2J",
      "link",
    ]);
    const shown = await skep("ls", `${first}:host1/data`);
    expect(shown.stdout).to.contain("caf\\xe9").and.contain("evil\\x1b[2J").and.contain("link -> base/one");
    expect(shown.stdout).to.not.contain("\u001b[2J");
    expect((await skep("ls", `${first}:host1/data:caf\\xe9`)).stdout).to.contain("7 B");
  });

  it("takes of `latest` the newest run that has the volume", async () => {
    const { code, stdout } = await skep("ls", "latest:host1/data:base/one", "--json");
    expect(code).to.equal(0);
    expect(entriesDocument.parse(JSON.parse(stdout))).to.have.nested.property("runId", first);
  });

  it("refuses what is not there, and what is no address", async () => {
    const gone = await skep("ls", `${first}:host1/data:base/three`, "--json");
    expect(gone.code).to.equal(1);
    const document = entriesDocument.parse(JSON.parse(gone.stdout));
    expect(document.error?.code).to.equal("SKEP_PATH_UNKNOWN");
    expect(document.entries).to.deep.equal([]);
    for (const address of ["yesterday", "latest:data", `${first}:host1/data:../x`]) {
      expect((await skep("ls", address)).stderr, address).to.contain("SKEP_CLI_USAGE");
    }
    expect((await skep("ls", `${second}:host1/data`)).stderr).to.contain("SKEP_RESTORE_NO_SNAPSHOT");
  });
});
