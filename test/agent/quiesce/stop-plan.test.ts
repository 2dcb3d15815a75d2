import { expect } from "chai";
import fc from "fast-check";
import type { InspectedContainer } from "../../../agent/docker-objects.ts";
import { placeAmong } from "../../../agent/volume-place.ts";
import { planStops, type RunningContainer } from "../../../agent/quiesce/stop-plan.ts";

interface Given {
  volume?: string;
  labels?: Record<string, string>;
  host?: InspectedContainer["HostConfig"];
  stopTimeout?: number;
}

function running(name: string, { volume, labels = {}, host = {}, stopTimeout }: Given = {}): RunningContainer {
  const mounts = volume === undefined ? [] : [{ Type: "volume", Name: volume, Destination: "/data" }];
  return {
    listed: {
      ...{ Id: `id-of-${name}`, Names: [`/${name}`], Image: "image", ImageID: "sha256:1", State: "running" },
      ...{ Labels: labels, Mounts: mounts },
    },
    inspected: {
      ...{ Id: `id-of-${name}`, Name: `/${name}`, HostConfig: host },
      State: { Running: true, StartedAt: "2026-11-27T03:00:00.123456789Z" },
      Config: { Labels: labels, ...(stopTimeout === undefined ? {} : { StopTimeout: stopTimeout }) },
    },
  };
}

const order = (all: readonly RunningContainer[], volumes = ["data"]): string[][] => {
  const { stops, refusal } = planStops(all, placeAmong(volumes, []), null);
  expect(refusal).to.equal(null);
  const layers = [...new Set(stops.map(({ layer }) => layer))].sort((a, b) => a - b);
  return layers.map((layer) => stops.filter((each) => each.layer === layer).map(({ name }) => name));
};
const compose = (service: string, dependsOn = "", project = "shop"): Record<string, string> => ({
  "com.docker.compose.project": project,
  "com.docker.compose.service": service,
  "com.docker.compose.depends_on": dependsOn,
});

describe("which containers are stopped for a volume", () => {
  it("are those that use it and belong to no service, nor to Skep for a moment", () => {
    const all = [
      running("db", { volume: "data" }),
      running("task", {
        volume: "data",
        labels: { "com.docker.swarm.task.id": "t", "com.docker.swarm.service.id": "s" },
      }),
      running("reader", { volume: "data", labels: { "io.skep.helper": "job" } }),
      running("web", { volume: "other" }),
    ];
    expect(order(all)).to.deep.equal([["db"]]);
    expect(order(all, ["nothing"])).to.deep.equal([]);
    const [db] = planStops(all, placeAmong(["data"], []), null).stops;
    expect(db).to.deep.equal({
      ...{ id: "id-of-db", name: "db", layer: 0, startedAt: "2026-11-27T03:00:00.123456789Z" },
      ...{ restartPolicy: "no", stopSeconds: 10 },
    });
  });

  it("bring those along that live in their network, processes or memory, first of all", () => {
    const all = [
      running("db", { volume: "data" }),
      running("metrics", { host: { NetworkMode: "container:id-of-db" } }),
      running("debugger", { host: { PidMode: "container:metrics" } }),
      running("shared", { host: { IpcMode: "container:id-of-web" } }),
      running("web"),
    ];
    expect(order(all)).to.deep.equal([["debugger"], ["metrics"], ["db"]]);
  });

  it("are stopped after those that compose says depend on them, within one project", () => {
    const all = [
      running("db", { volume: "data", labels: compose("db") }),
      running("app", { volume: "data", labels: compose("app", "cache:service_started:false,db:service_healthy:true") }),
      running("cache", { volume: "data", labels: compose("cache", "db:service_started:false") }),
      running("other", { volume: "data", labels: compose("other", "db:service_started:false", "blog") }),
    ];
    expect(order(all)).to.deep.equal([["app", "other"], ["cache"], ["db"]]);
  });

  it("are all stopped where they depend on each other in a circle", () => {
    const all = [
      running("a", { volume: "data", labels: compose("a", "b:service_started:false") }),
      running("b", { volume: "data", labels: compose("b", "a:service_started:false") }),
      running("c", { volume: "data", labels: compose("c", "a:service_started:false") }),
    ];
    expect(order(all)).to.deep.equal([["c"], ["a", "b"]]);
  });

  it("none, where one of them would be removed, never stop, or is Skep's own", () => {
    const refusal = (given: Given, ownId: string | null = null): string | undefined =>
      planStops(
        [running("web", { volume: "data" }), running("db", { volume: "data", ...given })],
        placeAmong(["data"], []),
        ownId,
      ).refusal?.message;
    expect(refusal({ host: { AutoRemove: true } })).to.contain("--rm");
    expect(refusal({ stopTimeout: -1 })).to.contain("for ever");
    expect(refusal({}, "id-of-db")).to.contain("Skep itself");
    expect(refusal({ host: { AutoRemove: false }, stopTimeout: 0 })).to.equal(undefined);
    const beside = running("sidecar", { host: { NetworkMode: "container:id-of-db", AutoRemove: true } });
    expect(
      planStops([running("db", { volume: "data" }), beside], placeAmong(["data"], []), null).refusal?.container,
    ).to.equal("sidecar");
  });

  it("each once, whatever depends on what, and none before one that depends on it unless in a circle", () => {
    const edges = fc.array(fc.tuple(fc.nat(7), fc.nat(7)), { maxLength: 20 });
    fc.assert(
      fc.property(edges, (pairs) => {
        // From the higher to the lower number: no circles.
        const needs = (at: number): string =>
          pairs
            .flatMap(([a, b]) => (Math.max(a, b) === at && a !== b ? [`s${Math.min(a, b)}:service_started:false`] : []))
            .join();
        const all = Array.from({ length: 8 }, (_, at) =>
          running(`c${at}`, { volume: "data", labels: compose(`s${at}`, needs(at)) }),
        );
        const layers = order(all);
        expect(layers.flat().sort()).to.deep.equal(all.map(({ listed }) => listed.Names[0]?.slice(1)));
        const layerOf = (at: number): number => layers.findIndex((layer) => layer.includes(`c${at}`));
        for (const [a, b] of pairs) if (a !== b) expect(layerOf(Math.max(a, b))).to.be.below(layerOf(Math.min(a, b)));
      }),
    );
  });
});
