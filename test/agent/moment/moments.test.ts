import { expect } from "chai";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Journal } from "../../../agent/journal.ts";
import { Moments } from "../../../agent/moment/moments.ts";

const patient = new AbortController().signal;
const nothing: ReadonlySet<string> = new Set();

// What filesystems give is seen in test/e2e/moments.test.ts: here is what holds where there is nothing to be had.
describe("moments on a filesystem without snapshots and reflinks", () => {
  let dataRoot: string;
  let root: string;
  let journal: Journal;
  beforeEach(() => {
    dataRoot = mkdtempSync("/dev/shm/skep-moments-");
    root = join(dataRoot, "volumes", "v", "_data");
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, "file"), "content");
    journal = new Journal(":memory:");
  });
  afterEach(() => {
    journal.close();
    rmSync(dataRoot, { recursive: true });
  });
  const place = (): string[] => readdirSync(join(dataRoot, "skep-moments"));

  it("are none, leave nothing behind, and are not asked for again", async () => {
    const moments = new Moments(journal);
    const request = { root, dataRoot, excludePaths: [], isQuiet: true };
    expect(await moments.prepare(request, patient)).to.equal(null);
    expect(place()).to.deep.equal([]);
    expect(journal.moments()).to.deep.equal([]);
    rmSync(join(dataRoot, "skep-moments"), { recursive: true });
    expect(await moments.prepare(request, patient)).to.equal(null);
    expect(existsSync(join(dataRoot, "skep-moments"))).to.equal(false);
  });

  it("are none without a journal that outlives the process", async () => {
    expect(await new Moments(null).prepare({ root, dataRoot, excludePaths: [], isQuiet: true }, patient)).to.equal(
      null,
    );
    expect(existsSync(join(dataRoot, "skep-moments"))).to.equal(false);
  });

  it("that a crash left are removed, also half-made ones and such as were never begun", async () => {
    const left = join(dataRoot, "skep-moments");
    mkdirSync(join(left, "0123456789abcdef", "files", "0"), { recursive: true });
    writeFileSync(join(left, "0123456789abcdef", "files", "0", "0"), "a clone");
    for (const name of ["0123456789abcdef", "fedcba9876543210"]) {
      journal.putMoment(name, JSON.stringify({ name, place: left }));
    }
    const { removed, warnings } = await new Moments(journal).removeLeft();
    expect(removed).to.have.length(2);
    expect(warnings).to.deep.equal([]);
    expect(place()).to.deep.equal([]);
    expect(journal.moments()).to.deep.equal([]);
  });

  it("that cannot be removed are named, and no other is made", async () => {
    const name = "0123456789abcdef";
    // A place that is no folder.
    writeFileSync(join(dataRoot, "file"), "");
    journal.putMoment(name, JSON.stringify({ name, place: join(dataRoot, "file") }));
    const moments = new Moments(journal);
    const { removed, warnings } = await moments.removeLeft();
    expect(removed).to.deep.equal([]);
    expect(warnings.map(({ code }) => code)).to.deep.equal(["SKEP_MOMENT_KEPT"]);
    expect(journal.moments()).to.have.length(1);
    expect(await moments.prepare({ root, dataRoot, excludePaths: [], isQuiet: true }, patient)).to.equal(null);
    expect(existsSync(join(dataRoot, "skep-moments"))).to.equal(false);
  });
  it("that cannot be removed are told once, tried once a minute, and forgotten when they are gone", async () => {
    const name = "0123456789abcdef";
    const left = join(dataRoot, "file");
    writeFileSync(left, "");
    journal.putMoment(name, JSON.stringify({ name, place: left }));
    const moments = new Moments(journal);
    await moments.removeLeft();
    expect(await moments.tend(1_000_000, nothing)).to.deep.equal([]);
    rmSync(left);
    expect(await moments.tend(1_059_999, nothing)).to.deep.equal([]);
    expect(journal.moments()).to.have.length(1);
    await moments.tend(1_060_000, nothing);
    expect(journal.moments()).to.deep.equal([]);
  });

  it("that were kept for a job are removed after their deadline", async () => {
    const moments = new Moments(journal);
    const gone: string[] = [];
    const walk = (): never => expect.fail("nobody reads it");
    const remove = (): Promise<null> => {
      gone.push("v");
      return Promise.resolve(null);
    };
    moments.keep("pause", "v", { how: "reflink", tookMs: 1, root: null, walk, remove }, 5000);
    await moments.tend(4999, nothing);
    expect(gone).to.deep.equal([]);
    await moments.tend(5000, nothing);
    expect(gone).to.deep.equal(["v"]);
    expect(moments.claim("pause", "v")).to.equal(null);
  });

  it("that were given up are removed once their owner keeps nothing quiet any more, and nobody can claim them", async () => {
    const moments = new Moments(journal);
    const gone: string[] = [];
    for (const owner of ["pause", "other"]) {
      moments.giveUp(owner, { drop: () => Promise.resolve(void gone.push(owner)) });
    }
    expect(moments.claim("pause", "v")).to.equal(null);
    await moments.tend(0, new Set(["pause", "other"]));
    expect(gone).to.deep.equal([]);
    await moments.tend(Infinity, new Set(["other"]));
    await moments.tend(Infinity, new Set(["other"]));
    expect(gone).to.deep.equal(["pause"]);
    await moments.tend(0, nothing);
    expect(gone).to.deep.equal(["pause", "other"]);
  });

  it("are not begun for what was given up already", async () => {
    const reason = new Error("enough");
    const prepared = new Moments(journal).prepare(
      { root, dataRoot, excludePaths: [], isQuiet: true },
      AbortSignal.abort(reason),
    );
    expect(await prepared.catch((error: unknown) => error)).to.equal(reason);
    expect(journal.moments()).to.deep.equal([]);
  });
});
