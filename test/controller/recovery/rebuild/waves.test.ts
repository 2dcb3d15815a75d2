import { expect } from "chai";
import fc from "fast-check";

import { livenessOf } from "../../../../controller/recovery/rebuild/liveness.ts";
import { releaseWaves, type Released } from "../../../../controller/recovery/rebuild/waves.ts";
import type { ServiceSpec } from "../../../../controller/objects/portable.ts";

function service(
  name: string,
  fields: { env?: string[]; args?: string[]; labels?: Record<string, string>; net?: string } = {},
): Released {
  const spec: ServiceSpec = {
    Name: name,
    Labels: { "com.docker.stack.namespace": "shop", ...fields.labels },
    TaskTemplate: {
      ContainerSpec: { Env: fields.env ?? [], Args: fields.args ?? [] },
      Networks: [{ Target: fields.net ?? "shop_back", Aliases: [name.replace("shop_", "")] }],
    },
    Mode: { Replicated: { Replicas: 1 } },
  };
  return { name, spec };
}
const names = (waves: Released[][]): string[][] => waves.map((wave) => wave.map(({ name }) => name));

describe("release waves", () => {
  it("let a service wait for those that its environment and arguments mention by a name it finds them under", () => {
    const web = service("shop_web", { env: ["DATABASE_URL=postgres://u:p@db:5432/x"] });
    const db = service("shop_db");
    const worker = service("shop_worker", { args: ["--queue", "tasks.web:80"] });
    expect(names(releaseWaves([web, worker, db]))).to.deep.equal([["shop_db"], ["shop_web"], ["shop_worker"]]);
  });

  it("see no need in a variable's name, in another network's service, nor in a part of a word", () => {
    const web = service("shop_web", { env: ["db=1", "X=mydb", "Y=far"] });
    const waves = releaseWaves([web, service("shop_db"), service("shop_far", { net: "other" })]);
    expect(names(waves)).to.deep.equal([["shop_db", "shop_far", "shop_web"]]);
  });

  it("follow the label io.skep.after, which counts instead of what is read", () => {
    const web = service("shop_web", { env: ["A=db"], labels: { "io.skep.after": "cache, shop_late" } });
    const late = service("shop_late", { labels: { "io.skep.after": "db" } });
    const waves = releaseWaves([web, late, service("shop_cache"), service("shop_db")]);
    expect(names(waves)).to.deep.equal([["shop_cache", "shop_db"], ["shop_late"], ["shop_web"]]);
  });

  it("release those that need each other at the same time, and Skep's own last", () => {
    const a = service("shop_a", { env: ["B=b"] });
    const b = service("shop_b", { env: ["A=a"] });
    const c = service("shop_c", { env: ["A=a"] });
    const waves = releaseWaves([c, b, a, service("shop_0")], ({ name }) => name === "shop_0");
    expect(names(waves)).to.deep.equal([["shop_a", "shop_b"], ["shop_c"], ["shop_0"]]);
  });

  it("have every service once, and none before what it needs, whatever the needs", () => {
    const graph = fc.array(fc.array(fc.nat(7), { maxLength: 3 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(graph, (needs) => {
        const services = needs.map((of, index) =>
          service(`shop_s${index}`, { labels: { "io.skep.after": of.map((other) => `s${other}`).join(",") } }),
        );
        const waves = names(releaseWaves(services));
        expect(waves.flat().sort()).to.deep.equal(services.map(({ name }) => name).sort());
        const reaches = (from: number, target: number, seen = new Set<number>()): boolean => {
          if (seen.has(from)) return false;
          seen.add(from);
          return (needs[from] ?? []).some(
            (next) => next < needs.length && (next === target || reaches(next, target, seen)),
          );
        };
        const waveOf = (index: number): number => waves.findIndex((wave) => wave.includes(`shop_s${index}`));
        for (const index of needs.keys()) {
          for (const other of needs.keys()) {
            if (index !== other && reaches(index, other) && !reaches(other, index)) {
              expect(waveOf(other)).to.be.below(waveOf(index));
            }
          }
        }
      }),
    );
  });
});

describe("a released service", () => {
  const task = (state: string, desired = "running", err?: string) => ({
    ID: "t",
    NodeID: "n",
    DesiredState: desired,
    Status: { State: state, ...(err === undefined ? {} : { Err: err }) },
  });
  const spec = (Mode: ServiceSpec["Mode"]): ServiceSpec => ({ TaskTemplate: {}, Mode });

  it("lives once all its tasks run, and says why not", () => {
    const two = spec({ Replicated: { Replicas: 2 } });
    expect(livenessOf(two, [task("running"), task("running")], 0).live).to.equal(true);
    expect(livenessOf(two, [task("running"), task("rejected", "shutdown", "No such image")], 0)).to.deep.equal({
      live: false,
      detail: "1 of 2 tasks run: No such image",
    });
    expect(livenessOf(spec({ Replicated: { Replicas: 0 } }), [], 0).live).to.equal(true);
  });

  it("of global mode has a while to get its tasks, and none where no node may run it", () => {
    const everywhere = spec({ Global: {} });
    expect(livenessOf(everywhere, [], 0).live).to.equal(false);
    expect(livenessOf(everywhere, [], 10_000).live).to.equal(true);
    expect(livenessOf(everywhere, [task("running"), task("starting")], 20_000).live).to.equal(false);
  });

  it("that is a job lives once it is complete", () => {
    const job = spec({ ReplicatedJob: { TotalCompletions: 2 } });
    expect(livenessOf(job, [task("complete", "complete"), task("running")], 0).live).to.equal(false);
    expect(livenessOf(job, [task("complete", "complete"), task("complete", "complete")], 0).live).to.equal(true);
  });
});
