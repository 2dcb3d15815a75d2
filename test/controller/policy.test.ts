import { expect } from "chai";
import fc from "fast-check";
import { globFits } from "../../controller/name-glob.ts";
import { decodePolicy, readPolicy, selectsVolume } from "../../controller/policy.ts";
import { SkepError } from "../../shared/errors.ts";

const whole = `version: 1
schedules:
  - name: nightly
    cron: "0 3 * * *"
    timeZone: Europe/Zurich
    jitterSeconds: 300
select:
  volumes: { include: ["*"], exclude: ["cache-*"] }
  excludePaths: ["**/tmp/**"]
limits: { nodesAtOnce: 3, bytesPerSecondPerNode: 50000000, jobTimeoutMinutes: 60 }
retention: { daily: 7, weekly: 5 }
`;

describe("a policy", () => {
  it("is read with all its fields", () => {
    const policy = decodePolicy(whole, "a test");
    expect(policy.schedules[0]).to.deep.equal({
      name: "nightly",
      cron: "0 3 * * *",
      timeZone: "Europe/Zurich",
      jitterSeconds: 300,
    });
    expect(policy.select.volumes.exclude).to.deep.equal(["cache-*"]);
    expect(policy.limits).to.include({ nodesAtOnce: 3, bytesPerSecondInAll: 0, jobTimeoutMinutes: 60 });
    expect(policy.retention).to.deep.equal({ daily: 7, weekly: 5 });
  });

  it("needs no more than its version", () => {
    const policy = decodePolicy("version: 1", "a test");
    expect(policy.schedules).to.deep.equal([]);
    expect(policy.select).to.deep.equal({ volumes: { include: ["*"], exclude: [] }, excludePaths: [] });
    expect(policy.limits.nodesAtOnce).to.equal(10);
  });

  it("reports every fault at once, with its line, field, expectation and example", () => {
    const text = `version: 2
schedules:
  - name: Nightly
    cron: "61 3 * * *"
    timeZone: Mars/Olympus
  - name: weekly
    cron: "0 3 30 2 *"
    timeZone: UTC
    when: never
  - name: weekly
    cron: "0 3 * *"
select:
  volumes: all
limits:
  nodesAtOnce: 0
`;
    const { faults } = readPolicy(text);
    expect(faults.map(({ line, field }) => `${line ?? 0} ${field}`)).to.deep.equal([
      "1 version",
      "3 schedules[0].name",
      "4 schedules[0].cron",
      "5 schedules[0].timeZone",
      "7 schedules[1].cron",
      "9 schedules[1].when",
      "10 schedules[2].name",
      "10 schedules[2].timeZone",
      "11 schedules[2].cron",
      "13 select.volumes",
      "15 limits.nodesAtOnce",
    ]);
    expect(faults[2]).to.deep.include({
      problem: '"61 3 * * *" is no cron pattern (Invalid value for minute: 61)',
      example: 'cron: "0 3 * * *"',
    });
    expect(faults[7]?.problem).to.equal("is missing");
  });

  it("refuses two schedules of one name", () => {
    const one = `{ name: a, cron: "0 3 * * *", timeZone: UTC }`;
    const { faults } = readPolicy(`version: 1\nschedules:\n  - ${one}\n  - ${one}\n`);
    expect(faults).to.have.length(1);
    expect(faults[0]).to.include({ line: 4, field: "schedules[1].name", problem: 'another schedule is called "a"' });
  });

  it("names the lines of skep.yaml when it stands inside", () => {
    const { faults } = readPolicy("repository: x\npolicy:\n  version: 1\n  limits: { nodes: 3 }\n", ["policy"]);
    expect(faults).to.have.length(1);
    expect(faults[0]).to.include({ line: 4, field: "limits.nodes", problem: "there is no such field" });
    expect(readPolicy("repository: x\n", ["policy"]).faults[0]).to.include({ line: 1, problem: "is missing" });
  });

  it("takes neither broken YAML nor aliases", () => {
    expect(readPolicy("version: 1\nselect: [").faults[0]).to.include({ field: "" });
    expect(readPolicy("version: &a 1\nlimits: { nodesAtOnce: *a }").faults[0]?.problem).to.contain("aliases");
  });

  it("throws one error with all lines", () => {
    try {
      decodePolicy("version: 2\nselect: 3", "skep.yaml");
      expect.fail("was taken");
    } catch (error) {
      if (!(error instanceof SkepError)) throw error;
      expect(error.code).to.equal("SKEP_POLICY_INVALID");
      expect(error.message).to.equal(
        "the policy in skep.yaml is not valid:\n" +
          "  line 1: version: 2 does not fit; expected the number 1, e.g. version: 1\n" +
          "  line 2: select: 3 does not fit; expected a mapping with volumes, excludePaths, " +
          'e.g. select: { volumes: { include: ["*"] } }',
      );
    }
  });
});

describe("a selection of volumes", () => {
  it("takes names by globs, and HOSTNAME/NAME where the glob has a slash", () => {
    const select = { include: ["*"], exclude: ["cache-?", "node2/*"] };
    expect(selectsVolume(select, "node1", "db")).to.be.true;
    expect(selectsVolume(select, "node1", "cache-1")).to.be.false;
    expect(selectsVolume(select, "node1", "cache-12")).to.be.true;
    expect(selectsVolume(select, "node2", "db")).to.be.false;
    expect(selectsVolume({ include: ["node1/db"], exclude: [] }, "node2", "db")).to.be.false;
  });

  it("fits globs as a regular expression would", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "*", "?"), maxLength: 8 });
    fc.assert(
      fc.property(letters, fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 8 }), (pattern, text) => {
        const expression = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`);
        expect(globFits(pattern, text)).to.equal(expression.test(text));
      }),
    );
  });

  it("fits a hostile glob in no time", () => {
    expect(globFits(`${"*a".repeat(100)}b`, "a".repeat(200))).to.be.false;
  });
});
