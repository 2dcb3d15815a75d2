import { expect } from "chai";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { digest } from "../../../shared/repository/blake3.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { backUp, makePlace, readBack, type Place } from "./snapshots.ts";

const child = fileURLToPath(new URL("./crash-writer.ts", import.meta.url));

/** Runs the writer and kills it so long after it began; whether it was killed. */
async function writeAndKill(place: Place, afterMs: number): Promise<boolean> {
  const writer = spawn(process.execPath, [child], { stdio: ["pipe", "pipe", "inherit"] });
  writer.stdin.end(JSON.stringify({ ...place, store: undefined }));
  const ended = once(writer, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  await once(writer.stdout, "data");
  const timer = setTimeout(() => writer.kill("SIGKILL"), afterMs);
  const [code, signal] = await ended;
  clearTimeout(timer);
  if (signal !== "SIGKILL") expect(code).to.equal(0);
  return signal === "SIGKILL";
}

describe("a writer that is killed", () => {
  it("leaves at every moment a store that reads well, and a cache that the next writer can use", async () => {
    const place = await makePlace();
    const good: { result: SnapshotResult; content: Buffer }[] = [];
    let killed = 0;
    try {
      for (let round = 0; round < 6; round++) {
        // New content of two packs, and small files.
        const content = randomBytes(200_000);
        writeFileSync(join(place.source, "large"), randomBytes(18 * 1024 * 1024));
        writeFileSync(join(place.source, "small"), content);
        if (await writeAndKill(place, 30 + round * 100)) killed++;
        for await (const { key } of place.store.list("packs/")) {
          const bytes = await place.store.get(key, 1e8);
          if (bytes === null) throw new Error(`${key} is listed, but not there`);
          expect(key.endsWith(digest(bytes)), key).to.be.true;
        }
        good.push({ result: await backUp(place), content });
        for (const snapshot of good.slice(-2)) {
          const tree = await readBack(place, snapshot.result);
          expect(tree.get("small")?.content?.equals(snapshot.content)).to.be.true;
        }
        if (round % 3 === 2) rmSync(place.cachePath);
      }
      expect(killed).to.be.greaterThan(2);
    } finally {
      await place.remove();
    }
  }).timeout(180_000);
});
