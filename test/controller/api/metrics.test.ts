import { expect } from "chai";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import { maxSeries, renderMetrics, type MetricFacts } from "../../../controller/api/metrics.ts";
import { makeApi } from "../../../controller/api/server.ts";
import { makeApiCertificate } from "../../../controller/cli/api-certificate.ts";
import { Agents } from "../../../controller/agents.ts";
import { Enrolments } from "../../../controller/enrolments.ts";
import { LastSuccesses } from "../../../controller/last-successes.ts";
import { Repository } from "../../../controller/repository.ts";
import { makeLogger } from "../../../shared/log.ts";
import { generateAgeIdentity } from "../../../shared/repository/age.ts";
import { runNode, SwarmOfFakes, until } from "../swarm-of-fakes.ts";

const nothing: MetricFacts = {
  ...{ skepVersion: "1.2.3", runs: [], newest: null, successes: [], agents: [] },
  queue: null,
};

/** Value by metric with its labels, as they stand in the text. */
function valuesOf(text: string): Record<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
  );
}

describe("metrics", () => {
  it("tell that there is nothing, where there is nothing yet", async () => {
    const values = valuesOf(await renderMetrics(nothing));
    expect(values).to.include({ 'skep_build_info{version="1.2.3"}': 1, skep_redis_up: 0 });
    expect(values).to.include({ 'skep_runs{status="done"}': 0, 'skep_agents{state="heard"}': 0 });
    expect(Object.keys(values).filter((name) => /success|skep_run_|quiet/.test(name))).to.deep.equal([]);
  });

  it("tell how far the jobs are that run, and not where Redis is away", async () => {
    const queue = { runsOpen: 1, jobs: { waiting: 2, running: 1 }, doneBytes: 4096 };
    expect(valuesOf(await renderMetrics({ ...nothing, queue }))).to.include({ skep_jobs_done_bytes: 4096 });
    expect(valuesOf(await renderMetrics(nothing))).to.not.have.property("skep_jobs_done_bytes");
  });

  it("have a bounded number of series, and say how many are left out", async () => {
    const successes = Array.from({ length: maxSeries + 7 }, (_, n) => ({
      ...{ kind: "volume" as const, name: `n/v${n}`, at: 5000 },
    }));
    const values = valuesOf(await renderMetrics({ ...nothing, successes }));
    const series = Object.keys(values).filter((name) => name.startsWith("skep_volume_last_success"));
    expect(series).to.have.length(maxSeries);
    expect(values['skep_series_left_out{metric="skep_volume_last_success_timestamp_seconds"}']).to.equal(7);
  });

  it("write a name that would break their format so that it does not", async () => {
    const successes = [{ kind: "dump" as const, name: 'n/a"} 1\nskep_redis_up 1', at: 2500 }];
    const text = await renderMetrics({ ...nothing, successes });
    expect(text).to.contain('{volume="n/a\\"} 1\\nskep_redis_up 1",kind="dump"} 2.5');
    expect(valuesOf(text)["skep_redis_up"]).to.equal(0);
  });

  it("know of each volume when it was last taken whole, and forget one that is gone for a month", () => {
    const successes = new LastSuccesses();
    const part = (name: string, status: "done" | "partial", endedAt: string): never =>
      ({ kind: "volume", name, status, endedAt }) as never;
    const add = (endedAt: string, ...parts: never[]): void => {
      successes.add({ endedAt, parts });
    };
    add("2026-02-02T00:00:00Z", part("n/a", "partial", "2026-02-02T00:00:00Z"));
    add("2026-02-01T00:00:00Z", part("n/a", "done", "2026-02-01T00:00:00Z"));
    add(
      "2026-01-01T00:00:00Z",
      part("n/a", "done", "2026-01-01T00:00:00Z"),
      part("n/old", "done", "2026-01-01T00:00:00Z"),
    );
    expect(successes.list().map(({ name, at }) => `${name} ${new Date(at).toISOString()}`)).to.deep.equal([
      "n/a 2026-02-01T00:00:00.000Z",
    ]);
  });

  it("are scraped over HTTPS with the API's token: of a run that made a volume quiet", async function () {
    this.timeout(60_000);
    const token = "token-of-this-test";
    const log = makeLogger("test", "silent");
    const swarm = await SwarmOfFakes.make();
    try {
      await swarm.agent("m1", [runNode("m1")], ["p1", "other"]);
      const repository = await Repository.open(swarm.openStore(), swarm.key);
      const { recipient } = await generateAgeIdentity();
      const enrolment = { nodeId: "m1", hostname: "m1", recipient, skepVersion: "0.1.0" };
      await new Enrolments(repository, new Agents(1000), log).answer(enrolment, Date.now());
      await repository.store.close();
      const { controller } = await swarm.daemon({ volumes: [{ match: "p*", quiesce: "pause" }] });
      const { keyAndCertificate: pem, certificate: ca } = await makeApiCertificate(["localhost"], Date.now());
      const api = makeApi({ backend: controller, pem, token, log });
      await api.listen({ host: "127.0.0.1", port: 0 });
      const { port } = api.server.address() as AddressInfo;
      const scrape = (headers: Record<string, string>): Promise<{ status: number; type: string; text: string }> =>
        new Promise((resolve, reject) => {
          request({ host: "localhost", port, path: "/metrics", ca, headers, agent: false }, (answer) => {
            let text = "";
            answer.setEncoding("utf8").on("data", (piece: string) => (text += piece));
            answer.on("end", () => {
              resolve({ status: answer.statusCode ?? 0, type: answer.headers["content-type"] ?? "", text });
            });
          })
            .on("error", reject)
            .end();
        });
      try {
        expect((await scrape({})).status).to.equal(401);
        await until("the agent is heard", async () =>
          (await controller.agents()).some((each) => each.lastSeenAt !== null),
        );
        const runId = await controller.startRun(null);
        await until("the run is written", async () => "run" in (await controller.run(runId)));
        const authorized = { authorization: `Bearer ${token}` };
        // The queue hears of it a moment later.
        await until("no run is open", async () => valuesOf((await scrape(authorized)).text)["skep_runs_open"] === 0);
        const { status, type, text } = await scrape(authorized);
        expect(status).to.equal(200);
        expect(type).to.match(/^text\/plain; version=0\.0\.4/);
        const values = valuesOf(text);
        expect(values).to.include({ 'skep_runs{status="done"}': 1, skep_redis_up: 1 });
        expect(values).to.include({ 'skep_agents{state="heard"}': 1, 'skep_jobs{state="waiting"}': 0 });
        expect(values).to.include({ skep_jobs_done_bytes: 0 });
        expect(values['skep_quiet_seconds{name="at-m1",how="pause"}']).to.equal(0.005);
        for (const name of ["m1/p1", "m1/other"]) {
          const at = values[`skep_volume_last_success_timestamp_seconds{volume="${name}",kind="volume"}`];
          expect(at, name).to.be.within(Date.now() / 1000 - 60, Date.now() / 1000);
        }
        expect(values["skep_raft_last_success_timestamp_seconds"]).to.be.above(0);
        expect(values["skep_run_duration_seconds"]).to.be.above(0);
      } finally {
        await api.close();
      }
    } finally {
      await swarm.remove();
    }
  });
});
