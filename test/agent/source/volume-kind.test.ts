import { expect } from "chai";
import type { Volume } from "../../../agent/docker-objects.ts";
import { sharedIdOf, volumeFacts } from "../../../agent/source/volume-kind.ts";
import { isRedacted, volumeKind } from "../../../shared/volume-kind.ts";

function volume(driver: string, options: Record<string, string> | null, scope: "local" | "global" = "local"): Volume {
  return { Name: "v", Driver: driver, Mountpoint: "/x", Options: options, Labels: null, Scope: scope };
}

describe("what a volume is", () => {
  it("tells folders, binds, memory, mounts and plugins apart", () => {
    expect(volumeKind(volume("local", null))).to.deep.equal({ kind: "plain" });
    expect(volumeKind(volume("local", { size: "10G" }))).to.deep.equal({ kind: "plain" });
    expect(volumeKind(volume("local", { type: "none", o: "bind,rw", device: "/srv/x" }))).to.deep.equal({
      kind: "bind",
      hostPath: "/srv/x",
    });
    expect(volumeKind(volume("local", { type: "tmpfs", device: "tmpfs" }))).to.deep.equal({ kind: "tmpfs" });
    expect(volumeKind(volume("local", { type: "ext4", device: "/dev/sdb1" }))).to.deep.equal({ kind: "mounted" });
    expect(volumeKind(volume("vieux/sshfs", {}))).to.deep.equal({ kind: "plugin" });
  });

  it("gives one id to a share that several nodes mount, however they write it", () => {
    const a = sharedIdOf(volume("local", { type: "nfs", o: "addr=NAS.lan,rw", device: ":/export/a/" }));
    const b = sharedIdOf(volume("local", { type: "nfs4", o: "nolock,addr=nas.lan", device: ":/export/a" }));
    expect(a).to.equal("nfs:nas.lan::/export/a").and.to.equal(b);
    expect(sharedIdOf(volume("local", { type: "nfs", o: "addr=other", device: ":/export/a" }))).not.to.equal(a);
    expect(sharedIdOf(volume("rexray", {}, "global"))).to.equal("plugin:rexray:v");
    expect(sharedIdOf(volume("local", null))).to.equal(null);
    expect(sharedIdOf(volume("local", { type: "ext4", device: "/dev/sdb1" }))).to.equal(null);
  });

  it("keeps no password in the facts that go into the run", () => {
    const facts = volumeFacts(
      volume("local", { type: "cifs", o: "addr=s,username=u,password=hunter2,vers=3.0", device: "//s/x" }),
    );
    expect(facts.options["o"]).to.equal("addr=s,username=u,password=[redacted],vers=3.0");
    expect(isRedacted(facts)).to.be.true;
    expect(volumeFacts(volume("p", { secretKey: "hunter2" })).options).to.deep.equal({ secretKey: "[redacted]" });
    expect(isRedacted(volumeFacts(volume("local", { type: "nfs", o: "addr=s,rw", device: ":/x" })))).to.be.false;
  });
});
