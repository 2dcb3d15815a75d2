import { expect } from "chai";

import { SkepError } from "../../../shared/errors.ts";
import { decodeKeyFile, encodeKeyFile, isLocked } from "../../../shared/raft/key-file.ts";
import { syntheticCertificates } from "./synthetic-swarm.ts";

describe("the key file", () => {
  it("reads back as written, headers in order", async () => {
    const bytes = (await syntheticCertificates()).get("certificates/swarm-node.key") ?? new Uint8Array();
    const file = decodeKeyFile(bytes);
    expect([...file.headers.keys()]).to.deep.equal(["kek-version", "raft-dek"]);
    expect(isLocked(file)).to.equal(false);
    expect(Buffer.compare(encodeKeyFile(file), bytes)).to.equal(0);
  });

  it("is locked when the block is encrypted, new style or old", () => {
    const der = Buffer.from("der");
    expect(isLocked({ blockType: "ENCRYPTED PRIVATE KEY", headers: new Map(), der })).to.equal(true);
    expect(isLocked({ blockType: "EC PRIVATE KEY", headers: new Map([["Proc-Type", "4,ENCRYPTED"]]), der })).to.equal(
      true,
    );
  });

  it("refuses what is cut short or garbled, without quoting it", async () => {
    const bytes = (await syntheticCertificates()).get("certificates/swarm-node.key") ?? new Uint8Array();
    const text = Buffer.from(bytes).toString();
    const faults = ["", "no pem", text.slice(0, -20), text.replace("\n\n", "\n"), text.replace(/\n.{10}/, "\n***")];
    for (const fault of faults) {
      const error = thrown(() => decodeKeyFile(Buffer.from(fault)));
      expect(error.code).to.equal("SKEP_RAFT_FORMAT");
      expect(error.message).to.have.length.below(100);
    }
  });
});

function thrown(action: () => unknown): SkepError {
  try {
    action();
  } catch (error) {
    if (error instanceof SkepError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
