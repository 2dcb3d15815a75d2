import { expect } from "chai";

import { SkepError } from "../../../shared/errors.ts";
import {
  decodeMessage,
  encodeMessage,
  enumName,
  makeMessage,
  unknownFields,
} from "../../../shared/raft/swarmkit/message-types.ts";

describe("swarmkit's messages", () => {
  it("decode what was encoded: scalars, lists, maps and oneofs", () => {
    const bytes = encodeMessage("Service", {
      id: "sid",
      spec: {
        annotations: { name: "web", labels: { a: "b" } },
        mode: { case: "replicated", value: { replicas: 2n ** 63n } },
        task: { runtime: { case: "container", value: { image: "i", env: ["A=1", "B=2"] } } },
        update: { maxFailureRatio: 0.5 },
      },
    });
    const service = decodeMessage("Service", bytes);
    expect(service.spec?.mode.case).to.equal("replicated");
    if (service.spec?.mode.case === "replicated") expect(service.spec.mode.value.replicas).to.equal(2n ** 63n);
    expect(service.spec?.annotations?.labels).to.deep.equal({ a: "b" });
    expect(service.spec?.update?.maxFailureRatio).to.equal(0.5);
    expect(service.endpoint).to.equal(undefined);
  });

  it("keep fields of a newer engine, at every depth, through a change", () => {
    const newer = Buffer.from([0xfa, 0x3f, 1, 9]);
    const mode = encodeMessage("ReplicatedService", { replicas: 3n });
    const spec = Buffer.concat([Buffer.from([0x1a, mode.length]), mode, newer]);
    const bytes = Buffer.concat([Buffer.from([0x1a, spec.length]), spec, newer]);
    const service = decodeMessage("Service", bytes);
    expect(unknownFields(service)).to.deep.equal(["spec.1023", "1023"]);
    if (service.spec === undefined) throw new Error("no spec");
    service.spec.mode = { case: "replicated", value: makeMessage("ReplicatedService", { replicas: 0n }) };
    expect(unknownFields(decodeMessage("Service", encodeMessage("Service", service)))).to.have.length(2);
  });

  it("read text that is not UTF-8, as the engine does", () => {
    expect(decodeMessage("TaskStatus", Buffer.from([0x22, 2, 0x61, 0xff])).err).to.equal("a\ufffd");
  });

  it("give names to enum values, and digits to those of a newer engine", () => {
    expect(enumName("TaskState", 512)).to.equal("running");
    expect(enumName("TaskState", 513)).to.equal("513");
  });

  it("refuse malformed bytes with a SkepError", () => {
    expect(() => decodeMessage("Service", Buffer.from([0x0a, 200, 1]))).to.throw(SkepError, "Service");
  });
});
