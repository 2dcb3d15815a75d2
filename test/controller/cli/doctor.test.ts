import { expect } from "chai";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeApiCertificate } from "../../../controller/cli/api-certificate.ts";
import { checkKit, gather } from "../../../controller/cli/doctor.ts";
import type { Kit } from "../../../controller/cli/kit.ts";
import type { Finding } from "../../../controller/api/schemas.ts";
import { makeScratch } from "../../shared/repository/scratch.ts";

const now = Date.parse("2026-11-21T03:00:00.000Z");

describe("skep doctor, of the kit", () => {
  let scratch: ReturnType<typeof makeScratch>;
  beforeEach(() => {
    scratch = makeScratch();
  });
  afterEach(() => {
    scratch.remove();
  });
  const look = async (certificate: string): Promise<Finding[]> => {
    const path = join(scratch.path, "api.crt");
    writeFileSync(path, certificate);
    chmodSync(path, 0o600);
    const kit = { folder: scratch.path, context: { identityFile: "identity-anna.txt" }, path: () => path };
    return await gather([() => checkKit(kit as unknown as Kit, now)], new AbortController().signal);
  };

  it("finds nothing against a whole and private one", async () => {
    const { certificate } = await makeApiCertificate(["manager1"], now);
    const findings = await look(certificate);
    expect(findings.map(({ code, level }) => [code, level])).to.deep.equal([["SKEP_DOCTOR_KIT", "ok"]]);
  });

  it("says that a certificate ends soon, or is none, with what to do", async () => {
    const { certificate } = await makeApiCertificate(["manager1"], now - 20 * 365 * 24 * 60 * 60 * 1000);
    const [ending] = await look(certificate);
    expect(ending?.code).to.equal("SKEP_DOCTOR_CERTIFICATE_ENDS");
    for (const none of ["", "no certificate", certificate.replace(/\n.{40}/, "\n")]) {
      const [finding] = await look(none);
      expect(finding?.code).to.equal("SKEP_API_CERTIFICATE");
      expect(finding?.hint).to.contain("api.crt");
    }
  });
});
