import { expect } from "chai";

import { connectEngine } from "../../controller/engine/docker.ts";
import { carryOut } from "../../controller/objects/carry-out.ts";
import { compareObjects } from "../../controller/objects/comparison.ts";
import { copiedObjects } from "../../controller/objects/copied-objects.ts";
import { planObjects } from "../../controller/objects/plan.ts";
import { presentObjects } from "../../controller/objects/present-objects.ts";
import { selectAll } from "../../controller/objects/selection.ts";
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
      const target = connectEngine({ kind: "socket", path: lab.node(1).dockerSocketPath });
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
  });
}
