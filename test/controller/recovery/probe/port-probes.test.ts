import { expect } from "chai";
import {
  judgePort,
  localAddresses,
  openPorts,
  planPortProbes,
  whyUnasked,
  type MachineSight,
  type PortAnswer,
} from "../../../../controller/recovery/probe/port-probes.ts";
import { unasked } from "../../../../controller/recovery/probe/probes.ts";
import { port, sight, task } from "./seen-tasks.ts";

const machine: MachineSight = {
  advertise: "192.0.2.1",
  hasIpvs: true,
  hasEsp: true,
  addresses: new Set(["127.0.0.1", "192.0.2.1"]),
};
const refused: PortAnswer = { address: "192.0.2.1", connected: false, isRefused: true, why: "connection refused" };
const open: PortAnswer = { address: "192.0.2.1", connected: true };
const silent: PortAnswer = {
  address: "192.0.2.1",
  connected: false,
  isRefused: false,
  why: "nobody answers within 6 s",
};

describe("what is probed of published ports", () => {
  const web = task("web", "m2");
  const agent = task("agent", "m2", { hostPorts: [port(8421, 80)] });
  const elsewhere = task("agent", null, { hostPorts: [port(8421, 80)] });

  it("is a port of ingress on each machine, one of a host where its task runs, and none of a service without tasks", () => {
    const { probes, leftOut } = planPortProbes(
      sight([web, agent, elsewhere], {
        ingress: [
          { service: "web", ...port(80, 8080) },
          { service: "asleep", ...port(81, 8080) },
        ],
        hostMode: ["agent", "idle"],
      }),
      ["m1", "m2"],
    );
    expect(probes.map(({ service, published, machine: at, mode }) => [service, published, at, mode])).to.deep.equal([
      ["web", 80, "m1", "ingress"],
      ["web", 80, "m2", "ingress"],
      ["agent", 8421, "m2", "host"],
    ]);
    expect(leftOut.map(({ subject, outcome }) => [subject, outcome])).to.deep.equal([
      ["asleep 81/tcp", "unsure"],
      ["agent 8421/tcp", "unsure"],
      ["idle", "unsure"],
    ]);
  });

  it("is left out, with the reason, where nobody can ask: ingress without IPVS, UDP, IPv6, a machine that is silent", () => {
    const [ingress, host] = planPortProbes(sight([web, agent], { ingress: [{ service: "web", ...port(80, 8080) }] }), [
      "m2",
    ]).probes;
    if (ingress === undefined || host === undefined) return expect.fail("two probes");
    expect(whyUnasked(ingress, machine)).to.equal(null);
    expect(whyUnasked(ingress, { ...machine, hasIpvs: false })?.unasked).to.contain("no IPVS");
    expect(whyUnasked(host, { ...machine, hasIpvs: false })).to.equal(null);
    expect(whyUnasked({ ...host, protocol: "udp" }, machine)?.unasked).to.contain("udp");
    expect(whyUnasked(host, { ...machine, advertise: "2001:db8::1" })?.unasked).to.contain("IPv6");
    expect(whyUnasked({ ...host, target: 0 }, machine)?.unasked).to.contain("does not say");
    expect(whyUnasked(host, unasked("m2 is silent"))?.unasked).to.equal("m2 is silent");
  });

  it("is bad only where the container listens and its port is silent all the same", () => {
    const [probe] = planPortProbes(sight([agent]), ["m2"]).probes;
    if (probe === undefined) return expect.fail("a probe");
    const seen = { machine, listening: [true], settled: new Set<string>(), stayed: new Set([agent.id]) };
    const bad = judgePort(probe, refused, seen);
    expect(bad).to.include({ kind: "port", subject: "agent 8421/tcp", machine: "m2", outcome: "bad" });
    expect(bad.detail).to.contain("192.0.2.1:8421: connection refused");
    expect(judgePort(probe, silent, seen).outcome).to.equal("bad");
    expect(judgePort(probe, open, seen).outcome).to.equal("good");
    expect(judgePort(probe, unasked("the line broke", true), seen).outcome).to.equal("early");
    expect(judgePort(probe, unasked("sshd forbids it"), seen).outcome).to.equal("unsure");
    for (const answer of [refused, silent, open]) {
      // The engine's own proxy takes every connection.
      expect(judgePort(probe, answer, { ...seen, listening: [false] }).outcome).to.equal("early");
      expect(judgePort(probe, answer, { ...seen, listening: [] }).outcome).to.equal("unsure");
      expect(judgePort(probe, answer, { ...seen, stayed: new Set() }).outcome).to.equal("early");
    }
    expect(judgePort(probe, { ...silent, address: "198.51.100.7" }, seen).outcome).to.equal("unsure");
    expect(judgePort({ ...probe, backends: [{ ...agent, guarded: true }] }, silent, seen).outcome).to.equal("unsure");
  });

  it("leads to a container that listens on an address that others reach", () => {
    const line = (address: string, state = "0A"): string =>
      `   0: ${address} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0`;
    const text = [
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
      ...[line("0B00007F:A5C3"), line("00000000:1F90"), line("0501000A:0050"), line("00000000:1F91", "01")],
      ...[line("00000000000000000000000001000000:0051"), line("0000000000000000FFFF00000100007F:0052")],
      line("00000000000000000000000000000000:0053"),
    ].join("\n");
    expect([...openPorts(text)].sort((a, b) => a - b)).to.deep.equal([0x50, 0x53, 0x1f90]);
  });

  it("knows a machine's own addresses", () => {
    const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 192.0.2.0
        /24 link UNICAST
Local:
        |-- 192.0.2.1
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
`;
    expect([...localAddresses(trie)]).to.deep.equal(["192.0.2.1", "127.0.0.1"]);
  });
});
