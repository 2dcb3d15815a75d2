import { expect } from "chai";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  heldServicesName,
  noteHeldServices,
  readHeldServices,
  releasedSpec,
  writeHeldServices,
  type HeldServiceRecord,
  type HeldServices,
} from "../../../controller/swarm-restore/held-services.ts";
import { heldConstraint, type SpecJson } from "../../../shared/held-spec.ts";
import { SkepError } from "../../../shared/errors.ts";
import { DyingHost } from "./dying-host.ts";

const { signal } = new AbortController();

const spec = (change: Partial<SpecJson>): SpecJson => ({
  Name: "web",
  Mode: { Global: {} },
  TaskTemplate: {},
  ...change,
});
const replicated = (Replicas: number): SpecJson => spec({ Mode: { Replicated: { Replicas } } });
const placed = (...Constraints: string[]): SpecJson => spec({ TaskTemplate: { Placement: { Constraints } } });
const held = (former: SpecJson, mode: HeldServiceRecord["mode"] = "global"): HeldServiceRecord => ({
  id: "abc",
  name: "web",
  mode,
  version: 7,
  spec: former,
});
const present = (Spec: SpecJson, Index = 9): Parameters<typeof releasedSpec>[1] => ({
  ID: "abc",
  Version: { Index },
  Spec,
});

describe("a held service", () => {
  it("becomes what it was, where nobody touched it", () => {
    expect(releasedSpec(held(spec({})), present(placed(heldConstraint), 7))).to.deep.equal(spec({}));
    expect(releasedSpec(held(replicated(3), "replicated"), present(replicated(0), 7))).to.deep.equal(replicated(3));
  });

  it("keeps what somebody changed meanwhile, and only starts", () => {
    const changed = { ...placed("node.role==worker", heldConstraint), Labels: { new: "1" } };
    expect(releasedSpec(held(placed("node.role==worker")), present(changed))).to.deep.equal({
      ...placed("node.role==worker"),
      Labels: { new: "1" },
    });
    const scaled = { ...replicated(0), Labels: { new: "1" } };
    expect(releasedSpec(held(replicated(3), "replicated"), present(scaled))).to.deep.equal({
      ...replicated(3),
      Labels: { new: "1" },
    });
  });

  it("is left alone once somebody released it", () => {
    expect(releasedSpec(held(replicated(3), "replicated"), present(replicated(2)))).to.equal(null);
    expect(releasedSpec(held(spec({})), present(placed("node.role==worker")))).to.equal(null);
  });
});

describe("the file of held services", () => {
  let root: string;
  let host: DyingHost;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-held-"));
    host = new DyingHost(root);
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });
  const file = (...services: HeldServiceRecord[]): HeldServices => ({
    format: 1,
    clusterId: "c",
    heldAt: "2026-11-21T03:00:00.000Z",
    services,
  });

  it("gives back what was written, and goes with the last service", async () => {
    const written = file(held(replicated(3), "replicated"));
    await writeHeldServices(host, root, written, signal);
    expect(await readHeldServices(host, root, signal)).to.deep.equal(written);
    await writeHeldServices(host, root, file(), signal);
    expect(await readHeldServices(host, root, signal)).to.equal(null);
  });

  it("keeps what an earlier restore held beside, unless it is the same", async () => {
    await noteHeldServices(host, root, file(held(replicated(3), "replicated")), "a".repeat(12), signal);
    await noteHeldServices(host, root, file(held(replicated(3), "replicated")), "b".repeat(12), signal);
    expect(readdirSync(root)).to.deep.equal([heldServicesName]);
    await noteHeldServices(host, root, file(), "c".repeat(12), signal);
    expect(readdirSync(root)).to.deep.equal([`${heldServicesName}.before-${"c".repeat(12)}`]);
  });

  it("is refused where it is something else", async () => {
    for (const text of ["", "[]", '{"format":2}', JSON.stringify({ ...file(), more: 1 })]) {
      writeFileSync(join(root, heldServicesName), text);
      const fault = await readHeldServices(host, root, signal).catch((error: unknown) => error);
      expect(fault).to.be.instanceOf(SkepError).and.to.have.property("code", "SKEP_SWARM_HELD_FILE");
    }
  });
});
