import { expect } from "chai";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";

const program = join(import.meta.dirname, "..", "..", "agent", "overlay-probe.ts");

interface Answer {
  isThere: boolean;
  names: Record<string, { addresses: string[] } | { error: string }>;
  addresses: Record<string, string | null>;
}

async function probe(input: object): Promise<Answer> {
  const child = spawn(process.execPath, [program], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(JSON.stringify(input));
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, "exit") as Promise<[number]>]);
  expect(code).to.equal(0);
  return JSON.parse(said) as Answer;
}

/** The question, answered with 10.0.1.9 and 10.0.1.8, or with NXDOMAIN where it is for tasks.none. */
function answerTo(question: Buffer): Buffer {
  const isKnown = !question.includes("none");
  const head = Buffer.from(question.subarray(0, 12));
  head.writeUInt16BE(isKnown ? 0x8180 : 0x8183, 2);
  head.writeUInt16BE(isKnown ? 2 : 0, 6);
  head.writeUInt16BE(0, 8);
  head.writeUInt16BE(0, 10);
  const end = question.indexOf(0, 12) + 5;
  const record = (last: number): Buffer => Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 1, last]);
  return Buffer.concat([head, question.subarray(12, end), ...(isKnown ? [record(9), record(8)] : [])]);
}

describe("the look into an overlay from a container's network", () => {
  it("says what each name leads to, and which address answers, be it with a refusal", async () => {
    const server = createSocket("udp4", (question, { port, address }) => {
      server.send(answerTo(question), port, address);
    });
    server.bind(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const { isThere, names, addresses } = await probe({
        server: `127.0.0.1:${server.address().port}`,
        own: "127.0.0.1",
        names: ["tasks.web", "tasks.none"],
        addresses: ["127.0.0.1", "255.255.255.255"],
      });
      expect(isThere).to.be.true;
      expect(names).to.deep.equal({
        "tasks.web": { addresses: ["10.0.1.9", "10.0.1.8"] },
        "tasks.none": { error: "ENOTFOUND" },
      });
      expect(addresses["127.0.0.1"]).to.equal(null);
      expect(addresses["255.255.255.255"]).to.be.a("string");
    } finally {
      server.close();
    }
  });

  it("asks nothing in a network in which the container is not", async () => {
    const question = { server: "127.0.0.1:1", own: "203.0.113.9", names: ["tasks.web"], addresses: ["127.0.0.1"] };
    expect(await probe(question)).to.deep.equal({ isThere: false, names: {}, addresses: {} });
  });
});
