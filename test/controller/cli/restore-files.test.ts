import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { restoredFilesDocument } from "../../../controller/cli/restore-documents.ts";
import { backUp, makePlace, type Place } from "../../shared/repository/snapshots.ts";
import { walk } from "../../shared/repository/walk.ts";
import { commitRun, operatorOf } from "./committed-run.ts";
import type { CliResult } from "./run-cli.ts";

const runId = "20261121-030000-bbbbbb";

describe("skep restore files", () => {
  let place: Place;
  let skep: (...argv: string[]) => Promise<CliResult>;
  before(async () => {
    place = await makePlace();
    skep = operatorOf(place);
    const at = (...names: string[]): string => join(place.source, ...names);
    mkdirSync(at("etc", "deep"), { recursive: true, mode: 0o750 });
    writeFileSync(at("etc", "conf"), "key = value\n", { mode: 0o640 });
    linkSync(at("etc", "conf"), at("etc", "deep", "same"));
    linkSync(at("etc", "conf"), at("etc", "deep", "same-again"));
    symlinkSync("../conf", at("etc", "deep", "link"));
    writeFileSync(Buffer.concat([Buffer.from(`${at("etc", "deep")}/`), Buffer.from([0xe9])]), randomBytes(700_000));
    await commitRun(place, runId, { data: await backUp(place) });
  });
  after(() => place.remove());

  const metadataOf = async (folder: string): Promise<unknown[]> =>
    (await Array.fromAsync(walk(folder))).map(({ metadata }) => metadata);

  it("brings a folder, a file and a whole volume back as they were, each under its own name", async function () {
    this.timeout(60_000);
    const { code, stdout, stderr } = await skep(
      "restore",
      "files",
      "latest:host1/data:etc/conf",
      `${runId}:host1/data:etc`,
      "20261121:host1/data",
      "--to",
      "found",
      "--json",
    );
    expect(code, stderr).to.equal(0);
    const { restored } = restoredFilesDocument.parse(JSON.parse(stdout));
    expect(restored.map(({ files, warnings }) => [files, warnings])).to.deep.equal([
      [1, []],
      [4, []],
      [4, []],
    ]);
    const found = join(place.path, "found");
    expect(readdirSync(found).sort()).to.deep.equal(["conf", "data", "etc"]);
    expect(readFileSync(join(found, "conf"), "utf8")).to.equal("key = value\n");
    expect(statSync(join(found, "conf")).mode & 0o7777).to.equal(0o640);
    expect(await metadataOf(join(found, "etc"))).to.deep.equal(await metadataOf(join(place.source, "etc")));
    expect(await metadataOf(join(found, "data"))).to.deep.equal(await metadataOf(place.source));
    execFileSync("diff", ["-r", place.source, join(found, "data")]);
  });

  it("gives a folder its files whole whose first names lie elsewhere", async function () {
    this.timeout(60_000);
    const { code, stderr } = await skep("restore", "files", "latest:host1/data:etc/deep", "--to", "part");
    expect(code, stderr).to.equal(0);
    const deep = join(place.path, "part", "deep");
    expect(readFileSync(join(deep, "same-again"), "utf8")).to.equal("key = value\n");
    expect(statSync(join(deep, "same")).ino).to.equal(statSync(join(deep, "same-again")).ino);
  });

  it("overwrites nothing, and leaves nothing behind where it failed", async function () {
    this.timeout(60_000);
    mkdirSync(join(place.path, "full"));
    writeFileSync(join(place.path, "full", "conf"), "mine");
    const taken = await skep("restore", "files", "latest:host1/data:etc/conf", "--to", "full");
    expect(taken.stderr).to.contain("SKEP_CLI_FILE_UNWRITABLE").and.contain("already");
    expect(readFileSync(join(place.path, "full", "conf"), "utf8")).to.equal("mine");
    const gone = await skep("restore", "files", "latest:host1/data:etc/none", "--to", "full");
    expect(gone.stderr).to.contain("SKEP_PATH_UNKNOWN");
    expect(readdirSync(join(place.path, "full"))).to.deep.equal(["conf"]);
  });
});
