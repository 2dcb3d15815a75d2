import { expect } from "chai";
import { hostAddresses, parseFibTrie, parseIfInet6 } from "../../../agent/source/host-addresses.ts";
import { networkInterfaces } from "node:os";

describe("the addresses of a host", () => {
  it("are those that the system names, without loopback", async () => {
    const named = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ family, internal }) => family === "IPv4" && !internal)
      .map(({ address }) => address);
    const found = await hostAddresses("/");
    for (const address of named) expect(found).to.include(address);
    expect(found).not.to.include("127.0.0.1");
  });

  it("are read from the kernel's tables", () => {
    const trie = [
      "Main:",
      "  +-- 0.0.0.0/0 3 0 5",
      "     |-- 10.0.0.0",
      "        /24 link UNICAST",
      "     |-- 10.0.0.7",
      "        /32 host LOCAL",
      "     |-- 127.0.0.1",
      "        /32 host LOCAL",
      "     |-- 10.0.0.255",
      "        /32 link BROADCAST",
    ].join("\n");
    expect(parseFibTrie(`${trie}\n${trie}`)).to.deep.equal(["10.0.0.7"]);
    const inet6 = [
      "00000000000000000000000000000001 01 80 10 80       lo",
      "20010db8000000000000000000000007 02 40 00 80     eth0",
      "fe80000000000000021122fffe334455 02 40 20 80     eth0",
    ].join("\n");
    expect(parseIfInet6(inet6)).to.deep.equal(["2001:db8::7"]);
  });

  it("are none where the host's processes are not seen", async () => {
    expect(await hostAddresses("/nowhere")).to.deep.equal([]);
  });
});
