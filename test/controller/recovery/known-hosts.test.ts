import { expect } from "chai";
import { createHmac } from "node:crypto";
import { knownHostsFor } from "../../../controller/recovery/known-hosts.ts";

const known = (text: string, host: string, port = 22): string[] => [...knownHostsFor(text, host, port).keys];

describe("known_hosts", () => {
  it("gives the keys of a host by its name, among several names, and of no other", () => {
    const text = "# a comment\nalpha,192.0.2.1 ssh-ed25519 AAAA1 comment\nbeta ssh-rsa AAAA2\n\nbroken\n";
    expect(known(text, "alpha")).to.deep.equal(["AAAA1"]);
    expect(known(text, "192.0.2.1")).to.deep.equal(["AAAA1"]);
    expect(known(text, "ALPHA")).to.deep.equal(["AAAA1"]);
    expect(known(text, "alpha.example")).to.deep.equal([]);
    expect(knownHostsFor(text, "beta", 22).types).to.deep.equal(["ssh-rsa"]);
  });

  it("tells ports apart", () => {
    const text = "[alpha]:2222 ssh-ed25519 AAAA1\n";
    expect(known(text, "alpha", 2222)).to.deep.equal(["AAAA1"]);
    expect(known(text, "alpha")).to.deep.equal([]);
  });

  it("finds hashed names", () => {
    const salt = Buffer.alloc(20, 7);
    const hash = createHmac("sha1", salt).update("alpha").digest("base64");
    const text = `|1|${salt.toString("base64")}|${hash} ssh-ed25519 AAAA1\n`;
    expect(known(text, "alpha")).to.deep.equal(["AAAA1"]);
    expect(known(text, "beta")).to.deep.equal([]);
  });

  it("takes patterns, and what they except", () => {
    const text = "*.example,!bad.example ssh-ed25519 AAAA1\n192.0.2.? ssh-ed25519 AAAA2\n";
    expect(known(text, "a.example")).to.deep.equal(["AAAA1"]);
    expect(known(text, "bad.example")).to.deep.equal([]);
    expect(known(text, "192.0.2.7")).to.deep.equal(["AAAA2"]);
    expect(known(text, "192.0.2x7")).to.deep.equal([]);
  });

  it("looks at a pattern of many stars no longer than at its characters", () => {
    const stars = `${"*a".repeat(3000)}x`;
    const before = process.threadCpuUsage().user;
    expect(known(`${stars} ssh-ed25519 AAAA1\n`, "a".repeat(64))).to.deep.equal([]);
    expect((process.threadCpuUsage().user - before) / 1000, "ms of CPU").to.be.lessThan(1000);
  });

  it("keeps revoked keys apart and takes no certificate authority for a key", () => {
    const text = "@revoked * ssh-ed25519 AAAA1\n@cert-authority * ssh-ed25519 AAAA2\n";
    const { keys, revoked } = knownHostsFor(text, "alpha", 22);
    expect([...keys]).to.deep.equal([]);
    expect([...revoked]).to.deep.equal(["AAAA1"]);
  });
});
