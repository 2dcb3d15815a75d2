import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";
import fc from "fast-check";

import { exportListName, exportSwarm, writeExport } from "../../../controller/cli/raft-export.ts";
import { SkepError } from "../../../shared/errors.ts";
import { openSwarm, type OpenedSwarm } from "../../../shared/raft/open-swarm.ts";
import { sealRecord } from "../../../shared/raft/sealed-record.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import { dek, plainWal, request, syntheticSwarm } from "../../shared/raft/synthetic-swarm.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "skep-raft-export-"));
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

const filesOf = (names: readonly string[], text = "x"): Map<string, Uint8Array> =>
  new Map(names.map((name) => [name, Buffer.from(text)]));

/** Plain files below the folder, without the list. */
async function present(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  return paths
    .map((path) => path.slice(folder.length + 1))
    .filter((path) => path !== exportListName)
    .sort();
}

async function refusal(promise: Promise<void>): Promise<string> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).to.be.instanceOf(SkepError).and.include({ code: "SKEP_CLI_FILE_UNWRITABLE" });
  return (error as Error).message;
}

describe("an export of a swarm's objects", () => {
  it("into a checkout leaves exactly what is in the swarm, and what others wrote", async () => {
    const names = fc.uniqueArray(
      fc.constantFrom("service/a.json", "service/b.json", "config/a.json", "compose/s/c.yml"),
    );
    let rounds = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(names, { minLength: 1, maxLength: 4 }), async (exports) => {
        const folder = join(root, String(rounds++));
        mkdirSync(join(folder, "service"), { recursive: true });
        for (const own of ["README.md", "service/notes.txt"]) writeFileSync(join(folder, own), "mine");
        for (const [round, files] of exports.entries()) {
          await writeExport(folder, filesOf(files, String(round)), true);
          expect(await present(folder)).to.deep.equal(["README.md", ...files, "service/notes.txt"].sort());
          for (const file of files) expect(readFileSync(join(folder, file), "utf8")).to.equal(String(round));
          expect(readFileSync(join(folder, "service/notes.txt"), "utf8")).to.equal("mine");
        }
      }),
      { numRuns: 25 },
    );
  });

  it("refuses to replace what no export wrote, a list that is none, and a way out by a link; nothing is changed then", async () => {
    mkdirSync(join(root, "service"));
    writeFileSync(join(root, "service/db.json"), "mine");
    expect(await refusal(writeExport(root, filesOf(["config/x.json", "service/db.json"]), true))).to.contain("db.json");
    expect(await present(root)).to.deep.equal(["service/db.json"]);
    expect(await refusal(writeExport(root, filesOf([]), false))).to.contain("EEXIST");
    expect(await refusal(writeExport(join(root, "absent"), filesOf([]), true))).to.contain("it is not there");

    const outside = mkdtempSync(join(tmpdir(), "skep-raft-export-"));
    try {
      symlinkSync(outside, join(root, "secret"));
      expect(await refusal(writeExport(root, filesOf(["secret/a.json"]), true))).to.contain("it is no folder");
      const leading = ["../../etc/passwd", "README.md", "service/../../x", "/etc/passwd", "secret/a.json"];
      for (const path of leading) {
        writeFileSync(join(root, exportListName), JSON.stringify({ format: 1, files: [path] }));
        await refusal(writeExport(root, filesOf(["config/x.json"]), true));
      }
      expect(await readdir(outside)).to.deep.equal([]);
    } finally {
      rmSync(outside, { recursive: true });
    }
  });

  it("writes through no link, over no file of another's, and takes away no file that it wrote, on its way", async () => {
    mkdirSync(join(root, "secret"));
    const outside = join(root, "outside");
    writeFileSync(outside, "theirs");
    for (const link of ["secret/pw.json.new", "skep-export.json.new", ".skep-export.partial"]) {
      symlinkSync(outside, join(root, link));
    }
    writeFileSync(join(root, "secret/db.json.new"), "mine");
    const both = ["secret/pw.json", "secret/pw.json.new.json", "secret/db.json"];
    await writeExport(root, filesOf(both, "first"), true);
    expect(readFileSync(outside, "utf8")).to.equal("theirs");
    expect(readFileSync(join(root, "secret/db.json.new"), "utf8")).to.equal("mine");
    // Revealed data lies under the secrets' own names, beside each other.
    const revealed = ["compose/s/secrets/pw", "compose/s/secrets/pw.new"];
    for (const files of [revealed, [...revealed].reverse()]) {
      await writeExport(root, filesOf(files, "data"), true);
      for (const file of files) expect(readFileSync(join(root, file), "utf8")).to.equal("data");
    }
    await writeExport(root, filesOf(revealed.slice(1), "kept"), true);
    expect(readFileSync(join(root, "compose/s/secrets/pw.new"), "utf8")).to.equal("kept");
    expect(await present(root)).not.to.include(".skep-export.partial");
  });

  it("has tasks where they are wanted, and a registry's credentials only where all is shown", async () => {
    const auth = "eyJ1c2VybmFtZSI6InUifQ==";
    const container = { image: "web:1", pullOptions: { registryAuth: auth } };
    const task = { runtime: { case: "container" as const, value: container } };
    const service = { id: "s", spec: { annotations: { name: "web" }, task } };
    const sealed = sealRecord(
      request(7, [
        { case: "service", value: service },
        { case: "task", value: { id: "t", serviceId: "s", slot: 1n, spec: task } },
      ]),
      dek,
    );
    const swarm: OpenedSwarm = await openSwarm(
      memoryFiles(await syntheticSwarm(plainWal(6).entry(7, sealed).state(7).finish())),
    );
    const plain = exportSwarm(swarm, { reveal: false, tasks: false });
    expect([...plain.files.keys()].filter((path) => path.startsWith("task/"))).to.deep.equal([]);
    expect([...plain.files.values()].join("")).not.to.contain(auth);
    const all = exportSwarm(swarm, { reveal: true, tasks: true });
    expect([...all.files.keys()]).to.include("task/t.json");
    for (const path of ["task/t.json", "service/web.json"]) {
      expect(JSON.parse(Buffer.from(all.files.get(path) ?? []).toString())).to.include({ RegistryAuth: auth });
    }
    expect(all.objects - plain.objects).to.equal(1);
  });
});
