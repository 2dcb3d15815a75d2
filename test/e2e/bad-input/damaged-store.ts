// Objects of the store that were changed, cut short or deleted by somebody else.
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Run } from "../../../shared/repository/run.ts";
import { failureOf, partOf, type Host } from "./host.ts";

const kit = "objects";

export function damagedStore(getHost: () => Host): void {
  let host: Host;
  let run: Run;
  let present: string;
  before(async () => {
    host = getHost();
    await host.init(kit, ["--store", `file://${host.file("objects-store")}`]);
    await host.newVolume("wiki", { page: randomBytes(100_000), "images/a": randomBytes(50_000) });
    run = await host.backupWhole(kit, "wiki");
    writeFileSync(host.volume("wiki", "later"), "after the run");
    present = host.tree("wiki");
  });

  const path = (key: string): string => join(host.file("objects-store"), key);

  /** Damages one object, looks how a restore meets that, and puts the object back. */
  async function restoreWith(key: string, damage: (file: string) => void): Promise<{ code: string; message: string }> {
    const whole = readFileSync(path(key));
    damage(path(key));
    try {
      const result = await host.skep(...host.restoreArgv(kit, "wiki"));
      expect(result.code).to.equal(1);
      const error = failureOf(result);
      expect(error.permanent, error.code).to.equal(true);
      expect(error.message).to.contain(`${key} at file://`);
      expect(host.tree("wiki"), "the volume").to.equal(present);
      expect(readdirSync(host.volume("wiki", "..")), "beside the volume").to.deep.equal(["_data"]);
      return error;
    } finally {
      writeFileSync(path(key), whole);
    }
  }
  const flip = (file: string): void => {
    const bytes = readFileSync(file);
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    writeFileSync(file, bytes);
  };
  /** All of the volume is in one pack. */
  const pack = (): string => {
    const keys = readdirSync(path("packs"), { recursive: true, encoding: "utf8" }).filter((name) => name.includes("/"));
    expect(keys).to.have.length(1);
    return `packs/${keys[0] ?? ""}`;
  };
  const part = (): { manifest: string; refs: string } => {
    const { manifest, refs } = partOf(run, "wiki");
    return { manifest: manifest?.key ?? "", refs: refs?.key ?? "" };
  };

  it("names a pack in which one bit is another", async () => {
    expect((await restoreWith(pack(), flip)).code).to.be.oneOf(["SKEP_AGE_INVALID", "SKEP_CHUNK_DAMAGED"]);
  });

  it("names a pack that was cut short", async () => {
    const error = await restoreWith(pack(), (file) => {
      truncateSync(file, 60_000);
    });
    expect(error.code).to.match(/^SKEP_(AGE_INVALID|OBJECT_DAMAGED|CHUNK_DAMAGED)$/);
  });

  it("names a manifest and refs in which one bit is another", async () => {
    expect((await restoreWith(part().manifest, flip)).code).to.equal("SKEP_OBJECT_DAMAGED");
    expect((await restoreWith(part().refs, flip)).code).to.equal("SKEP_OBJECT_DAMAGED");
  });

  it("names a pack that is missing, and the next run writes it again", async () => {
    const key = pack();
    const error = await restoreWith(key, (file) => {
      rmSync(file);
    });
    expect(error.code).to.equal("SKEP_OBJECT_MISSING");
    rmSync(path(key));
    const next = await host.backupWhole(kit, "wiki");
    expect(await host.restored(kit, "wiki", next)).to.equal(present);
  });
}
