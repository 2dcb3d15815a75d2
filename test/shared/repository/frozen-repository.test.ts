// The whole repositories that were frozen with their format: what was stored then comes back for good.
import { expect } from "chai";
import { createHash } from "node:crypto";
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { openWith } from "../../../shared/repository/open/check-opened.ts";
import { openAsOperator, type Operator } from "../../../shared/repository/open/operator.ts";
import { snapshotKeys } from "../../../shared/repository/open/file-keys.ts";
import { openSnapshot } from "../../../shared/repository/open/snapshot-reader.ts";
import { readRuns } from "../../../shared/repository/run-chain.ts";
import { checkRepository } from "../../../shared/repository/upkeep/check.ts";
import { makeContentCheck } from "../../../shared/repository/upkeep/check-content.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import type { FrozenRun } from "../../vectors/frozen-repository.ts";

const { signal } = new AbortController();

for (const folder of globSync(join(import.meta.dirname, "..", "..", "vectors", "repository-v*"))) {
  describe(`the frozen ${folder.slice(folder.lastIndexOf("repository-"))}`, () => {
    let scratch: string;
    let store: Store;
    let operator: Operator;

    before(async () => {
      // A check asks the store's clock, which is a write.
      scratch = mkdtempSync(join(tmpdir(), "skep-frozen-"));
      cpSync(join(folder, "store"), scratch, { recursive: true });
      store = openDirectory(scratch);
      const identity = decodeIdentityFile(readFileSync(join(folder, "identity.txt"), "utf8"), "identity.txt");
      operator = await openAsOperator(store, identity);
    });
    after(async () => {
      await store.close();
      rmSync(scratch, { recursive: true });
    });

    it("checks clean, every chunk read", async () => {
      const { repositoryId, epoch } = operator.repositoryObject;
      const result = await checkRepository({
        catalogue: operator.catalogue,
        keys: { store, repositoryId, sealKeyOf: (writerId) => operator.writerKeys(writerId).seal },
        keyObjects: [layout.epochKey(epoch.number, operator.repositoryObject.epochKeyVersion)],
        content: makeContentCheck({ store, percent: 100, salt: "", opened: openWith(operator, store, signal), signal }),
        signal,
      });
      expect(result.findings).to.deep.equal([]);
      expect(result.runs).to.equal(2);
    });

    it("gives every file of every run back as it was", async () => {
      const expected = JSON.parse(readFileSync(join(folder, "runs.json"), "utf8")) as FrozenRun[];
      const found: FrozenRun[] = [];
      for await (const { run } of readRuns(operator.catalogue)) {
        const part = run.parts.find(({ kind }) => kind === "volume") ?? expect.fail("no volume");
        const { manifest, refs } = part;
        if (manifest === undefined || refs === undefined) return expect.fail("no snapshot");
        const { repositoryId } = operator.repositoryObject;
        const keys = await snapshotKeys(store, operator, part);
        const snapshot = await openSnapshot({ store, repositoryId, writerId: part.nodeId, manifest, refs, keys });
        const files: FrozenRun["files"] = {};
        for await (const entry of snapshot.entries()) {
          if (entry.type !== "file") continue;
          const hash = createHash("sha256");
          for await (const bytes of snapshot.content(entry)) hash.update(bytes);
          files[entry.path ?? ""] = hash.digest("hex");
        }
        snapshot.close();
        found.push({ id: run.id, files });
      }
      expect(found).to.deep.equal(expected);
    });
  });
}
