import { expect } from "chai";
import { randomBytes } from "node:crypto";
import type { Worker } from "node:worker_threads";
import { OpeningCrew, type OpenedWindow } from "../../../../shared/repository/open/opening-crew.ts";
import { expectCode } from "../expect-code.ts";

describe("the threads that open packs", () => {
  /** Of so many bytes that open with no key. */
  const open = (crew: OpeningCrew, bytes: number): Promise<OpenedWindow> =>
    crew.open({
      ...{ place: "a pack", fileKey: randomBytes(16), nonce: randomBytes(16), payloadBytes: bytes, firstPiece: 0 },
      ...{ sealed: new Uint8Array(bytes), frames: [] },
    });

  it("fail what is asked after one of them died, and make nobody wait for it", async () => {
    const crew = new OpeningCrew(randomBytes(32));
    const started: Worker[] = [];
    const onWorker = (worker: Worker): unknown => started.push(worker);
    process.on("worker", onWorker);
    try {
      // So much is opened in this thread.
      await expectCode("SKEP_AGE_INVALID", () => open(crew, 4 * 1024 * 1024));
      expect(started).to.have.length(0);
      await expectCode("SKEP_AGE_INVALID", () => open(crew, 1000));
      expect(started).to.have.length(1);
      await started[0]?.terminate();
      const failed = await open(crew, 1000).catch((error: unknown) => String(error));
      expect(failed).to.equal("Error: a thread that opens packs ended with 1");
    } finally {
      process.off("worker", onWorker);
      crew.close();
    }
  });
});
