import { expect } from "chai";
import { layQuiet, type OpenChild } from "../../controller/quiet-results.ts";
import { planUnits } from "../../controller/quiet-units.ts";
import { childId, type Outcome, type VolumeJob } from "../../controller/run-plan.ts";
import type { VolumeWords } from "../../controller/volume-words.ts";
import type { TaskKind } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import type { CommandRecord, Part } from "../../shared/repository/run.ts";

const runId = "20261121-030000-abc123";
const at = "2026-11-21T03:00:00.000Z";
const name = "a";
const id = childId(runId, "volume", "n1", name);
const hook = { pre: { command: ["x"] }, post: { command: ["y"] } };

/** The part of one volume, by what its unit's children came to. */
function lay(
  words: VolumeWords,
  outcomes: Partial<{ [K in TaskKind]: TaskResultOf<K>[] }>,
  more: Partial<VolumeJob> = {},
  found: Partial<Part> = {},
): Part {
  const job: VolumeJob = {
    ...{ nodeId: "n1", hostname: "n1", words, faults: [], speakers: {}, missing: [], isShared: false, unasked: [] },
    volume: { name, driver: "local", options: {}, labels: {}, scope: "local" },
    users: [{ nodeId: "n1", container: "db.1", serviceId: "s1", uses: "all" }],
    views: [{ nodeId: "n1", hostname: "n1", name }],
    ...more,
  };
  const jobs = new Map([[id, job]]);
  const part: Part = {
    ...{ kind: "volume", name: "n1/a", nodeId: "n1", hostname: "n1", status: "done", startedAt: at, endedAt: at },
    ...{ attempt: 1, warnings: [], warningsLeftOut: 0 },
    ...found,
  };
  const open: OpenChild = <K extends TaskKind>(_: string, kind: K) => {
    const result = outcomes[kind]?.shift();
    return result === undefined ? null : { state: "done", result };
  };
  const laid = layQuiet(
    planUnits(runId, jobs),
    jobs,
    new Map<string, Outcome<Part>>([[id, { state: "done", result: part }]]),
    open,
  );
  const outcome = laid.get(id);
  return outcome?.state === "done" ? outcome.result : expect.fail("no part");
}
const ran = (step: CommandRecord["step"], exitCode: number): CommandRecord => ({
  ...{ step, container: "db.1", exitCode, stderr: `${step} said` },
});
const fault = { code: "SKEP_COMMAND_FAILED", message: "it ended with 1", permanent: true } as const;
const quiet = [{ name: "db.1", how: "pause" as const, quietMs: 7 }];

describe("what came of a quiet, at its parts", () => {
  it("is quiet of a share only where it is known which nodes the swarm has, and each of them told", () => {
    const shared = (unasked: VolumeJob["unasked"]): Part =>
      lay({ quiesce: "pause" }, {}, { isShared: true, unasked }, { consistency: "quiet" });
    expect(shared([])).to.deep.include({ status: "done", consistency: "quiet" });
    for (const [unasked, why] of [
      [["n3"], "what used it on n3 is not known"],
      [null, "which other nodes the swarm has is not known"],
    ] as const) {
      const part = shared(unasked === null ? null : [...unasked]);
      expect(part).to.deep.include({ status: "partial", consistency: "not-atomic" });
      expect(part.error?.message).to.contain(why);
    }
  });

  it("has what each hook came to and how long it was quiet, though a hook failed", () => {
    const commands = [ran("hook.pre", 0), ran("hook.pre", 1)];
    const before = lay(
      { quiesce: "pause", hook },
      {
        pause: [{ kind: "pause", paused: [], stopped: [], commands, fault }],
        unpause: [{ kind: "unpause", quiet, commands: [ran("hook.post", 0)] }],
      },
    );
    expect(before).to.deep.include({ status: "partial", error: fault, quiet });
    expect(before.commands).to.deep.equal([...commands, ran("hook.post", 0)]);
    const after = lay(
      { quiesce: "pause" },
      { unpause: [{ kind: "unpause", quiet, commands: [ran("hook.post", 1)], fault }] },
    );
    expect(after).to.deep.include({ status: "partial", error: fault, quiet, commands: [ran("hook.post", 1)] });
  });

  it("has the hooks after a stop of services, and its quiet once", () => {
    const part = lay(
      { quiesce: "stop", hook },
      {
        unpause: [
          { kind: "unpause", quiet, commands: [] },
          { kind: "unpause", quiet, commands: [ran("hook.post", 0)] },
        ],
      },
    );
    expect(part).to.deep.include({ status: "done", quiet, commands: [ran("hook.post", 0)] });
  });

  it("says what stands still after it, also where the part has failed for another reason", () => {
    const stuck = { code: "SKEP_START_FAILED", message: "container db.1 does not start", permanent: true } as const;
    const own = { code: "SKEP_STORE_FULL", message: "no room left", permanent: true } as const;
    const outcomes = (): Parameters<typeof lay>[1] => ({
      unpause: [{ kind: "unpause", quiet, commands: [], fault: stuck }],
    });
    const { code, message } = stuck;
    const failed = lay({ quiesce: "pause" }, outcomes(), {}, { status: "failed", error: own });
    expect(failed).to.deep.include({ status: "failed", error: own, warnings: [{ code, message }] });
    const partial = lay({ quiesce: "pause" }, outcomes(), {}, { status: "partial", error: own });
    expect(partial).to.deep.include({ status: "partial", error: own, warnings: [{ code, message }] });
    const done = lay({ quiesce: "pause" }, outcomes());
    expect(done).to.deep.include({ status: "partial", error: stuck, warnings: [] });
  });
});
