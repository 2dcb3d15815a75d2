import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { describeProgress, makeBoard, render, type BoardLine } from "../../../controller/cli/board.ts";
import { makeOutput } from "../../../controller/cli/output.ts";

const plain = { styleWords: (_style: unknown, text: string): string => text };
const line = (id: string, state: BoardLine["state"], detail = ""): BoardLine => ({
  id,
  label: `volume ${id}`,
  state,
  detail,
  share: state === "running" ? 0.5 : null,
});

describe("the progress of a run", () => {
  it("is a line for each change of state where there is no terminal, and one every 30 s for what still runs", () => {
    const said: string[] = [];
    let now = 0;
    const output = { ...makeOutput(false), live: false, say: (text: string) => void said.push(text) };
    const board = makeBoard(output, () => now);
    board.update("Run r", [line("db", "waiting"), line("www", "running", "1 MiB")]);
    board.update("Run r", [line("db", "waiting"), line("www", "running", "2 MiB")]);
    now = 30_000;
    board.update("Run r", [line("db", "running"), line("www", "running", "3 MiB")]);
    board.update("Run r", [line("db", "failed", "volume db is gone"), line("www", "done", "4 MiB")]);
    board.close();
    expect(said).to.deep.equal([
      "Run r",
      "volume www: running, 1 MiB",
      "volume db: running",
      "volume www: running, 3 MiB",
      "volume db: failed, volume db is gone",
      "volume www: done, 4 MiB",
    ]);
  });

  it("says that it is still running where nothing new is told", async () => {
    const said: string[] = [];
    const output = { ...makeOutput(false), live: false, say: (text: string) => void said.push(text) };
    const board = makeBoard(output, Date.now, 20);
    board.update("Run r", [line("db", "running", "storing, 1 GiB"), line("www", "done")]);
    await sleep(100);
    board.close();
    const told = said.length;
    expect(said.filter((text) => text === "volume db: running, storing, 1 GiB")).to.have.length.greaterThan(1);
    expect(said.filter((text) => text === "volume www: done")).to.have.length(1);
    await sleep(60);
    expect(said, "after its end").to.have.length(told);
  });

  it("tells of a fault after which a part is tried again, once, and of no other that waits", () => {
    const said: string[] = [];
    const output = { ...makeOutput(false), live: false, say: (text: string) => void said.push(text) };
    const board = makeBoard(output, Date.now, 60_000);
    const fault = "attempt 2 follows: the store cannot be reached";
    for (let time = 0; time < 2; time++) board.update("Run r", [line("db", "waiting", fault), line("www", "waiting")]);
    board.close();
    expect(said.filter((text) => text.startsWith("volume "))).to.deep.equal([`volume db: waiting, ${fault}`]);
  });

  it("never draws a block higher or wider than the terminal, and keeps what runs in sight", () => {
    const lines = Array.from({ length: 200 }, (_, index) =>
      line(`v${index}`, index === 199 ? "running" : "done", "x".repeat(300)),
    );
    const text = render(plain, "Run r", lines, 80, 24).split("\n");
    expect(text.length).to.be.at.most(23);
    expect(Math.max(...text.map(({ length }) => length))).to.be.at.most(80);
    expect(text[1]).to.contain("volume v199");
    expect(text.at(-1)).to.contain("and 180 more");
  });

  it("tells how far a job is", () => {
    const progress = { phase: "upload", doneBytes: 1024 ** 2, totalBytes: 4 * 1024 ** 2, doneFiles: 1 };
    expect(describeProgress(progress)).to.deep.equal({ detail: "upload, 1 MiB of 4 MiB, 1 file", share: 0.25 });
    const unknown = { ...progress, totalBytes: null, doneFiles: 0 };
    expect(describeProgress(unknown)).to.deep.equal({ detail: "upload, 1 MiB", share: null });
  });
});
