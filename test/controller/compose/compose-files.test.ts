import { expect } from "chai";
import { parse } from "yaml";

import { composeFiles } from "../../../controller/compose/compose-files.ts";
import { copied, file, network, service, stackLabels } from "../objects/sample-objects.ts";

const shop = copied({
  networks: [network("shop_back", "10.0.5.0/24", { stack: "shop", asked: true }), network("common", "10.0.6.0/24")],
  secrets: [file("shop_pw", "hunter2", "shop"), file("common_pw", "x")],
  services: [
    service(
      "shop_web",
      {
        TaskTemplate: {
          ContainerSpec: {
            Image: "web:1",
            Env: ["PRICE=5$", "INHERITED"],
            Secrets: ["shop_pw", "common_pw"].map((SecretName) => ({
              SecretName,
              File: { Name: SecretName, Mode: 0o444 },
            })),
            Mounts: [
              { Type: "volume", Source: "shop_data", Target: "/d", VolumeOptions: { Labels: stackLabels("shop") } },
              { Type: "volume", Source: "elsewhere", Target: "/e" },
            ],
            Groups: ["audio"],
          },
          Networks: [
            { Target: "shop_back", Aliases: ["web", "www"] },
            { Target: "common", DriverOpts: { o: "p" } },
          ],
          ForceUpdate: 3,
        },
      },
      "shop",
    ),
    service("alone", { Labels: { on: "12:30" } }),
  ],
});

interface Compose {
  services: Record<string, Record<string, unknown>>;
  networks: Record<string, unknown>;
  secrets: Record<string, unknown>;
  volumes: Record<string, unknown>;
}

describe("compose files of a swarm", () => {
  it("are one for each stack and one for the services without", () => {
    const files = composeFiles(shop, false);
    expect(files.map(({ stack, folder }) => [stack, folder])).to.deep.equal([
      ["shop", "shop"],
      [null, "no-stack"],
    ]);
  });

  it("name the stack's own without its prefix, and others as external", () => {
    const [first] = composeFiles(shop, false);
    const { services, networks, secrets, volumes } = parse(first?.text ?? "") as Compose;
    expect(services["web"]?.["networks"]).to.deep.equal({ back: { aliases: ["www"] }, common: {} });
    expect(services["web"]?.["environment"]).to.deep.equal(["PRICE=5$$"]);
    expect(networks).to.deep.equal({
      back: { name: "shop_back", driver: "overlay", ipam: { config: [{ subnet: "10.0.5.0/24" }] } },
      common: { external: true, name: "common" },
    });
    expect(secrets).to.deep.equal({
      pw: { external: true, name: "shop_pw" },
      common_pw: { external: true, name: "common_pw" },
    });
    expect(volumes).to.deep.equal({ data: { name: "shop_data" }, elsewhere: { external: true, name: "elsewhere" } });
  });

  it("have no secret's data but in files beside, where it is to be revealed", () => {
    const hidden = JSON.stringify(composeFiles(shop, false));
    expect(hidden).not.to.contain("hunter2").and.not.to.contain(Buffer.from("hunter2").toString("base64"));
    const [first] = composeFiles(shop, true);
    expect(first?.files.map(({ path, bytes }) => [path, Buffer.from(bytes).toString()])).to.deep.equal([
      ["secrets/shop_pw", "hunter2"],
    ]);
    expect((parse(first?.text ?? "") as Compose).secrets["pw"]).to.deep.equal({
      name: "shop_pw",
      file: "./secrets/shop_pw",
    });
  });

  it("list what they cannot say, in the file too", () => {
    const [first, second] = composeFiles(shop, false);
    expect(first?.cannot).to.deep.equal([
      "service shop_web: TaskTemplate.Networks: DriverOpts of common",
      "service shop_web: TaskTemplate.ContainerSpec.Env: INHERITED, which has no value",
      "service shop_web: TaskTemplate.ForceUpdate",
      "service shop_web: TaskTemplate.ContainerSpec.Groups",
    ]);
    for (const line of first?.cannot ?? []) expect(first?.text).to.contain(line);
    expect(second?.cannot[0]).to.equal("service alone: that it belongs to no stack");
  });

  it("quote what Docker's YAML would take for something else", () => {
    const [, second] = composeFiles(shop, false);
    expect(second?.text).to.contain('"on": "12:30"');
  });

  it("lie in folders and files of harmless names, whatever a label says", () => {
    const stack = "../../etc\nservices: x";
    const [first] = composeFiles(copied({ services: [service("a", {}, stack)] }), true);
    expect(first?.folder).to.match(/^[0-9a-f]{32}$/);
    expect(Object.keys(parse(first?.text ?? "") as Compose)).to.deep.equal(["version", "services"]);
  });
});
