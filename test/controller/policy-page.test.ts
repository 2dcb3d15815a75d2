import { expect } from "chai";
import { readFileSync } from "node:fs";
import { decodePolicy, policyFields } from "../../controller/policy.ts";

describe("docs/POLICY.md", () => {
  const page = readFileSync(new URL("../../docs/POLICY.md", import.meta.url), "utf8");
  const rows = new Map(
    [...page.matchAll(/^\| `([^`]+)` +\| (.+?) +\| (.+?) +\|$/gm)].map(([, field, expected, fallback]) => [
      field ?? "",
      { expected: (expected ?? "").replaceAll("`", ""), fallback: (fallback ?? "").replaceAll("`", "") },
    ]),
  );

  it("shows an example that is valid", () => {
    const example = /```yaml\n([^`]*)```/.exec(page)?.[1] ?? "";
    expect(decodePolicy(example, "docs/POLICY.md").schedules).to.have.length(1);
  });

  it("expects of every field what the faults say", () => {
    const groups = ["", "schedules", "volumes", "select", "select.volumes", "limits", "retention"];
    const leaves = Object.entries(policyFields).filter(([field]) => !groups.includes(field));
    expect(leaves).to.have.length(rows.size - 1);
    for (const [field, { expected }] of leaves) expect(rows.get(field)?.expected, field).to.equal(expected);
  });

  it("tells the values that count where a field is absent", () => {
    const policy = decodePolicy('version: 1\nschedules: [{ name: a, cron: "0 3 * * *", timeZone: UTC }]', "a test");
    for (const [field, { fallback }] of rows) {
      if (fallback === "as labels say") continue;
      if (fallback === "required") continue;
      let value: unknown = policy;
      for (const segment of field.replace("[]", ".0").split(".")) value = (value as Record<string, unknown>)[segment];
      if (!field.startsWith("retention.")) expect(JSON.stringify(value), field).to.equal(fallback);
    }
  });
});
