import { expect } from "chai";
import fc from "fast-check";
import { engineJson } from "../../../shared/raft/engine-api/objects.ts";
import { decodeKeyFile, isLocked } from "../../../shared/raft/key-file.ts";
import { openSwarm } from "../../../shared/raft/open-swarm.ts";
import { rebaseSwarm } from "../../../shared/raft/rebase.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import { findDamage, harmlessRegion, neededPaths, raftVectors, readVector } from "./raft-vectors.ts";

/** Of each file; all bytes are tried by npm run soak. */
const samples = 25;

describe("swarm directories that real engines wrote", () => {
  const vectors = raftVectors();

  it("are there of every engine and shape", () => {
    const names = ["20.10", "26.1", "28.5"].flatMap((engine) =>
      ["locked", "log-only", "snapshot"].map((shape) => `docker-${engine}/${shape}`),
    );
    expect(vectors.map(({ name }) => name)).to.include.members(names);
  });

  for (const vector of vectors) {
    it(`are read whole: ${vector.name}`, async () => {
      const swarm = await openSwarm(memoryFiles(vector.files), { unlockKey: vector.unlockKey });
      expect(swarm.proof).to.deep.include(vector.proof);
      expect(swarm.warnings.filter((warning) => !warning.includes("certificate ended"))).to.deep.equal([]);
      const secret = swarm.get("secret", vector.secret.name, true) as { Spec: { Data: string } };
      expect(Buffer.from(secret.Spec.Data, "base64").toString()).to.equal(vector.secret.text);
      expect(swarm.list("service").map(({ name }) => name)).to.include.members([
        "full",
        "everywhere",
        "job",
        "failing",
      ]);
      for (const [kind, table] of Object.entries(swarm.state.store.objects)) {
        for (const bytes of table.values()) engineJson(kind as "service", bytes, true);
      }
      const pem = (name: string): Uint8Array => vector.files.get(`certificates/${name}`) ?? new Uint8Array();
      const rebased = await rebaseSwarm(
        swarm.state,
        { node: pem("swarm-node.crt"), root: pem("swarm-root-ca.crt") },
        { advertiseAddress: "10.0.0.1", unlockKey: vector.unlockKey, unlocked: true, now: Date.now() },
      );
      expect(rebased.state.proof.counts).to.deep.equal(vector.proof.counts);
    });
  }

  for (const vector of vectors.filter(({ name }) => name.endsWith("/locked"))) {
    it(`stay locked in a new life, and let the engine go on to the cluster's own key: ${vector.name}`, async () => {
      const { unlockKey, files } = vector;
      const pem = (name: string): Uint8Array => files.get(`certificates/${name}`) ?? new Uint8Array();
      const rebased = await rebaseSwarm(
        await readVector(vector),
        { node: pem("swarm-node.crt"), root: pem("swarm-root-ca.crt") },
        { advertiseAddress: "10.0.0.1", unlockKey, now: Date.now() },
      );
      const key = rebased.files.find(({ path }) => path === "certificates/swarm-node.key");
      const read = decodeKeyFile(key?.bytes ?? new Uint8Array());
      expect(isLocked(read)).to.equal(true);
      expect(read.headers.get("kek-version")).to.equal("0");
    });
  }

  for (const vector of vectors.filter(({ name }) => !name.endsWith("/log-only"))) {
    it(`show a changed byte and a cut anywhere, unless it changes nothing: ${vector.name}`, async function () {
      this.timeout(60_000);
      const sound = await readVector(vector);
      for (const path of neededPaths(vector)) {
        const bytes = vector.files.get(path) ?? new Uint8Array();
        const change = fc.record({ at: fc.nat(bytes.length - 1), mask: fc.integer({ min: 1, max: 255 }) });
        const flips = fc.asyncProperty(change, async ({ at, mask }) => {
          const changed = Uint8Array.from(bytes);
          changed[at] = (changed[at] ?? 0) ^ mask;
          const found = await findDamage(vector, sound, path, changed);
          if (found === null) expect(harmlessRegion(path, bytes, at), `${path} at ${at} by ${mask}`).not.to.equal(null);
        });
        await fc.assert(flips, { numRuns: samples, seed: 20261126 });
        const cuts = fc.asyncProperty(fc.nat(bytes.length - 1), async (length) => {
          const found = await findDamage(vector, sound, path, bytes.subarray(0, length));
          if (found === null) expect(harmlessCut(path, bytes, length), `${path} cut at ${length}`).to.equal(true);
        });
        await fc.assert(cuts, { numRuns: samples, seed: 20261126 });
      }
    });
  }
});

describe("keys and certificates that a real engine wrote", () => {
  for (const vector of raftVectors().filter(({ name }) => /^docker-26.1\/(locked|log-only)$/.test(name))) {
    it(`show every changed byte, unless it changes nothing: ${vector.name}`, async function () {
      this.timeout(60_000);
      const sound = await readVector(vector);
      for (const path of neededPaths(vector).filter((each) => each.startsWith("certificates/"))) {
        const bytes = vector.files.get(path) ?? new Uint8Array();
        for (let at = 0; at < bytes.length; at++) {
          const changed = Uint8Array.from(bytes);
          // Each bit in turn, from one byte to the next; the characters of base64 differ in the lower ones.
          changed[at] = (changed[at] ?? 0) ^ (1 << (at % 6));
          const found = await findDamage(vector, sound, path, changed);
          if (found === null) expect(harmlessRegion(path, bytes, at), `${path} at ${at}`).not.to.equal(null);
        }
      }
    });
  }
});

/** A PEM file without its last line end. */
function harmlessCut(path: string, bytes: Uint8Array, length: number): boolean {
  return path.startsWith("certificates/") && length === bytes.length - 1;
}
