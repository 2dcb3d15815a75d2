import { expect } from "chai";
import { registryAccess } from "../../../../controller/recovery/images/registry-access.ts";

const services = ["elsewhere.example.org/app:1", "host:5000/app:1"].map((Image) => ({
  spec: { Name: "app", Mode: {}, TaskTemplate: { ContainerSpec: { Image } } },
  registryAuth: Buffer.from(JSON.stringify({ username: "swarm" })).toString("base64url"),
}));

describe("the credentials of a registry", () => {
  it("are those of the inventory for its host, else those that the swarm kept, else none", () => {
    const logins = new Map([
      ["host:5000", { user: "anna", password: "p>?w" }],
      ["docker.io", { user: "bert", password: "q" }],
    ]);
    const access = registryAccess(logins, services);
    const of = (reference: string): unknown => {
      const header = access(reference);
      if (header !== null) expect(header).to.match(/^[\w-]+={0,2}$/);
      return header === null ? null : JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
    };
    expect(of("host:5000/app:1")).to.deep.equal({ username: "anna", password: "p>?w", serveraddress: "host:5000" });
    expect(of("nginx")).to.deep.equal({
      username: "bert",
      password: "q",
      serveraddress: "https://index.docker.io/v1/",
    });
    expect(of("elsewhere.example.org/app:1")).to.deep.equal({ username: "swarm" });
    expect(of("elsewhere.example.org/other:1")).to.equal(null);
  });

  it("are padded, whatever their length: an engine takes others for none", () => {
    for (const password of ["", "a", "aa", "aaa", "\u00ff\u00fe?>~"]) {
      const header = registryAccess(new Map([["host:5000", { user: "anna", password }]]), [])("host:5000/app:1") ?? "";
      expect(header.length % 4).to.equal(0);
      expect(header).to.match(/^[\w-]+={0,2}$/);
      expect(JSON.parse(Buffer.from(header, "base64url").toString("utf8"))).to.include({ password });
    }
  });
});
