import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { expect } from "chai";

import { takeRaftCopy } from "../../../agent/source/raft.ts";
import { SkepError } from "../../../shared/errors.ts";
import { plainWal, syntheticSwarm } from "../../shared/raft/synthetic-swarm.ts";

describe("the Raft source", () => {
  let directory = "";
  let swarmDirectory = "";
  let stagingDirectory = "";
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "skep-raft-source-"));
    swarmDirectory = join(directory, "swarm");
    stagingDirectory = join(directory, "staging");
    await mkdir(stagingDirectory);
    await write(20);
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function write(last: number): Promise<void> {
    for (const [path, bytes] of await syntheticSwarm(plainWal(last).finish(4096))) {
      await mkdir(dirname(join(swarmDirectory, path)), { recursive: true });
      await writeFile(join(swarmDirectory, path), bytes);
    }
  }

  const signal = new AbortController().signal;

  it("copies only after the marker write, up to the version that it got", async () => {
    const markerWrite = async (): Promise<bigint> => {
      await write(22);
      return 22n;
    };
    const { proof } = await takeRaftCopy({ swarmDirectory, stagingDirectory, markerWrite, signal });
    expect(proof).to.include({ commitIndex: 22, markerIndex: 22 });
  });

  it("passes on why the marker could not be written, and takes no unusable version", async () => {
    const failing = () => Promise.reject(new Error("swarm does not have a leader"));
    const source = { swarmDirectory, stagingDirectory, signal };
    expect(await failureOf(takeRaftCopy({ ...source, markerWrite: failing }))).to.equal("swarm does not have a leader");
    const failure = await failureOf(takeRaftCopy({ ...source, markerWrite: () => Promise.resolve(Number.NaN) }));
    expect(failure).to.equal("SKEP_RAFT_MARKER");
  });

  it("names the file that it may not read", async () => {
    await rm(join(swarmDirectory, "certificates/swarm-root-ca.crt"));
    await mkdir(join(swarmDirectory, "certificates/swarm-root-ca.crt"));
    const markerWrite = () => Promise.resolve(20);
    const failure = await failureOf(takeRaftCopy({ swarmDirectory, stagingDirectory, markerWrite, signal }));
    expect(failure).to.equal("SKEP_RAFT_UNREADABLE");
  });
});

async function failureOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SkepError) return error.code;
    if (error instanceof Error) return error.message;
  }
  return "nothing was thrown";
}
