import { expect } from "chai";
import { overlap } from "../../../controller/recovery/checks.ts";
import { parseListening, parseRoutes, parseRoutes6 } from "../../../controller/recovery/machine-facts.ts";

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

  it("is read of IPv6 too, but for what every interface has by itself", () => {
    const zero = "0".repeat(32);
    const rest = `${zero} 00 ${zero} 00000100 00000001 00000000 00000001`;
    const route = `fd0000120000000000000000000000${"0".repeat(2)} 40 ${rest}     eth0
fe80${"0".repeat(28)} 40 ${rest}     eth0
${zero} 00 ${rest}     eth0
fd00172a${"0".repeat(24)} 40 ${rest}     docker0
`;
    const [found = "", ...more] = parseRoutes6(route);
    expect(more).to.deep.equal([]);
    expect(overlap(found, "fd00:12::/64")).to.be.true;
    expect(overlap("fd00:12::/32", found)).to.be.true;
    expect(overlap(found, "fd00:13::/64")).to.be.false;
  });
});
