import { expect } from "chai";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Keeper, undoLeft } from "../../../../controller/cli/standalone/keeper.ts";
import { decodeKeeperLine, encodeKeeperLine } from "../../../../shared/contract/keeper.ts";
import { SkepError } from "../../../../shared/errors.ts";
import { sampleInput } from "./sample-input.ts";

const input = sampleInput({ kind: "unpause", pauseId: "abcdefghijkl", after: [] });
const patient = new AbortController().signal;

describe("the process that keeps volumes quiet", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-keeper-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });
  const place = (): { stateDir: string; dockerSocket: string } => {
    return { stateDir: join(folder, "state"), dockerSocket: join(folder, "no.sock") };
  };
  const failureOf = async (promise: Promise<unknown>): Promise<SkepError> => {
    try {
      await promise;
    } catch (error) {
      if (error instanceof SkepError) return error;
      throw error;
    }
    return expect.fail("it did not fail");
  };
  const work = (keeper: Keeper): Promise<unknown> => keeper.work("unpause", input, () => undefined, patient);

  it("is one for a state folder, gives it back when it ends or dies, and leaves no journal where nothing is quiet", async () => {
    const keeper = await Keeper.open(place());
    expect(keeper.undone).to.deep.equal({ wentOn: [], released: [], removed: [], faults: [] });
    expect(await work(keeper)).to.deep.equal({ kind: "unpause", quiet: [], commands: [] });
    const busy = failureOf(Keeper.open(place()));
    expect(await busy).to.include({ code: "SKEP_STANDALONE_BUSY", permanent: true });
    await keeper.close();
    expect(existsSync(join(place().stateDir, "standalone.sqlite"))).to.equal(false);
    expect(await undoLeft(place())).to.equal(null);
  }).timeout(60_000);

  /** A program that stands in for agent/keeper.ts where the real one cannot be made to misbehave. */
  const fake = async (source: string, onWarning?: (warning: { message: string }) => void): Promise<Keeper> => {
    const programPath = join(folder, "program.mjs");
    writeFileSync(
      programPath,
      `const ready = { wentOn: ["db"], released: [], removed: [], faults: [] };
       const say = (line) => process.stdout.write(JSON.stringify(line) + "\\n");
       process.stdin.on("end", () => setImmediate(() => process.exit(0))).resume();
       ${source}`,
    );
    return await Keeper.open(place(), { programPath, ...(onWarning === undefined ? {} : { onWarning }) });
  };

  it("passes on what it warns of, before it is ready and later", async () => {
    const warned: string[] = [];
    const keeper = await fake(
      `const warning = { code: "SKEP_HOLD_STUCK", message: "one", permanent: true };
       say({ warning });
       say({ ready });
       process.stdin.on("end", () => say({ warning: { ...warning, message: "two" } }));`,
      ({ message }) => warned.push(message),
    );
    expect(warned).to.deep.equal(["one"]);
    await keeper.close();
    expect(warned).to.deep.equal(["one", "two"]);
  });

  it("fails all that waits for it, and what is asked of it later, when it dies", async () => {
    const keeper = await fake(`say({ ready });
      process.stdin.on("data", (text) => {
        if (!String(text).includes('"work"')) return;
        console.error("out of memory");
        process.exit(137);
      });`);
    expect(keeper.undone.wentOn).to.deep.equal(["db"]);
    const [first, second] = await Promise.all([failureOf(work(keeper)), failureOf(work(keeper))]);
    expect(first).to.include({ code: "SKEP_ONCE_FAILED", permanent: false });
    expect(first.message).to.contain("code 137").and.contain("out of memory");
    expect(second.code).to.equal("SKEP_ONCE_FAILED");
    expect(keeper.hasEnded).to.equal(true);
    expect((await failureOf(work(keeper))).code).to.equal("SKEP_ONCE_FAILED");
    expect((await failureOf(keeper.close())).code).to.equal("SKEP_ONCE_FAILED");
  });

  it("is asked for what it says, and takes no result of another kind for it", async () => {
    const keeper = await fake(`say("a library that prints"); say({ ready });
      process.stdin.on("data", () => say({ id: 1, result: { kind: "restore-list", restores: [] } }));`);
    expect((await failureOf(work(keeper))).message).to.contain("restore-list");
    const stop = new AbortController();
    const reason = new SkepError({ code: "SKEP_CLI_INTERRUPTED", message: "interrupted", permanent: true });
    const waiting = failureOf(keeper.work("unpause", input, () => undefined, stop.signal));
    stop.abort(reason);
    expect(await waiting).to.equal(reason);
    await keeper.close();
  });

  it("fails what it answered in another shape, and is not waited for when that is its first word", async () => {
    const keeper = await fake(`say({ ready });
      process.stdin.on("data", () => say({ id: 1, error: { code: "SKEP_X", message: "x".repeat(16385), permanent: true } }));`);
    expect((await failureOf(work(keeper))).message).to.contain("in another shape");
    await keeper.close();
    const error = await failureOf(fake("say({ ready: 1 });"));
    expect(error).to.include({ code: "SKEP_ONCE_FAILED", permanent: true });
  });

  it("cuts what an error says to what is read", () => {
    const long = { code: "SKEP_X" as const, message: "m".repeat(20_000), permanent: true, hint: "h".repeat(5000) };
    for (const line of [{ id: 1, error: long }, { ready: { wentOn: [], released: [], removed: [], faults: [long] } }]) {
      expect(decodeKeeperLine(encodeKeeperLine(line))).to.have.any.keys("error", "ready");
    }
  });
});
