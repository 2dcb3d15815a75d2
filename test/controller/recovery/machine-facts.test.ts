import { expect } from "chai";
import { overlap } from "../../../controller/recovery/checks.ts";
import { parseListening, parseRoutes } from "../../../controller/recovery/machine-facts.ts";

describe("what a machine tells of its network", () => {
  it("is read as ports, routes and subnets as the kernel shows them", () => {
    const tcp = `  sl  local_address rem_address   st
   0: 00000000:0947 00000000:0000 0A 00000000
   1: 0100007F:0050 00000000:0000 01 00000000
`;
    expect(parseListening(tcp)).to.deep.equal([2375]);
    const route = `Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF
`;
    expect(parseRoutes(route)).to.deep.equal(["192.0.2.0/24"]);
    expect(overlap("10.0.1.0/24", "10.0.0.0/8")).to.be.true;
    expect(overlap("10.0.1.0/24", "10.0.2.0/24")).to.be.false;
    expect(overlap("fd00::/8", "10.0.2.0/24")).to.be.false;
  });
});
