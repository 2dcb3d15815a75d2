import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { restoreImageDocument } from "../../controller/cli/restore-documents.ts";
import { connectEngine } from "../../controller/engine/docker.ts";
import { carryOut } from "../../controller/objects/carry-out.ts";
import { compareObjects } from "../../controller/objects/comparison.ts";
import { copiedObjects } from "../../controller/objects/copied-objects.ts";
import { planObjects } from "../../controller/objects/plan.ts";
import { presentObjects } from "../../controller/objects/present-objects.ts";
import { selectAll } from "../../controller/objects/selection.ts";
import { commitImage, operatorOf } from "../controller/cli/committed-run.ts";
import { backUp, makePlace } from "../shared/repository/snapshots.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { initSwarm } from "../lab/swarm.ts";
import { openRaftCopy } from "./raft-copy.ts";
import { engineCall, fillSwarm, type ApiObject } from "./rich-swarm.ts";

/** Services by name, as the API shows their spec, each id replaced by the name of what it names. */
async function specsOf(node: LabNode): Promise<Map<string, unknown>> {
  const names = new Map<string, string>();
  for (const path of ["/networks", "/secrets", "/configs"]) {
    for (const object of (await engineCall(node, "GET", path)) as (ApiObject & { Name?: string })[]) {
      const name = object.Name ?? (object.Spec["Name"] as string);
      names.set(object.ID ?? object.Id ?? "", `${path} ${name}`);
    }
  }
  const services = (await engineCall(node, "GET", "/services")) as ApiObject[];
  return new Map(
    services.map(({ Spec }) => {
      let text = JSON.stringify(Spec);
      for (const [id, name] of names) text = text.replaceAll(id, name);
      return [Spec["Name"] as string, JSON.parse(text) as unknown];
    }),
  );
}

/** Its id. */
async function importImage(node: LabNode, name: string): Promise<string> {
  const folder = node.hostPath("/root/image");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "content"), randomBytes(500_000));
  await node.run(["tar", "-cf", "/root/image.tar", "-C", "/root/image", "."]);
  return (await node.run(["docker", "import", "/root/image.tar", name])).trim();
}

for (const engine of ["bookworm", "trixie"] as const) {
  describe(`objects of a Raft copy, made anew by the API (${engine})`, function () {
    this.timeout(180_000);
    let lab: Lab;
    before(async () => {
      lab = await Lab.up({ nodes: 2, engine });
      await initSwarm([lab.node(0)], { managers: 1 });
      await initSwarm([lab.node(1)], { managers: 1 });
      await fillSwarm(lab.node(0));
    });
    after(() => lab.down());

    it("are the same field by field, registry credentials and secrets' data included", async () => {
      const copy = await openRaftCopy(lab.node(0));
      const wanted = selectAll(copiedObjects(copy.state));
      const target = await connectEngine({ kind: "socket", path: lab.node(1).dockerSocketPath });
      const plan = planObjects(wanted, await presentObjects(target), { existing: "fail", held: false });
      expect(plan.conflicts).to.deep.equal([]);
      await carryOut(target, plan, { held: false });

      const again = planObjects(wanted, await presentObjects(target), { existing: "skip", held: false });
      expect(again.steps.filter(({ action }) => action !== "keep")).to.deep.equal([]);
      const compared = compareObjects(plan.steps, await presentObjects(target));
      expect(compared.filter(({ result }) => result !== "equal")).to.deep.equal([]);

      // And by a way that shares nothing with the restore.
      expect(Object.fromEntries(await specsOf(lab.node(1)))).to.deep.equal(
        Object.fromEntries(await specsOf(lab.node(0))),
      );
      const made = copiedObjects((await openRaftCopy(lab.node(1))).state);
      expect(made.secrets.map(({ spec }) => spec)).to.deep.equal(wanted.secrets.map(({ spec }) => spec));
      expect(made.configs.map(({ spec }) => spec)).to.deep.equal(wanted.configs.map(({ spec }) => spec));
      expect(made.networks.map(({ body }) => body)).to.deep.equal(wanted.networks.map(({ body }) => body));
      const credentials = (objects: typeof made): unknown =>
        objects.services.map(({ name, registryAuth }) => [name, registryAuth]);
      expect(credentials(made)).to.deep.equal(credentials(wanted));
    });

    // On the other engine agents load images (agent-jobs.test.ts), by the same calls.
    if (engine !== "trixie") return;
    it("are followed by an image that a run holds: by socket and over SSH, under its names, none taken unasked", async () => {
      const [source, target] = [lab.node(0), lab.node(1)];
      const id = await importImage(source, "shop:1");
      const place = await makePlace();
      try {
        await source.run(["docker", "save", "--output", "/root/saved.tar", id]);
        await cp(source.hostPath("/root/saved.tar"), join(place.source, "image.tar"));
        const digest = `sha256:${"0123456789ab".padEnd(64, "c")}`;
        const names = ["shop:1", `registry.example.org/shop:1@${digest}`];
        const facts = { id, names, digests: [], architecture: "amd64", os: "linux" };
        await commitImage(place, "20261121-030000-bbbbbb", facts, await backUp(place));
        const skep = operatorOf(place);
        const restore = async (...argv: string[]): Promise<string> => {
          const { stdout, stderr } = await skep("restore", "image", ...argv, "--yes", "--json");
          return stdout === "" ? stderr : stdout;
        };
        const idOf = async (name: string): Promise<string> =>
          (await target.run(["docker", "image", "inspect", "--format", "{{.Id}}", name])).trim();

        const socket = ["--docker", `unix://${target.dockerSocketPath}`];
        const { result } = restoreImageDocument.parse(JSON.parse(await restore("shop:1", ...socket)));
        const given = "registry.example.org/shop:1-skep-0123456789ab";
        expect(result).to.deep.equal({ id, loaded: true, named: ["shop:1", given] });
        expect([await idOf("shop:1"), await idOf(given)]).to.deep.equal([id, id]);
        await target.run(["docker", "rmi", "shop:1", given]);
        const other = await importImage(target, "shop:1");
        const { hostKey, root } = await target.ssh();
        const inventory = `version: 1
ssh: { key: ${root.privateKeyPath} }
machines: { m2: { address: ${target.address}, role: manager, hostKey: "${hostKey}" } }
nodes: {}
`;
        await writeFile(join(place.path, "inventory.yml"), inventory);
        expect(await restore("shop:1", "--machine", "m2"))
          .to.contain("SKEP_RESTORE_IMAGE_NAMED")
          .and.contain("shop:1");
        expect(await idOf("shop:1")).to.equal(other);
        const moved = await restore("shop:1", "--machine", "m2", "--existing", "update");
        expect(restoreImageDocument.parse(JSON.parse(moved)).result?.loaded, moved).to.equal(true);
        expect(await idOf("shop:1")).to.equal(id);
        expect(await restore("nobody:1", ...socket))
          .to.contain("SKEP_RESTORE_IMAGE_UNKNOWN")
          .and.contain("shop:1");
      } finally {
        await place.remove();
      }
    });
  });
}
