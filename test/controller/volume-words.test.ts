import { expect } from "chai";
import fc from "fast-check";
import { volumeRuleSchema, wordsOfLabels } from "../../controller/volume-words.ts";

const faultsOf = (labels: Record<string, string>): string[] =>
  wordsOfLabels(labels, "volume db").faults.map(({ message }) => message);

describe("the words on how a volume is to be taken", () => {
  it("are read from labels, and mean the same in the policy", () => {
    const { words, faults } = wordsOfLabels(
      {
        "skep.enable": "true",
        "skep.quiesce": "stop",
        "skep.group": "shop",
        "skep.exclude": "tmp/**, *.log",
        "skep.hook.pre": "sync-cache --all",
        "skep.hook.pre.timeout": "5m",
        "skep.hook.pre.on-error": "continue",
        "skep.hook.post": '["/bin/go", "on"]',
        "skep.hook.post.container": "web",
        "skep.dump": "pg_dumpall",
        "skep.dump.user": "postgres",
        "skep.load": "psql",
        "com.example.skep": "of somebody else",
      },
      "volume db",
    );
    expect(faults).to.deep.equal([]);
    const rule = volumeRuleSchema.parse({
      match: "db",
      enable: true,
      quiesce: "stop",
      group: "shop",
      exclude: ["tmp/**", "*.log"],
      hook: {
        pre: { command: "sync-cache --all", timeout: "5m", onError: "continue" },
        post: { command: ["/bin/go", "on"], container: "web" },
      },
      dump: { command: "pg_dumpall", user: "postgres" },
      load: { command: "psql" },
    });
    expect({ match: "db", ...words }).to.deep.equal(rule);
    expect(words.hook?.pre?.command).to.deep.equal(["/bin/sh", "-c", "sync-cache --all"]);
    expect(words.hook?.pre?.timeout).to.equal(300);
  });

  for (const [label, value] of [
    ["skep.quiesce", "puase"],
    ["skep.enable", "yes"],
    ["skep.group", "a b"],
    ["skep.exclude", "[broken"],
    ["skep.dump", "[1, 2]"],
    ["skep.dump", ""],
    ["skep.quiece", "stop"],
    ["skep.hook", "x"],
  ] as const) {
    it(`name their fault: ${label}=${value}`, () => {
      expect(faultsOf({ [label]: value })).to.have.length(1);
      expect(faultsOf({ [label]: value })[0])
        .to.contain(label)
        .and.contain("volume db");
    });
  }

  it("name options without their command, and options that their command does not have", () => {
    expect(faultsOf({ "skep.dump.user": "postgres" })).to.deep.equal([
      "volume db has options of skep.dump and no command",
    ]);
    expect(faultsOf({ "skep.dump": "x", "skep.dump.on-error": "fail" })).to.have.length(1);
    expect(faultsOf({ "skep.hook.pre": "x", "skep.hook.pre.on-error": "ignore" })).to.have.length(1);
    expect(faultsOf({ "skep.hook.pre": "x", "skep.hook.pre.timeout": "25h" })).to.have.length(1);
  });

  it("say which word a fault is of, so that whoever says that word himself settles it", () => {
    const { faults } = wordsOfLabels(
      { "skep.quiesce": "puase", "skep.hook.pre.timeout": "soon", "skep.dump.user": "db", "skep.quiece": "stop" },
      "volume db",
    );
    expect(faults.map(({ word }) => word).sort()).to.deep.equal(["dump", "hook", "hook", "quiesce", null].sort());
  });

  it("never throw, whatever the labels are", () => {
    const name = fc.oneof(
      fc.string(),
      fc.constantFrom("hook.pre", "hook.post.on-error", "dump", "exclude", "quiesce", "__proto__"),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.string())), (pairs) => {
        const labels = Object.fromEntries(pairs.map(([key, value]) => [`skep.${key}`, value]));
        const { words, faults } = wordsOfLabels(labels, "x");
        expect(volumeRuleSchema.safeParse({ match: "x", ...words }).success || faults.length > 0).to.equal(true);
      }),
    );
  });
});
