import { expect } from "chai";
import { DatabaseSync } from "node:sqlite";
import { explainFullState } from "../../agent/state-error.ts";
import type { SkepError } from "../../shared/errors.ts";

describe("a full state folder", () => {
  it("is named, also where SQLite met it", () => {
    const database = new DatabaseSync(":memory:");
    database.exec("CREATE TABLE big (row BLOB); PRAGMA max_page_count = 3");
    let met: unknown = null;
    try {
      database.exec("INSERT INTO big VALUES (zeroblob(1000000))");
    } catch (error) {
      met = error;
    }
    database.close();
    const error = explainFullState(met, "do job a", "/var/lib/skep") as SkepError;
    expect(error).to.include({ code: "SKEP_STATE_FULL", permanent: true });
    expect(error.message).to.equal(
      "cannot do job a in the agent's state folder /var/lib/skep: no room left (database or disk is full)",
    );
    expect(error.hint).to.contain("SKEP_STATE_DIR");
  });

  it("is not what another error of SQLite says", () => {
    const database = new DatabaseSync(":memory:");
    let met: unknown = null;
    try {
      database.exec("no statement");
    } catch (error) {
      met = error;
    }
    database.close();
    expect(explainFullState(met, "do job a", "/var/lib/skep")).to.equal(met);
  });
});
