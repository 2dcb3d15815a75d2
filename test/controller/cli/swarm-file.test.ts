import { expect } from "chai";
import { zstdCompressSync } from "node:zlib";
import { raftVectors } from "../../shared/raft/raft-vectors.ts";
import { backupFiles, fileRig, fuzzSwarmFiles, makeTar, type FileRig } from "./swarm-file-fuzz.ts";

describe("a file of skep swarm backup", () => {
  let rig: FileRig;
  before(async () => {
    rig = await fileRig();
  });
  after(() => rig.end());

  // test/soak/swarm-file-fuzz.test.ts does it for minutes, with inputs that nobody saw before.
  it("is read, or refused with a SkepError, however it was changed", async () => {
    const told = await fuzzSwarmFiles({ runs: 12, seed: 1 });
    expect([...told.keys()]).to.include.members(["read", "SKEP_RAFT_FORMAT", "SKEP_RAFT_SOURCE"]);
  });

  it("is refused where a few bytes unpack to more than any swarm has, within a file of the tar and behind its end", async () => {
    const [vector] = raftVectors();
    if (vector === undefined) throw new Error("no vector");
    const files = backupFiles(vector);
    const zeros = Buffer.alloc(4 * 1024 * 1024);
    const within = await makeTar([...files, ["swarm/worker/tasks.db", zeros]]);
    const behind = Buffer.concat([await makeTar(files), zeros]);
    for (const tar of [within, behind]) {
      const packed = zstdCompressSync(tar);
      expect(packed.length).to.be.lessThan(256 * 1024);
      expect(await rig.open(packed, zeros.length)).to.equal("SKEP_RAFT_TOO_LARGE");
    }
  });
});
