import { expect } from "chai";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endRestore, restoreSwarm, type RestoreReport } from "../../../controller/swarm-restore/restore.ts";
import { SkepError } from "../../../shared/errors.ts";
import { readSwarm } from "../../../shared/raft/read-swarm.ts";
import { rebaseSwarm, type RebasedSwarm } from "../../../shared/raft/rebase.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import { plainWal, syntheticCertificates, syntheticSwarm } from "../../shared/raft/synthetic-swarm.ts";
import { DyingHost, HostDied, runReal } from "./dying-host.ts";

let root: string;
let rebased: RebasedSwarm;
let original: Map<string, Uint8Array>;

async function rebase(lastIndex: number): Promise<RebasedSwarm> {
  const certificates = await syntheticCertificates();
  const pem = (name: string): Uint8Array => certificates.get(`certificates/${name}`) ?? new Uint8Array();
  return await rebaseSwarm(
    await readSwarm(memoryFiles(await syntheticSwarm(plainWal(lastIndex).finish()))),
    { node: pem("swarm-node.crt"), root: pem("swarm-root-ca.crt") },
    { advertiseAddress: "10.9.8.7", now: Date.now() },
  );
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "skep-restore-"));
  original = new Map([
    ...(await syntheticSwarm(plainWal(5).finish())),
    ["docker-state.json", Buffer.from('{"old":true}')],
  ]);
  rebased = await rebase(8);
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

/** A data root with another swarm in it. */
function dataRoot(name: string): string {
  const folder = join(root, name);
  for (const [path, bytes] of original) {
    mkdirSync(join(folder, "swarm", path, ".."), { recursive: true });
    writeFileSync(join(folder, "swarm", path), bytes);
  }
  return folder;
}

let ids = 0;
function restore(host: DyingHost, of = rebased): Promise<RestoreReport> {
  const id = (++ids).toString(36).padStart(12, "0");
  const limits = { activeMs: 1000, checkMs: 0 };
  const onStep = (): void => undefined;
  const { signal } = new AbortController();
  return restoreSwarm({
    host,
    dataRoot: host.dataRoot,
    rebased: of,
    unlockKey: null,
    id,
    now: 0,
    onStep,
    signal,
    limits,
  });
}

/** The folders of the data root that hold exactly what was there before. */
function originals(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .filter((name) =>
      [...original].every(([path, bytes]) => {
        const file = join(folder, name, path);
        return existsSync(file) && readFileSync(file).equals(bytes);
      }),
    );
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => "none",
    (error: unknown) => (error instanceof SkepError ? error.code : String(error)),
  );
}

describe("a restore of a swarm directory", () => {
  it("puts the new directory in place, keeps the old one, and leaves nothing else", async () => {
    const host = new DyingHost(dataRoot("plain"), runReal);
    const report = await restore(host);
    expect(report.differences).to.deep.equal([]);
    expect(report.compared).to.include({ node: 1, cluster: 1, config: 6 });
    expect(report.kept).to.have.length(1);
    const left = readdirSync(host.dataRoot).sort();
    expect(left).to.deep.equal(["swarm", report.kept[0]?.slice(host.dataRoot.length + 1)]);
    for (const { path, bytes } of rebased.files) {
      expect(readFileSync(join(host.dataRoot, "swarm", path)).equals(bytes), path).to.equal(true);
    }
  });

  it("is over where its swarm runs, though it was cut off before it said so; and that of another swarm is not", async () => {
    const counted = new DyingHost(dataRoot("to-the-end"));
    await restore(counted);
    const host = new DyingHost(dataRoot("cut-off"));
    Object.assign(host, { diesAt: counted.commands, diesBefore: true });
    expect(await codeOf(restore(host)), "it died").to.equal("SKEP_INTERNAL");
    await host.reboot();
    const journal = join(host.dataRoot, "skep-swarm-restore.json");
    const { clusterId, member } = rebased.state;
    const [ours, { signal }] = [{ clusterId, nodeId: member.nodeId }, new AbortController()];
    expect(await endRestore(host, host.dataRoot, { ...ours, clusterId: "another" }, signal)).to.deep.equal([]);
    expect(existsSync(journal)).to.equal(true);
    const kept = await endRestore(host, host.dataRoot, ours, signal);
    expect(kept.map((folder) => folder.slice(host.dataRoot.length + 1))).to.deep.equal(originals(host.dataRoot));
    expect(existsSync(journal)).to.equal(false);
    expect(await endRestore(host, host.dataRoot, ours, signal)).to.deep.equal([]);
    // Another state may come to this machine now.
    expect((await restore(host, await rebase(9))).differences).to.deep.equal([]);
  });

  it("loses nothing wherever the host dies, and the same call completes it", async () => {
    const counted = new DyingHost(dataRoot("counted"));
    await restore(counted);
    expect(counted.commands).to.be.greaterThan(20);
    for (let at = 1; at <= counted.commands; at++) {
      for (const diesBefore of [true, false]) {
        for (const reboots of at % 2 === 0 ? [true] : [false]) {
          const host = new DyingHost(dataRoot(`dies-${at}-${String(diesBefore)}-${String(reboots)}`));
          Object.assign(host, { diesAt: at, diesBefore });
          const error = await restore(host).then(
            () => null,
            (thrown: unknown) => thrown,
          );
          // The first command only looks whether something is under way.
          const cause = error instanceof SkepError ? error.cause : error;
          expect(cause, `command ${at}`).to.be.instanceOf(HostDied);
          expect(originals(host.dataRoot), `after command ${at}`).to.have.length(1);
          if (reboots) await host.reboot();
          else Object.assign(host, { diesAt: Infinity });
          const report = await restore(host);
          expect(host.lost, `command ${at}`).to.equal(false);
          expect(report.differences).to.deep.equal([]);
          expect(originals(host.dataRoot), `in the end, ${at}`).to.have.length(1);
          expect(originals(host.dataRoot)).not.to.include("swarm");
          expect(readdirSync(host.dataRoot).filter((name) => name.startsWith("swarm.new-"))).to.deep.equal([]);
        }
      }
    }
  });

  it("says how to go on and how to go back, and going back gives what was there, from anywhere", async () => {
    const counted = new DyingHost(dataRoot("counted"));
    await restore(counted);
    for (let at = 3; at <= counted.commands; at++) {
      const host = new DyingHost(dataRoot(`back-${at}`));
      host.diesAt = at;
      const error = await restore(host).catch((thrown: unknown) => thrown);
      if (!(error instanceof SkepError)) throw new Error("no SkepError");
      expect(error.hint).to.contain("the same command completes it");
      const [, steps] = /to go back: (.*)$/.exec(error.hint ?? "") ?? [];
      // The last command removes the journal: then all is done.
      if (at === counted.commands) expect(steps).to.equal(undefined);
      else {
        for (const step of (steps ?? "").split("; ")) await host.run(step.split(" "), {});
        expect(originals(host.dataRoot), `after command ${at}`).to.deep.equal(["swarm"]);
        expect(host.swarm?.appliedIndex).to.equal(5);
      }
    }
  });

  it("refuses to begin while that of another state is unfinished", async () => {
    const host = new DyingHost(dataRoot("other"));
    host.diesAt = 5;
    await codeOf(restore(host));
    host.diesAt = Infinity;
    expect(await codeOf(restore(host, await rebase(7)))).to.equal("SKEP_SWARM_RESTORE_UNFINISHED");
    expect(originals(host.dataRoot)).to.deep.equal(["swarm"]);
  });

  it("tells of an object that the engine does not have as it was laid down", async () => {
    const host = new DyingHost(dataRoot("differs"));
    const ask = host.askEngine.bind(host);
    host.askEngine = async (call) => {
      const answer = await ask(call);
      if (call.path !== "/configs") return answer;
      const [first, ...others] = answer as { Spec: object }[];
      return [{ ...first, Spec: { ...first?.Spec, Data: "AAAA" } }, ...others.slice(1)];
    };
    const error = await restore(host).catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: "SKEP_SWARM_RESTORE_DIFFERS" });
    expect((error as Error).message).to.contain("config config-3 (Spec), config config-4 (missing)");
  });

  it("finds a disk that gives back other bytes before anything is touched", async () => {
    const host = new DyingHost(dataRoot("disk"));
    const run = host.run.bind(host);
    host.run = async (argv, options) => {
      if (argv[0] === "sha256sum") writeFileSync(argv[2] ?? "", "rotten");
      return await run(argv, options);
    };
    expect(await codeOf(restore(host))).to.equal("SKEP_SWARM_RESTORE_READBACK");
    expect(host.isEngineUp).to.equal(true);
    expect(originals(host.dataRoot)).to.deep.equal(["swarm"]);
  });
});
