import { expect } from "chai";
import { compareVolumes } from "../../../controller/recovery/compare-volumes.ts";
import type { RecoveryTools } from "../../../controller/recovery/recovery-tools.ts";
import { volumeSources } from "../../../controller/recovery/volume-sources.ts";
import { SkepError } from "../../../shared/errors.ts";
import { runOf, volumePart } from "./plan-input.ts";

describe("the look at volumes after a recovery", () => {
  it("tells what is equal, what has other options or labels, and what is missing", async () => {
    const volume = { driver: "local", options: { o: "bind" }, labels: { tier: "data" }, scope: "local" as const };
    const sources = volumeSources(
      runOf(
        "r1",
        ["equal", "gone", "other"].map((name) => volumePart("a", name, 1, { volume: { ...volume, name } })),
      ),
      [],
    );
    const there: Record<string, object> = {
      "/volumes/equal": { Driver: "local", Options: { o: "bind" }, Labels: { tier: "data" } },
      "/volumes/other": { Driver: "local", Options: null, Labels: null },
    };
    const engine = (_: unknown, { path }: { path: string }): unknown =>
      there[path] === undefined
        ? Promise.reject(new SkepError({ code: "SKEP_DOCKER_NOT_FOUND", message: "none", permanent: true }))
        : Promise.resolve(there[path]);
    const tools = {
      plan: { volumes: sources.map((source) => ({ source, machine: "m1", how: "plain" })) },
      machines: new Map([["m1", { name: "m1", engine }]]),
    } as unknown as RecoveryTools;
    const compared = await compareVolumes(tools, new AbortController().signal);
    expect(compared.map(({ name, state, detail }) => `${name} ${state} ${detail}`.trim())).to.deep.equal([
      "a/equal equal",
      "a/gone missing",
      "a/other different Options, Labels",
    ]);
  });
});
