import { expect } from "chai";
import fc from "fast-check";
import {
  judgeOverlay,
  planOverlayProbes,
  questionOf,
  type OverlayAnswer,
  type OverlayCircumstances,
  type OverlayProbe,
} from "../../../../controller/recovery/probe/overlay-probes.ts";
import { unasked, type Finding } from "../../../../controller/recovery/probe/probes.ts";
import type { RunningTask } from "../../../../controller/recovery/probe/running-tasks.ts";
import { attached, task } from "./seen-tasks.ts";

const member = (
  service: string,
  machine: string | null,
  address: string,
  more: Partial<RunningTask> = {},
): RunningTask => task(service, machine, { addresses: [attached(address)], ...more });
const tasks = [
  member("web", "m1", "10.0.1.5"),
  member("web", "m2", "10.0.1.4"),
  member("db", "m2", "10.0.1.6"),
  member("far", null, "10.0.1.7"),
  member("young", "m3", "10.0.1.8", { pid: 0 }),
  task("alone", "m1"),
];

const calm = (all: readonly RunningTask[]): OverlayCircumstances => ({
  settled: new Set(all.map(({ service }) => service)),
  stayed: new Set(all.map(({ id }) => id)),
  hasEsp: () => true,
});

/** As a network says it in which everything works. */
const wholeAnswer = ({ names, addresses }: OverlayProbe): OverlayAnswer => ({
  isThere: true,
  names: Object.fromEntries(names.map(({ name, right }) => [name, { addresses: [...(right[0] ?? [])].reverse() }])),
  addresses: Object.fromEntries(addresses.map(({ address }) => [address, null])),
});

const bad = (findings: readonly Finding[]): Finding[] => findings.filter(({ outcome }) => outcome === "bad");
const outcomeOf = (findings: readonly Finding[], item: string): string =>
  findings.find((finding) => finding.item === item)?.outcome ?? "none";

describe("what is probed of an overlay", () => {
  const probes = planOverlayProbes(tasks);
  const [probe] = probes;
  if (probe === undefined) throw new Error("a probe");

  it("is each overlay once from each machine that has a task in it, with all its services, wherever they run", () => {
    expect(probes.map(({ network, machine, own }) => [network, machine, own])).to.deep.equal([
      ["inside", "m1", "10.0.1.5"],
      ["inside", "m2", "10.0.1.4"],
    ]);
    for (const { names } of probes) {
      expect(Object.fromEntries(names.map(({ name, right }) => [name, right]))).to.deep.equal({
        "tasks.web": [["10.0.1.4", "10.0.1.5"]],
        "tasks.db": [["10.0.1.6"]],
        "tasks.far": [["10.0.1.7"]],
        "tasks.young": [["10.0.1.8"]],
      });
    }
    expect(planOverlayProbes([task("lan", "m1", { addresses: [attached("10.9.0.2", { driver: "macvlan" })] })])).to.be
      .empty;
  });

  it("is asked of addresses on other machines first, of a hundred at most, and the rest is said to be unasked", () => {
    const near = Array.from({ length: 90 }, (_, at) => member(`near${at}`, "m1", `10.0.2.${at}`));
    const across = Array.from({ length: 90 }, (_, at) => member(`far${at}`, "m2", `10.0.3.${at}`));
    const [large] = planOverlayProbes([...near, ...across]);
    if (large === undefined) return expect.fail("a probe");
    expect(large.addresses).to.have.length(100);
    expect(large.addresses.filter(({ task: { machine } }) => machine === "m2")).to.have.length(90);
    const findings = judgeOverlay(large, wholeAnswer(large), calm([...near, ...across]));
    expect(outcomeOf(findings, "more")).to.equal("unsure");
    expect(findings.at(-1)?.detail).to.contain("160 more");
  });

  it("is not asked again where it was good", () => {
    const { names, addresses } = questionOf(probe, ({ item }) => item === "tasks.web" || item === "10.0.1.6");
    expect(names).to.have.members(["tasks.db", "tasks.far", "tasks.young"]);
    expect(addresses).to.have.members(["10.0.1.5", "10.0.1.4", "10.0.1.7", "10.0.1.8"]);
  });

  it("is bad exactly where one name leads elsewhere, or one address is silent", () => {
    expect(judgeOverlay(probe, wholeAnswer(probe), calm(tasks)).every(({ outcome }) => outcome === "good")).to.be.true;
    const items = [...probe.names.map(({ name }) => name), ...probe.addresses.map(({ address }) => address)];
    fc.assert(
      fc.property(
        fc.constantFrom(...items),
        fc.constantFrom("ETIMEDOUT", "EHOSTUNREACH"),
        fc.boolean(),
        (item, code, none) => {
          const answer = wholeAnswer(probe);
          if (item in answer.addresses) answer.addresses[item] = code;
          else answer.names[item] = none ? { error: "ENOTFOUND" } : { addresses: ["10.9.9.9"] };
          const [one, ...more] = bad(judgeOverlay(probe, answer, calm(tasks)));
          expect(more).to.be.empty;
          expect(one).to.include({ kind: "overlay", subject: "inside", machine: "m1", item });
          expect(one?.detail).to.contain(item);
        },
      ),
    );
  });

  it("takes the addresses of any network that both are in, of whatever kind, as Docker's resolver gives those of one", () => {
    const both = (last: string): Partial<RunningTask> => ({
      addresses: [attached(`10.0.1.${last}`), attached(`192.0.2.${last}`, { network: "lan", driver: "macvlan" })],
    });
    const all = [task("web", "m1", both("5")), task("web", "m1", both("6"))];
    const [only, ...more] = planOverlayProbes(all);
    if (only === undefined) return expect.fail("a probe");
    expect(more).to.be.empty;
    const answer = wholeAnswer(only);
    for (const addresses of [
      ["10.0.1.6", "10.0.1.5"],
      ["192.0.2.5", "192.0.2.6"],
    ]) {
      answer.names["tasks.web"] = { addresses };
      expect(bad(judgeOverlay(only, answer, calm(all)))).to.be.empty;
    }
    answer.names["tasks.web"] = { addresses: ["10.0.1.5", "192.0.2.6"] };
    expect(bad(judgeOverlay(only, answer, calm(all)))).to.have.length(1);
  });

  it("says nothing of tasks that come or go, nor of a container that is not there any more", () => {
    const answer = {
      ...wholeAnswer(probe),
      names: { "tasks.db": { error: "ENOTFOUND" } },
      addresses: { "10.0.1.6": "ETIMEDOUT" },
    };
    const others = tasks.filter(({ service }) => service !== "db");
    const unsettled = judgeOverlay(probe, answer, { ...calm(others), hasEsp: () => true });
    expect(outcomeOf(unsettled, "tasks.db")).to.equal("early");
    expect(outcomeOf(unsettled, "10.0.1.6")).to.equal("early");
    const gone = judgeOverlay(probe, { ...answer, isThere: false }, calm(tasks));
    expect(new Set(gone.map(({ outcome }) => outcome))).to.deep.equal(new Set(["early"]));
    const notAsked = judgeOverlay(probe, unasked("nsenter is not there"), calm(tasks));
    expect(new Set(notAsked.map(({ outcome }) => outcome))).to.deep.equal(new Set(["unsure"]));
  });

  it("can't tell silence of the network from that of a firewall, of the asker's own machine, or of a kernel without ESP", () => {
    const silent = (all: readonly RunningTask[], code = "ETIMEDOUT", hasEsp = true): string => {
      const [asking] = planOverlayProbes(all);
      if (asking === undefined) return expect.fail("a probe");
      const answer = { ...wholeAnswer(asking), addresses: { "10.0.1.6": code } };
      return outcomeOf(judgeOverlay(asking, answer, { ...calm(all), hasEsp: () => hasEsp }), "10.0.1.6");
    };
    const asker = member("web", "m1", "10.0.1.5");
    expect(silent([asker, member("db", "m2", "10.0.1.6")])).to.equal("bad");
    expect(silent([asker, member("db", "m2", "10.0.1.6", { guarded: true })])).to.equal("unsure");
    expect(silent([{ ...asker, guarded: true }, member("db", "m2", "10.0.1.6")])).to.equal("unsure");
    expect(silent([asker, member("db", "m2", "10.0.1.6")], "EMFILE")).to.equal("unsure");
    const secret = task("db", "m2", { addresses: [attached("10.0.1.6", { encrypted: true })] });
    expect(silent([asker, secret], "ETIMEDOUT", false)).to.equal("unsure");
    expect(silent([asker, secret], "ETIMEDOUT", true)).to.equal("bad");
    expect(silent([asker, { ...secret, machine: "m1" }], "ETIMEDOUT", false)).to.equal("bad");
  });
});
